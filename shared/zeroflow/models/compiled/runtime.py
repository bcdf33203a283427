"""ONNX Runtime as a predictor wants it: one thread for a request, little on the log, and nothing told to its maker.

Official builds since 1.29 tell Microsoft over HTTPS which models are loaded and how they perform, from a thread that
their import starts. A variable switches that off, when it is set by then. Source: ONNX Runtime, docs/Privacy.md.
"""

import importlib
import os
from typing import Any

ERRORS_ONLY = 3
NOT_TOLD = "ORT_DISABLE_TELEMETRY"
"""Unless whoever runs the process has set it otherwise."""


def library() -> Any:
    """Import ONNX Runtime; ImportError where it is not installed."""
    os.environ.setdefault(NOT_TOLD, "1")
    return importlib.import_module("onnxruntime")


def session(graph: Any, providers: tuple[str, ...] = ("CPUExecutionProvider",)) -> Any:
    """Return a session for a graph (its bytes, or a path); ImportError without onnxruntime.

    Requests run side by side in the server's threads; a pool inside each would only make them wait for each other.
    """
    onnxruntime = library()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS_ONLY
    return onnxruntime.InferenceSession(graph, options, providers=list(providers))
