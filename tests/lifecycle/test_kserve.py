"""KServe's official examples applied by kubectl, and its own SDK, on a whole host without a network.

A table: each example reaches Ready and answers, or its status names what is missing here: an image, a location.
Models of `gs://kfserving-examples` that our libraries can make come from a server that speaks Cloud Storage's API.
"""

import contextlib
import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import pytest
import urllib3
import yaml
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from artifacts.servers import google_storage
from environments import python_of
from lifecycle.conftest import Host, eventually, running

SDK = Path(__file__).parents[1] / "inference" / "samples" / "kserve_sdk.py"
IRIS = {"instances": [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]]}
ISVC = "/apis/serving.kserve.io/v1beta1/namespaces"

READY = "ready"
READY_FOR_MANY = "ready, with no models"  # test_trained_models.py gives it some
NO_IMAGE = "Unable to fetch image"
NO_MODEL = "there is nothing at gs://kfserving-examples"

TABLE: dict[str, dict[str, tuple[str, str]]] = {
    # example: {InferenceService: (READY, "") or (words of the condition, what is missing)}
    "advanced-cluster_local.yaml": {"sklearn-iris-local": (READY, "")},
    "advanced-timeout.yaml": {"flowers": (NO_MODEL, "the network")},
    "autoscaling-autoscale.yaml": {"flowers-sample": (NO_MODEL, "the network")},
    "autoscaling-autoscale_custom.yaml": {"flowers-sample": (NO_MODEL, "the network")},
    "batcher-basic-batcher_v1beta1.yaml": {"pytorch-batcher": (NO_MODEL, "the network")},
    "benchmark-sklearn_hpa.yaml": {"sklearn-iris-hpa": (READY, "")},
    "custom-custom_model-custom.yaml": {
        "custom-model": (NO_IMAGE, "the image"),
        "custom-model-grpc": (NO_IMAGE, "the image"),
    },
    "custom-simple.yaml": {"custom-simple": (NO_IMAGE, "the image")},
    "explanation-art-mnist-art.yaml": {"artserver": (NO_MODEL, "the network")},
    "graph-sequence.yaml": {"sklearn-iris": (READY, ""), "xgboost-iris": (READY, "")},
    "graph-switch.yaml": {f"single-{number}": (NO_IMAGE, "the image") for number in (1, 2, 3)},
    "logger-basic-sklearn-logging.yaml": {"sklearn-iris": (READY, "")},
    "multimodelserving-sklearn-inferenceservice.yaml": {"sklearn-iris-example": (READY_FOR_MANY, "")},
    "onnx-onnx.yaml": {"style-sample": (NO_MODEL, "the network")},
    "pmml-pmml.yaml": {"pmml-demo": (NO_MODEL, "the network")},
    "rollout-canary.yaml": {"my-model": (NO_MODEL, "the network")},
    "rollout-default.yaml": {"my-model": (NO_MODEL, "the network")},
    "sklearn-v1-sklearn.yaml": {"sklearn-iris": (READY, "")},
    "storage-s3-tensorflow_s3.yaml": {"mnist-s3": ("S3 does not give s3://kfserving-examples/mnist", "the network")},
    "storage-storageSpec-sklearn_storagespec.yaml": {"example-sklearn-isvc": ("StorageKeyNotFound", "the Secret")},
    "storage-uri-sklearn.yaml": {"sklearn-from-uri": ("host 'github.com' is not found", "the network")},
    "tensorflow-tensorflow.yaml": {"flower-sample": (NO_MODEL, "the network")},
    "torchserve-v2-mnist.yaml": {"torchserve-mnist-v2": (NO_MODEL, "the network")},
    "transformer-torchserve_image_transformer-transformer.yaml": {"torch-transformer": (NO_MODEL, "the network")},
    "triton-torchscript-torchscript.yaml": {"torchscript-cifar": (NO_MODEL, "the network")},
    "xgboost-xgboost.yaml": {"xgboost-iris": (READY, "")},
}


def models() -> dict[str, dict[str, bytes]]:
    """Return what the bucket of KServe's examples would hold, made by the same libraries."""
    rows, classes = load_iris(return_X_y=True)
    sklearn, buffer = LogisticRegression(max_iter=500).fit(rows, classes), io.BytesIO()
    joblib.dump(sklearn, buffer)
    found = {"models/sklearn/1.0/model/model.joblib": buffer.getvalue()}
    xgboost = pytest.importorskip("xgboost")
    booster = xgboost.train({"objective": "multi:softmax", "num_class": 3}, xgboost.DMatrix(rows, classes), 5)
    found["models/xgboost/iris/model.ubj"] = bytes(booster.save_raw("ubj"))
    return {"kfserving-examples": found}


@pytest.fixture(scope="module")
def examples_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as environment:
        environment.setenv("STORAGE_EMULATOR_HOST", stack.enter_context(google_storage(models())))
        environment.setenv("ZEROFLOW_TRUSTED_MODELS", "gs://kfserving-examples/")
        environment.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
        yield stack.enter_context(running(tmp_path_factory.mktemp("home")))


def condition(host: Host, namespace: str, name: str) -> dict[str, Any] | None:
    """Return the Ready condition once it says yes or no."""
    status = host.get(f"{ISVC}/{namespace}/inferenceservices/{name}").get("status") or {}
    found = [each for each in status.get("conditions") or [] if each["type"] == "Ready" and each["status"] != "Unknown"]
    return {**found[0], "url": status.get("url")} if found else None


def applied(host: Host, path: Path) -> str:
    """Apply an example in a namespace of its own; return the namespace."""
    namespace = path.stem.replace("_", "-").lower()[:60]
    host.kubectl("create", "namespace", namespace)
    host.kubectl("apply", "-n", namespace, "-f", str(path))
    return namespace


def check(host: Host, namespace: str, expected: dict[str, tuple[str, str]]) -> None:
    for name, (words, _missing) in expected.items():
        found = eventually(lambda name=name: condition(host, namespace, name), f"{name} to say how it is")
        if words not in (READY, READY_FOR_MANY):
            assert found["status"] == "False", (name, found)
            assert words in f"{found.get('reason')}: {found.get('message')}", (name, found)
            continue
        assert found["status"] == "True", (name, found)
        if words == READY_FOR_MANY:
            assert urllib3.request("GET", f"{found['url']}/v1/models").json() == {"models": []}
            continue
        inside = found["url"].removeprefix("http://").rstrip("/")
        headers = {"Host": inside} if inside.endswith(".svc.cluster.local") else {}
        url = host.url if headers else found["url"]
        protocol = host.get(f"{ISVC}/{namespace}/inferenceservices/{name}")["spec"]["predictor"]
        if "v2" in json.dumps(protocol):
            tensor = {
                "name": "input-0",
                "shape": [2, 4],
                "datatype": "FP32",
                "data": [each for row in IRIS["instances"] for each in row],
            }
            answer = urllib3.request("POST", f"{url}/v2/models/{name}/infer", json={"inputs": [tensor]})
            assert answer.json()["outputs"][0]["data"] == [1, 1], answer.data
        else:
            answer = urllib3.request("POST", f"{url}/v1/models/{name}:predict", json=IRIS, headers=headers)
            assert answer.json() == {"predictions": [1, 1]}, answer.data


FAST = (
    "custom-simple.yaml",
    "multimodelserving-sklearn-inferenceservice.yaml",
    "rollout-canary.yaml",
    "sklearn-v1-sklearn.yaml",
    "xgboost-xgboost.yaml",
)


def test_the_table_tells_of_every_example(contracts: Path) -> None:
    found = {
        path.name
        for path in (contracts / "kserve" / "examples").glob("*.yaml")
        if any(each and each["kind"] == "InferenceService" for each in yaml.safe_load_all(path.read_text()))
    }
    assert found == set(TABLE)


@pytest.mark.parametrize("name", FAST)
def test_official_examples(examples_host: Host, contracts: Path, name: str) -> None:
    check(examples_host, applied(examples_host, contracts / "kserve" / "examples" / name), TABLE[name])


@pytest.mark.scale
@pytest.mark.parametrize("name", sorted(set(TABLE) - set(FAST)))
def test_every_official_example(examples_host: Host, contracts: Path, name: str) -> None:
    namespace = applied(examples_host, contracts / "kserve" / "examples" / name)
    check(examples_host, namespace, TABLE[name])
    if name == "graph-sequence.yaml":
        path = f"/apis/serving.kserve.io/v1alpha1/namespaces/{namespace}/inferencegraphs/model-chainer"

        def url() -> str | None:
            status = examples_host.get(path).get("status") or {}
            is_ready = any(
                each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", [])
            )
            return status.get("url") if is_ready else None

        answer = urllib3.request("POST", eventually(url, "the graph"), json=IRIS)
        assert answer.json() == {"predictions": [1, 1]}, answer.data


@pytest.mark.scale
def test_kserves_own_client_unmodified(examples_host: Host) -> None:
    host = examples_host
    for number in (1, 2):
        path = host.home / "store" / "models" / "sdk" / str(number) / "model.joblib"
        path.parent.mkdir(parents=True)
        path.write_bytes(models()["kfserving-examples"]["models/sklearn/1.0/model/model.joblib"])
    uris = [f"store://models/sdk/{number}" for number in (1, 2)]
    done = subprocess.run(
        [python_of("kserve==0.21.0", "kubernetes<34"), str(SDK), str(host.home / "kubeconfig"), "by-sdk", *uris],
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["ready"], told["patched"], told["replaced"]) == (True, 30, None)
    assert told["url"]
    assert told["graph"]


@pytest.mark.parametrize(
    ("predictor", "words"),
    [
        ({"minReplicas": 3, "maxReplicas": 1, "sklearn": {}}, "MinReplicas cannot be greater than MaxReplicas"),
        ({"sklearn": {}, "xgboost": {}}, "exactly one of [model, sklearn, xgboost"),
        ({"sklearn": {}, "logger": {"mode": "most"}}, "invalid logger type"),
    ],
    ids=["replicas", "two-models", "logger"],
)
def test_what_kserves_webhook_refuses_is_never_stored(examples_host: Host, predictor: Any, words: str) -> None:
    document = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "refused", "namespace": "default"},
        "spec": {"predictor": predictor},
    }
    said = examples_host.kubectl("apply", "-f", "-", stdin=json.dumps(document), check=False)
    assert 'admission webhook "inferenceservice.kserve-webhook-server.validator" denied the request: ' in said
    assert words in said
    assert "NotFound" in examples_host.kubectl("get", "isvc", "refused", check=False)
