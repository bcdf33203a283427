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

from artifacts.servers import google_storage, hub
from environments import python_of
from lifecycle.conftest import Host, eventually, running

SDK = Path(__file__).parents[1] / "inference" / "samples" / "kserve_sdk.py"
CLASSES = SDK.with_name("kserve_examples.py")
IRIS = {"instances": [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]]}
ISVC = "/apis/serving.kserve.io/v1beta1/namespaces"

READY = "ready"
READY_FOR_MANY = "ready, with no models"  # test_trained_models.py gives it some
NO_IMAGE = "Unable to fetch image"
TORCHSERVE = "mnist.mar is a torchserve model"
NO_MODEL = "there is nothing at gs://kfserving-examples"

TABLE: dict[str, dict[str, tuple[str, str]]] = {
    # example: {InferenceService: (READY, "") or (words of the condition, what is missing)}
    "advanced-cluster_local.yaml": {"sklearn-iris-local": (READY, "")},
    "advanced-timeout.yaml": {"flowers": (NO_MODEL, "the network")},
    "autoscaling-autoscale.yaml": {"flowers-sample": (NO_MODEL, "the network")},
    "autoscaling-autoscale_custom.yaml": {"flowers-sample": (NO_MODEL, "the network")},
    "batcher-basic-batcher_v1beta1.yaml": {"pytorch-batcher": (TORCHSERVE, "TorchServe's image")},
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
    "transformer-torchserve_image_transformer-transformer.yaml": {
        "torch-transformer": (TORCHSERVE, "TorchServe's image")
    },
    "triton-torchscript-torchscript.yaml": {"torchscript-cifar": (NO_MODEL, "the network")},
    "xgboost-xgboost.yaml": {"xgboost-iris": (READY, "")},
}

SHAPES: dict[str, tuple[str, str]] = {
    # InferenceService of kserve-shapes.yaml: READY or words of the condition, and words of the condition Adapted
    "raw": (READY, "runs as a Knative Service, not as a Deployment"),
    "keda": (READY, "predictor: 1 to 5 replicas, by concurrency instead of an External metric"),
    "versioned": (READY, "sklearnserver:v0.15.0 cannot be run here; not heeded: runtimeVersion v0.15.0, --workers=2"),
    "probed": (READY, ""),
    "mlserver": (READY, ""),
    "boosted": (READY, ""),
    "repository": (READY, "tritonserver:23.05-py3 cannot be run here; not heeded: runtimeVersion 23.05-py3, --log-ver"),
    "listed": (READY, ""),
    "torchserve": ("mnist.mar is a torchserve model", "not heeded: --disable-token-auth, --enable-model-api"),
    "vllm": ("Unable to fetch image 'kserve/huggingfaceserver:latest'", ""),
    "hub": ("has no revision 'main' of facebook/opt-125m", ""),
    "of-hub": (READY, ""),
    "own-image": ("Unable to fetch image 'pytorch/torchserve:0.9.0-cpu'", ""),
    "transformed": ("image 'kserve/image-transformer:latest' is not here", ""),
    "multi-node": ("spec.predictor.workerSpec is not supported", ""),
    "collocated": ("Unable to fetch image 'kserve/image-transformer:latest'", "runs as a transformer of its own"),
}
TRITON_CONFIG = """
platform: "onnxruntime_onnx"
max_batch_size: 8
input [ { name: "X" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "label" data_type: TYPE_INT64 dims: [ ] }, { name: "probabilities" data_type: TYPE_FP32 dims: 3 } ]
"""


def models() -> dict[str, dict[str, bytes]]:
    """Return what the bucket of KServe's examples would hold, made by the same libraries."""
    rows, classes = load_iris(return_X_y=True)
    sklearn, buffer = LogisticRegression(max_iter=500).fit(rows, classes), io.BytesIO()
    joblib.dump(sklearn, buffer)
    found = {"models/sklearn/1.0/model/model.joblib": buffer.getvalue()}
    xgboost = pytest.importorskip("xgboost")
    booster = xgboost.train({"objective": "multi:softmax", "num_class": 3}, xgboost.DMatrix(rows, classes), 5)
    found["models/xgboost/iris/model.ubj"] = bytes(booster.save_raw("ubj"))
    lightgbm = pytest.importorskip("lightgbm")
    data = lightgbm.Dataset(rows, classes, params={"verbose": -1})
    leaves = lightgbm.train({"objective": "multiclass", "num_class": 3, "verbose": -1}, data, 5)
    found["models/lightgbm/iris/model.bst"] = leaves.model_to_string().encode()
    found["models/mlflow/wine/model.pkl"] = buffer.getvalue()
    found["models/mlflow/wine/MLmodel"] = b"flavors: {sklearn: {pickled_model: model.pkl}}"
    found["models/mlflow/wine/model-settings.json"] = b'{"implementation": "mlserver_mlflow.MLflowRuntime"}'
    found["models/torchserve/image_classifier/v1/model-store/mnist.mar"] = b"PK\x05\x06" + bytes(18)
    skl2onnx = pytest.importorskip("skl2onnx")
    graph = skl2onnx.to_onnx(sklearn, rows[:1].astype("float32"), options={"zipmap": False})
    found["models/triton/simple/iris/1/model.onnx"] = graph.SerializeToString()
    found["models/triton/simple/iris/config.pbtxt"] = TRITON_CONFIG.encode()
    return {"kfserving-examples": found}


@pytest.fixture(scope="module")
def examples_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as environment:
        bucket = models()
        environment.setenv("STORAGE_EMULATOR_HOST", stack.enter_context(google_storage(bucket)))
        graph = bucket["kfserving-examples"]["models/triton/simple/iris/1/model.onnx"]
        served = stack.enter_context(hub({"kserve/iris": {"c" * 40: {"model.onnx": graph}}}))
        environment.setenv("HF_ENDPOINT", served.url)
        environment.setenv("ZEROFLOW_ALLOW_PRIVATE_HOSTS", served.address)
        environment.delenv("HF_HUB_OFFLINE", raising=False)
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


def told(host: Host, namespace: str, name: str, kind: str) -> str:
    """Return what a condition says, nothing when there is none."""
    status = host.get(f"{ISVC}/{namespace}/inferenceservices/{name}")["status"]
    return next((str(each["message"]) for each in status["conditions"] if each["type"] == kind), "")


def answered(url: str, name: str) -> Any:
    """Return the classes of the two flowers, by whichever protocol and under whichever name."""
    (model,) = urllib3.request("GET", f"{url}/v1/models").json()["models"]
    tensor = {"name": "input-0", "shape": [2, 4], "datatype": "FP32", "data": [*IRIS["instances"]]}
    answer = urllib3.request("POST", f"{url}/v2/models/{model}/infer", json={"inputs": [tensor]})
    assert answer.status == 200, (name, answer.data)
    (output, *_) = answer.json()["outputs"]
    found = output["data"]
    return [max(range(3), key=found[at : at + 3].__getitem__) for at in (0, 3)] if len(found) == 6 else found


@pytest.mark.scale
def test_the_shapes_of_kserves_documentation(examples_host: Host) -> None:
    namespace = applied(examples_host, Path(__file__).parent / "kserve-shapes.yaml")
    documents = yaml.safe_load_all((Path(__file__).parent / "kserve-shapes.yaml").read_text())
    assert {each["metadata"]["name"] for each in documents} == set(SHAPES)
    for name, (words, adapted) in SHAPES.items():
        found = eventually(lambda name=name: condition(examples_host, namespace, name), f"{name} to say how it is", 180)
        said = told(examples_host, namespace, name, "Adapted")
        assert (adapted in said, bool(said)) == (True, bool(adapted)), (name, said)
        if words == READY:
            assert found["status"] == "True", (name, found)
            assert answered(found["url"], name) == [1, 1], name
        else:
            assert found["status"] == "False", (name, found)
            assert words in f"{found.get('reason')}: {found.get('message')}", (name, found)


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


@pytest.mark.scale
def test_kserves_own_classes_make_what_is_served(examples_host: Host) -> None:
    host = examples_host
    host.kubectl("create", "namespace", "by-class")
    kubeconfig = str(host.home / "kubeconfig")
    done = subprocess.run(
        [
            python_of("kserve==0.21.0", "kubernetes<34"),
            str(CLASSES),
            kubeconfig,
            f"{host.url}/sink",
        ],
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    for name, each in found.items():
        data = each["predictions"]
        best = [max(range(3), key=data[at : at + 3].__getitem__) for at in (0, 3)] if len(data) == 6 else data
        assert best == [1, 1], (name, each)
    adapted = {name: each["adapted"] for name, each in found.items() if each["adapted"]}
    assert set(adapted) == {"raw", "keda", "triton"}
    assert "1 to 2 replicas, by concurrency instead of cpu" in adapted["raw"]
    assert "1 to 5 replicas, by concurrency instead of memory" in adapted["keda"]
    assert "not heeded: runtimeVersion 23.05-py3" in adapted["triton"]


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
