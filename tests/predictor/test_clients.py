"""Official, unmodified clients against a running predictor."""

import json
import subprocess
from pathlib import Path
from typing import Any

CLIENTS = Path(__file__).parent / "clients"


def run(python: str, script: str, address: str) -> dict[str, Any]:
    done = subprocess.run([python, str(CLIENTS / script), address], capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_kserves_rest_client(clients_python: str, iris: Any) -> None:
    assert run(clients_python, "kserve_rest.py", iris.url) == {
        "v1_live": True,
        "v1_ready": True,
        "v1_predictions": [0, 2],
        "v2_live": True,
        "v2_ready": True,
        "v2_model_ready": True,
        "v2_outputs": [[0, 2]],
        "v2_id": "7",
    }


def test_tritons_http_client(clients_python: str, iris: Any) -> None:
    found = run(clients_python, "triton_http.py", iris.url.removeprefix("http://"))
    assert "output 'nope' is none of this model's outputs" in found.pop("refusal")
    assert found == {
        "live": True,
        "ready": True,
        "model_ready": True,
        "unknown_ready": False,
        "server": "zeroflow",
        "inputs": [{"name": "input-0", "datatype": "FP64", "shape": [-1, 4]}],
        "predict": [0, 2],
        "binary": [0, 2],
        "shape": [2, 3],
        "id": "7",
    }


def test_grpc_clients(clients_python: str, launcher: Any, iris_model: Any) -> None:
    """Over the port that speaks HTTP/1.1 too."""
    served = launcher.serve(iris_model, "grpc/model.joblib")
    address = served.url.removeprefix("http://")
    triton, kserve = (run(clients_python, f"{name}_grpc.py", address) for name in ("triton", "kserve"))
    assert triton["predict"] == triton["packed"] == [0, 2]
    assert triton["inputs"] == [{"name": "input-0", "datatype": "FP64", "shape": ["-1", "4"]}]
    assert (triton["shape"], triton["id"], triton["server"]) == ([2, 3], "7", "zeroflow")
    assert [triton[name] for name in ("live", "ready", "model_ready", "loaded")] == [True] * 4
    assert triton["index"] == [["iris", "READY"]]
    assert (triton["many"], triton["async"]) == (1, 20)
    assert triton["unknown"][0] == "StatusCode.NOT_FOUND"
    assert triton["wide"] == ["StatusCode.INVALID_ARGUMENT", "input 'input-0' has 2 columns, the model takes 4"]
    assert triton["config"][0] == "StatusCode.UNIMPLEMENTED"
    assert triton["unloaded"] == [False, "StatusCode.UNAVAILABLE"]
    assert kserve == {
        "live": True,
        "ready": True,
        "model_ready": True,
        "plain": ["8", "predict", [0, 2]],
        "raw": ["8", "predict", [0, 2]],
        "bad": ["INVALID_ARGUMENT", "inputs[0] (input-0): shape [2, 3] holds 6 values, fp64_contents has 8"],
    }
    assert served.predict({"instances": [[5.1, 3.5, 1.4, 0.2]]}).json() == {"predictions": [0]}


def test_open_inference_client(clients_python: str, iris: Any) -> None:
    assert run(clients_python, "oip.py", iris.url) == {
        "name": "iris",
        "outputs": ["predict", "predict_proba"],
        "data": [0],
        "id": "7",
    }
