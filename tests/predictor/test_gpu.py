"""On a GPU: models go there by themselves, say so, and answer as on the processor. Skipped, aloud, without one."""

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is seen: the CUDA path is not tested here")
ROWS = [[0.1, 0.2, 0.3, 0.4], [1.0, 2.0, 3.0, 4.0]]


@pytest.fixture(scope="module")
def network(launcher: Any) -> Path:
    path: Path = launcher.store / "models" / "gpu" / "model.pt"
    path.parent.mkdir(parents=True)
    torch.manual_seed(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, of jit
        torch.jit.script(torch.nn.Linear(4, 3).eval()).save(str(path))
    return path


@pytest.mark.parametrize("visible", [pytest.param(True, marks=needs_gpu), False], ids=["cuda", "cpu"])
def test_metadata_say_where_a_model_runs(launcher: Any, wait: Any, network: Path, visible: bool) -> None:
    env = {} if visible else {"CUDA_VISIBLE_DEVICES": "-1"}
    predictor = launcher.start("store://models/gpu", **env)
    wait(predictor)
    where = "cuda" if visible else "cpu"
    assert predictor.get("/v2/models/iris").json()["properties"]["serves"].rpartition(", ")[2] == where
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module = torch.jit.load(str(network), map_location="cpu")
    expected = module(torch.tensor(ROWS)).detach().numpy()
    assert np.allclose(predictor.predict({"instances": ROWS}).json()["predictions"], expected, atol=1e-4)


@needs_gpu
@pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is None, reason="ONNX Runtime is not installed")
def test_onnx_runtime_uses_cuda_where_it_can(launcher: Any, wait: Any) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime is built without CUDA")
    place = launcher.store / "models" / "gpu-onnx"
    place.mkdir()
    torch.onnx.export(torch.nn.Linear(4, 3), (torch.zeros(2, 4),), place / "model.onnx", dynamo=False)
    predictor = launcher.start("store://models/gpu-onnx")
    wait(predictor)
    assert predictor.get("/v2/models/iris").json()["properties"]["serves"] == "original, CUDA"
