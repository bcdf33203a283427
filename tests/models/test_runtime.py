"""ONNX Runtime as we import it."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("onnxruntime", reason="it is ONNX Runtime that is looked at")

THREADS = """
import os
os.environ.pop("ORT_DISABLE_TELEMETRY", None)
{what}
print(len(os.listdir("/proc/self/task")))
"""
IMPORTED = [
    pytest.param("from zeroflow.models.compiled import runtime; runtime.library()", id="for a model"),
    pytest.param(
        "from zeroflow.functions.predictor import handler\n"
        "try: handler.create_app()\n"
        "except SystemExit: import onnxruntime",
        id="by a model's own code",
    ),
]


@pytest.mark.parametrize("what", IMPORTED)
def test_onnx_runtime_tells_nobody_about_models(what):
    environ = {name: value for name, value in os.environ.items() if name != "CI"}  # with CI it tells nobody anyway
    environ |= {"OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", THREADS.format(what=what)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "1"  # what tells is a thread that its import starts
