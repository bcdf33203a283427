"""ONNX Runtime sessions as a predictor wants them: one thread for a request, no telemetry of their own on the log."""

import importlib
from typing import Any

ERRORS_ONLY = 3


def session(graph: Any, providers: tuple[str, ...] = ("CPUExecutionProvider",)) -> Any:
    """Return a session for a graph (its bytes, or a path); ImportError without onnxruntime.

    Requests run side by side in the server's threads; a pool inside each would only make them wait for each other.
    """
    onnxruntime: Any = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS_ONLY
    return onnxruntime.InferenceSession(graph, options, providers=list(providers))
