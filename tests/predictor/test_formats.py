"""Models that other libraries wrote, behind a real predictor; expected answers are those libraries' own."""

import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

ROWS, CLASSES = load_iris(return_X_y=True)
SOME = ROWS[[0, 60, 140]]


def place(launcher: Any, key: str) -> Path:
    path: Path = launcher.store / "models" / key
    path.parent.mkdir(parents=True)
    return path


def served(launcher: Any, wait_ready: Any, key: str, **env: str) -> Any:
    predictor = launcher.start(f"store://models/{key}", **env)
    wait_ready(predictor)
    return predictor


def test_xgboost_file_needs_nobodys_word(launcher: Any, wait: Any) -> None:
    xgboost = pytest.importorskip("xgboost")
    booster = xgboost.train({"objective": "multi:softprob", "num_class": 3}, xgboost.DMatrix(ROWS, CLASSES), 5)
    booster.save_model(place(launcher, "xgb/model.ubj"))
    predictor = served(launcher, wait, "xgb", ZEROFLOW_MODEL_VOUCHED_BY="")
    answer = predictor.predict({"instances": SOME.tolist()}).json()["predictions"]
    assert np.allclose(answer, booster.predict(xgboost.DMatrix(SOME)), atol=1e-6)
    assert predictor.predict({"instances": [[5.1, None, 1.4, 0.2]]}).status == 200
    assert predictor.predict({"instances": [[1]]}).status == 400
    assert predictor.get("/v2/models/iris").json()["outputs"] == [
        {"name": "predict", "datatype": "FP32", "shape": [-1, 3]}
    ]


def test_lightgbm_file(launcher: Any, wait: Any) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    options = {"objective": "multiclass", "num_class": 3, "verbose": -1}
    booster = lightgbm.train(options, lightgbm.Dataset(ROWS, CLASSES), 5)
    booster.save_model(place(launcher, "lgb/model.bst"))
    predictor = served(launcher, wait, "lgb", ZEROFLOW_MODEL_VOUCHED_BY="", MODEL_FORMAT="lightgbm")
    assert np.allclose(predictor.predict({"instances": SOME.tolist()}).json()["predictions"], booster.predict(SOME))


def test_onnx_graph(launcher: Any, wait: Any) -> None:
    skl2onnx = pytest.importorskip("skl2onnx")
    pytest.importorskip("onnxruntime")
    model = LogisticRegression(max_iter=500).fit(ROWS, CLASSES)
    graph = skl2onnx.to_onnx(model, ROWS[:1].astype(np.float32), options={"zipmap": False})
    place(launcher, "onnx/model.onnx").write_bytes(graph.SerializeToString())
    predictor = served(launcher, wait, "onnx", ZEROFLOW_MODEL_VOUCHED_BY="")
    assert predictor.get("/v2/models/iris").json()["inputs"] == [{"name": "X", "datatype": "FP32", "shape": [-1, 4]}]
    assert predictor.predict({"instances": SOME.tolist()}).json() == {"predictions": [0, 1, 2]}
    tensor = {"name": "X", "shape": [3, 4], "datatype": "FP32", "data": SOME.ravel().tolist()}
    answer = predictor.infer({"inputs": [tensor], "outputs": [{"name": "probabilities"}]}).json()["outputs"][0]
    assert np.allclose(np.reshape(answer["data"], answer["shape"]), model.predict_proba(SOME), atol=1e-5)
    wide = predictor.infer({"inputs": [tensor | {"shape": [4, 3]}]})
    assert (wide.status, wide.error) == (400, "input 'X' has shape [4, 3], input 'X' takes [-1, 4]")
    double = predictor.infer({"inputs": [tensor | {"datatype": "FP64"}]})
    assert (double.status, double.error) == (400, "input 'X' is of datatype FP64, the model takes FP32")


@pytest.mark.parametrize("form", ["torchscript", "export"])
def test_pytorch_program(launcher: Any, wait: Any, form: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    module = torch.nn.Sequential(torch.nn.Linear(4, 3))
    path = place(launcher, f"torch-{form}/model.{'pt' if form == 'torchscript' else 'pt2'}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if form == "torchscript":
            torch.jit.script(module).save(str(path))
        else:
            rows = torch.export.Dim("rows")
            torch.export.save(torch.export.export(module, (torch.zeros(2, 4),), dynamic_shapes=({0: rows},)), path)
    refused = launcher.start(f"store://models/torch-{form}", ZEROFLOW_MODEL_VOUCHED_BY="")
    predictor = served(launcher, wait, f"torch-{form}")
    expected = module(torch.tensor(SOME, dtype=torch.float32)).detach().numpy()
    assert np.allclose(predictor.predict({"instances": SOME.tolist()}).json()["predictions"], expected, atol=1e-5)
    raw = struct.pack("<12f", *SOME.ravel())
    head = b'{"inputs":[{"name":"x","shape":[3,4],"datatype":"FP32","parameters":{"binary_data_size":48}}],'
    head += b'"parameters":{"binary_data_output":true}}'
    answer = predictor.infer(head + raw, {"Inference-Header-Content-Length": str(len(head))})
    assert np.allclose(np.frombuffer(answer.body[-36:], "<f4").reshape(3, 3), expected, atol=1e-5)
    assert predictor.predict({"instances": [[1, 2]]}).status == 400
    assert refused.process.wait(60) != 0
    assert "is a PyTorch program, which runs code" in refused.log.read_text()
