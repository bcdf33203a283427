"""Models that are directories: Python classes, weights with their class, and what other libraries write."""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import yaml
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

SAMPLES = Path(__file__).parent / "samples"
ROWS, CLASSES = load_iris(return_X_y=True)
SOME = ROWS[[0, 60, 140]].tolist()
BODY = {"instances": SOME}
TENSOR = {"name": "x", "shape": [3, 4], "datatype": "FP64", "data": SOME}
PMML = """<?xml version="1.0"?>
<PMML xmlns="http://www.dmg.org/PMML-4_4" version="4.4"><Header/>
 <DataDictionary>
  <DataField name="size" optype="categorical" dataType="string"><Value value="small"/><Value value="big"/></DataField>
  <DataField name="x" optype="continuous" dataType="double"/>
  <DataField name="y" optype="continuous" dataType="double"/>
 </DataDictionary>
 <TreeModel functionName="classification" splitCharacteristic="binarySplit">
  <MiningSchema>
   <MiningField name="size" usageType="target"/><MiningField name="x"/><MiningField name="y"/>
  </MiningSchema>
  <Node id="1" score="small"><True/>
   <Node id="2" score="small" recordCount="10"><SimplePredicate field="x" operator="lessThan" value="1.5"/>
    <ScoreDistribution value="small" recordCount="9"/><ScoreDistribution value="big" recordCount="1"/></Node>
   <Node id="3" score="big" recordCount="10"><SimplePredicate field="x" operator="greaterOrEqual" value="1.5"/>
    <ScoreDistribution value="small" recordCount="2"/><ScoreDistribution value="big" recordCount="8"/></Node>
  </Node>
 </TreeModel>
</PMML>
"""


def has(*names: str) -> bool:
    return all(importlib.util.find_spec(name) is not None for name in names)


needs_torch = pytest.mark.skipif(not has("torch"), reason="PyTorch is not installed")
needs_text = pytest.mark.skipif(not has("torch", "transformers"), reason="transformers is not installed")


@pytest.fixture(scope="module")
def classifier() -> Any:
    return LogisticRegression(max_iter=500).fit(ROWS, CLASSES)


@pytest.fixture(scope="module")
def root(launcher: Any, classifier: Any) -> Iterator[Path]:
    """Write one model of each layout below store://models/layouts."""
    place = launcher.store / "models" / "layouts"
    place.mkdir(parents=True)
    for sample in ("kserve_style", "mlserver_style", "plain"):
        shutil.copytree(SAMPLES / sample, place / sample, ignore=shutil.ignore_patterns("__pycache__"))
    mlflow = place / "mlflow"
    mlflow.mkdir()
    joblib.dump(classifier, mlflow / "model.pkl")
    flavours = {"sklearn": {"pickled_model": "model.pkl"}, "python_function": {"loader_module": "mlflow.sklearn"}}
    (mlflow / "MLmodel").write_text(yaml.safe_dump({"flavors": flavours}))
    (place / "pmml").mkdir()
    (place / "pmml" / "model.pmml").write_text(PMML)
    if has("torch"):
        write_torch(place)
    if has("torch", "transformers"):
        write_text(place)
    yield place
    shutil.rmtree(place)


def network() -> Any:
    spec = importlib.util.spec_from_file_location("network", SAMPLES / "module" / "network.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Network()


def write_torch(place: Path) -> None:
    import torch

    torch.manual_seed(3)
    made = network()
    for name in ("weights", "tensors"):
        (place / name).mkdir()
        shutil.copy(SAMPLES / "module" / "network.py", place / name)
    torch.save(made.state_dict(), place / "weights" / "model.pt")
    if has("safetensors"):
        from safetensors.torch import save_file

        save_file(made.state_dict(), place / "tensors" / "model.safetensors")
    np.save(place / "weights" / "expected.npy", made(torch.tensor(SOME)).detach().numpy())


def write_text(place: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        BertModel,
        GPT2Config,
        GPT2LMHeadModel,
        PreTrainedTokenizerFast,
    )

    words = ["<pad>", "<unk>", "<end>", "the", "cat", "sat", "on", "a", "mat", "good", "bad"]
    inner = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", eos_token="<end>")
    size = {"vocab_size": len(words)}
    bert = BertConfig(
        **size, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, num_labels=2
    )
    gpt = GPT2Config(**size, n_embd=8, n_layer=1, n_head=2, n_positions=64, eos_token_id=2, bos_token_id=2)
    for name, model in (
        ("sentiment", BertForSequenceClassification(bert)),
        ("embedder", BertModel(bert)),
        ("writer", GPT2LMHeadModel(gpt)),
    ):
        model.save_pretrained(place / name)
        tokenizer.save_pretrained(place / name)


@pytest.fixture(scope="module")
def served(launcher: Any, root: Path, wait: Any) -> Any:
    predictor = launcher.start("store://models/layouts", ZEROFLOW_MULTI_MODEL="true")
    wait(predictor)
    return predictor


def test_kserves_class_is_asked_step_by_step(served: Any) -> None:
    answer = served.predict(BODY, {"x-tenant": "blue"}, model="kserve_style").json()
    assert np.allclose(answer["predictions"], np.array(SOME) * 2)
    assert answer["tenant"] == "blue"
    (output,) = served.infer({"inputs": [TENSOR]}, model="kserve_style").json()["outputs"]
    assert (output["name"], output["shape"]) == ("output-0", [3, 4])
    failed = served.predict(BODY, model="kserve_style")
    assert (failed.status, "the model failed: RuntimeError" in failed.error) == (500, True)
    assert served.predict(BODY, model="kserve_style").status == 200
    refused = served.predict({"rows": []}, model="kserve_style")
    assert (refused.status, refused.error) == (400, "the model refuses these rows: where are the instances?")
    explained = served.send("POST", "/v1/models/kserve_style:explain", BODY)
    assert explained.json() == {"explanations": ["because"]}


def test_mlservers_class_gets_its_own_requests_in_both_protocols(served: Any) -> None:
    totals = [sum(row) for row in SOME]
    assert served.predict(BODY, model="mlserver_style").json()["predictions"] == pytest.approx(totals)
    (output,) = served.infer({"inputs": [TENSOR]}, model="mlserver_style").json()["outputs"]
    assert output["name"] == "total"
    assert output["data"] == pytest.approx(totals)


def test_class_with_nothing_but_predict(served: Any) -> None:
    assert served.predict(BODY, model="plain").json() == {"predictions": [row[0] for row in SOME]}
    assert served.predict({"rows": 1}, model="plain").status == 500


def test_mlflow_directory_of_sklearn_needs_no_mlflow(served: Any, classifier: Any) -> None:
    assert served.predict(BODY, model="mlflow").json() == {"predictions": classifier.predict(SOME).tolist()}
    assert served.get("/v2/models/mlflow").json()["properties"]["serves"].startswith("compiled")


@pytest.mark.skipif(not has("sklearn_pmml_model"), reason="sklearn-pmml-model is not installed")
def test_pmml(served: Any) -> None:
    rows = [{"x": 1.0, "y": 0.0}, {"x": 2.0, "y": 0.0}]
    assert served.predict({"instances": rows}, model="pmml").json() == {"predictions": ["small", "big"]}
    inputs = [{"name": name, "shape": [1], "datatype": "FP64", "data": [2.0]} for name in ("x", "y")]
    answer = served.infer({"inputs": inputs, "outputs": [{"name": "predict_proba"}]}, model="pmml")
    assert answer.json()["outputs"][0]["data"] == pytest.approx([0.2, 0.8])  # small, big


@needs_torch
@pytest.mark.parametrize("name", ["weights", "tensors"])
def test_weights_go_into_their_class(served: Any, root: Path, name: str) -> None:
    if name == "tensors" and not has("safetensors"):
        pytest.skip("safetensors is not installed")
    expected = np.load(root / "weights" / "expected.npy")
    answer = served.predict(BODY, model=name)
    assert np.allclose(answer.json()["predictions"], expected, atol=1e-5)
    assert served.get(f"/v2/models/{name}").json()["inputs"] == [{"name": "rows", "datatype": "FP32", "shape": []}]


@needs_text
def test_text_is_classified(served: Any, root: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(root / "sentiment").eval()
    tokenizer = AutoTokenizer.from_pretrained(root / "sentiment")
    texts = ["the cat sat", "bad"]
    expected = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits.softmax(-1).detach().numpy()
    answer = served.predict({"instances": texts}, model="sentiment").json()
    assert answer == {"predictions": expected.argmax(axis=1).tolist()}
    tensor = {"name": "text", "shape": [2], "datatype": "BYTES", "data": texts}
    body = {"inputs": [tensor], "outputs": [{"name": "predict_proba"}, {"name": "label"}]}
    shares, labels = served.infer(body, model="sentiment").json()["outputs"]
    assert np.allclose(np.reshape(shares["data"], (2, 2)), expected, atol=1e-5)
    assert labels["data"] == [f"LABEL_{at}" for at in expected.argmax(axis=1)]
    assert served.predict({"instances": [1]}, model="sentiment").status == 400


@needs_text
def test_text_is_embedded_and_completed(served: Any) -> None:
    vectors = np.array(served.predict({"instances": ["the cat", "a mat"]}, model="embedder").json()["predictions"])
    assert vectors.shape == (2, 8)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    (text,) = served.predict({"instances": ["the cat"]}, model="writer").json()["predictions"]
    assert isinstance(text, str)


def test_nothing_of_a_class_runs_unless_somebody_vouches(launcher: Any, root: Path) -> None:
    trace = launcher.root / "ran"
    place = launcher.store / "models" / "attack"
    place.mkdir()
    (place / "model.py").write_text(f"open({str(trace)!r}, 'w')\nclass A:\n    def predict(self, p): ...\n")
    refused = launcher.start("store://models/attack", ZEROFLOW_MODEL_VOUCHED_BY="")
    assert refused.process.wait(60) != 0
    assert "PickleNotVouched: model.py is a Python class, which runs code" in refused.log.read_text()
    assert not trace.exists()
    allowed = launcher.start("store://models/attack")
    assert allowed.predict({}, model="iris").status == 200
    assert trace.exists()  # else the lines above show nothing


def test_mlflow_pyfunc_goes_through_mlflow(launcher: Any, wait: Any, tmp_path: Path) -> None:
    if not has("mlflow"):
        pytest.skip("MLflow is not installed")
    place = launcher.store / "models" / "pyfunc"
    script = f"""
import mlflow, pandas as pd
from mlflow.models import infer_signature
class Adding(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return (model_input["a"] + model_input["b"]).to_numpy()
frame = pd.DataFrame({{"a": [1, 2], "b": [0.5, 1.5], "name": ["x", "y"]}})
mlflow.pyfunc.save_model({str(place)!r}, python_model=Adding(), signature=infer_signature(frame, [1.5, 3.5]))
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, cwd=tmp_path, capture_output=True)
    predictor = launcher.start("store://models/pyfunc", MODEL_FORMAT="mlflow")
    wait(predictor)
    rows = [{"a": 3, "b": 0.25, "name": "z"}]
    assert predictor.predict({"instances": rows}).json() == {"predictions": [3.25]}
    assert predictor.predict({"instances": [{"a": 3}]}).status == 400


@needs_text
def test_openais_client(served: Any, clients_python: str) -> None:
    script = Path(__file__).parent / "clients" / "openai_text.py"
    done = subprocess.run([clients_python, str(script), served.url], capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["models"] == ["embedder", "writer"]
    assert found["text"] == found["streamed"]
    assert found["events"] > 1
    assert found["chat"] == found["chat_streamed"]
    assert (found["reason"] == "length") == (found["usage"] == 3 + 8)
    assert found["chat_usage"] <= 4
    assert found["same_seed"]
    assert found["many"] == [0, 1, 2, 3]
    assert (found["vectors"], found["same_vector"]) == ([8, 8], True)
    text, reason, stop = found["stopped"]
    assert reason == "stop"
    assert stop not in text
    assert found["text"].startswith(text)
    assert found["unknown"][0] == 404
    assert found["long"] == [
        400,
        "the prompt has 100 tokens and 16 more are asked for; this model takes 64 together",
    ]
    assert found["wrong"] == [400, "temperature must be a number from 0 to 2.0, got 3"]
    assert found["suffix"] == [400, "suffix is not supported; leave it out"]
    assert found["embedder"] == [501, "model embedder is not one that completes text"]
