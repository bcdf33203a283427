"""Containers of the user's own as predictor, transformer and explainer; runtimes and their servers."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import urllib3

SAMPLES = Path(__file__).parent / "samples"
KSERVE_ALPHA = "serving.kserve.io/v1alpha1"
KNATIVE = "serving.knative.dev/v1"


def container(sample: str, *args: str, python: str = sys.executable) -> dict[str, Any]:
    return {"name": "kserve-container", "image": "me/mine", "command": [python, str(SAMPLES / sample)], "args": [*args]}


def condition(isvc: dict[str, Any], kind: str) -> dict[str, Any]:
    found = (isvc.get("status") or {}).get("conditions") or []
    return next((each for each in found if each["type"] == kind), {"status": "Missing"})


def is_ready(isvc: dict[str, Any]) -> bool:
    return bool(condition(isvc, "Ready")["status"] == "True")


def post(url: str, path: str, body: Any) -> Any:
    answer = urllib3.request("POST", url + path, json=body, timeout=60, retries=False)
    assert answer.status == 200, answer.data
    return json.loads(answer.data)


def service(cluster: Any, name: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = cluster.resources.find(KNATIVE, "Service", "default", name)
    return found


@pytest.fixture
def sklearn(running: Any, constant: Callable[[int], Any]) -> dict[str, Any]:
    uri = running.put("models/components/model.joblib", constant(4))
    return {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": uri}}


def test_custom_container_is_a_process(running: Any) -> None:
    running.apply("own", {"containers": [container("custom.py", "--mine")], "minReplicas": 0})
    isvc = running.settle("own", is_ready)
    answer = post(isvc["status"]["url"], "/v1/models/own:predict", {"instances": [[1, 2]]})
    assert answer == {"predictions": [3], "args": ["--mine"], "models": []}
    assert isvc["status"]["modelStatus"]["transitionStatus"] == "UpToDate"


def test_image_that_cannot_be_run_is_said_in_the_status(running: Any) -> None:
    running.apply("image", {"containers": [{"name": "kserve-container", "image": "codait/max-object-detector"}]})
    isvc = running.settle("image", lambda found: condition(found, "Ready")["status"] == "False")
    assert "codait/max-object-detector" in condition(isvc, "PredictorReady")["message"]
    assert "no images" in condition(isvc, "PredictorReady")["message"]


def test_kserve_transformer_stands_before_the_predictor(
    running: Any, sklearn: dict[str, Any], clients_python: str
) -> None:
    spec = {"transformer": {"containers": [container("transformer.py", python=clients_python)]}}
    running.apply("with-transformer", sklearn, spec=spec)
    isvc = running.settle("with-transformer", is_ready)
    assert {"predictor", "transformer"} == set(isvc["status"]["components"])
    assert condition(isvc, "TransformerReady")["status"] == "True"
    answer = post(isvc["status"]["url"], "/v1/models/with-transformer:predict", {"instances": ["5.1,3.5,1.4,0.2"]})
    assert answer == {"predictions": [-4]}
    running.apply("with-transformer", sklearn)
    isvc = running.settle("with-transformer", is_ready)
    assert set(isvc["status"]["components"]) == {"predictor"}
    assert condition(isvc, "TransformerReady")["status"] == "Missing"
    assert service(running, "with-transformer-transformer") is None


def test_transformer_is_told_as_kserve_tells_it(running: Any, sklearn: dict[str, Any]) -> None:
    spec = {
        "transformer": {"containers": [container("custom.py", "--model_name=x")], "minReplicas": 0},
        "explainer": {"art": {"type": "SquareAttack", "config": {"nb_classes": "10"}}},
    }
    running.apply("told-beside", sklearn, spec=spec)
    isvc = running.settle("told-beside", lambda found: "transformer" in found["status"].get("components", {}))
    made = service(running, "told-beside-transformer")
    assert made is not None
    host = isvc["status"]["components"]["predictor"]["address"]["url"].removeprefix("http://")
    args = made["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args == ["--model_name=x", "--predictor_host", host, "--http_port", "$(PORT)"]
    explainer = service(running, "told-beside-explainer")
    assert explainer is not None
    (art,) = explainer["spec"]["template"]["spec"]["containers"]
    assert art["image"] == "kserve/art-explainer:latest"
    assert art["args"][-4:] == ["--adversary_type", "SquareAttack", "--nb_classes", "10"]
    isvc = running.settle("told-beside", lambda found: condition(found, "ExplainerReady")["status"] == "False")
    assert "kserve/art-explainer" in condition(isvc, "Ready")["message"]


def runtime(name: str, kind: str, sample: str, **spec: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name}
    if kind == "ServingRuntime":
        metadata["namespace"] = "default"
    served = {
        **container(sample, "--model_name={{.Name}}", "--model_dir=/mnt/models"),
        "env": [{"name": "A", "value": "1"}],
    }
    formats = [{"name": "homemade", "version": "1", "autoSelect": True}]
    return {
        "apiVersion": KSERVE_ALPHA,
        "kind": kind,
        "metadata": metadata,
        "spec": {"supportedModelFormats": formats, "protocolVersions": ["v1"], "containers": [served], **spec},
    }


def homemade(uri: str, **fields: Any) -> dict[str, Any]:
    return {"model": {"modelFormat": {"name": "homemade"}, "storageUri": uri, **fields}}


def test_runtime_of_the_users_own_gets_the_model_and_its_arguments(running: Any) -> None:
    running.resources.apply(runtime("homemade", "ServingRuntime", "custom.py"))
    uri = running.put("models/homemade/weights.bin", b"weights")
    running.apply("by-runtime", homemade("store://models/homemade", args=["--more"]))
    isvc = running.get("by-runtime")
    assert uri
    if condition(isvc, "Ready").get("reason") == "KnativeServiceRefused":
        pytest.skip(f"this host has no init containers: {condition(isvc, 'Ready')['message']}")
    isvc = running.settle("by-runtime", is_ready)
    assert isvc["status"]["servingRuntimeName"] == "homemade"
    answer = post(isvc["status"]["url"], "/v1/models/by-runtime:predict", {"instances": [[1, 2]]})
    assert answer["args"][0] == "--model_name=by-runtime"
    assert answer["args"][-1] == "--more"
    assert answer["models"] == ["weights.bin"]


def found_by(running: Any, name: str, predictor: dict[str, Any]) -> Any:
    running.apply(name, predictor)
    isvc = running.get(name)
    if condition(isvc, "Ready").get("reason") == "KnativeServiceRefused":
        pytest.skip(f"this host has no init containers: {condition(isvc, 'Ready')['message']}")
    isvc = running.settle(name, is_ready)
    return post(isvc["status"]["url"], f"/v1/models/{name}:predict", {"instances": [[1, 2]]})["models"]


def test_a_containers_storage_uri_is_put_where_kserve_puts_it(running: Any) -> None:
    running.put("models/own/weights.bin", b"weights")
    given = container("custom.py")
    given["env"] = [{"name": "STORAGE_URI", "value": "store://models/own"}]
    assert found_by(running, "own-storage", {"containers": [given]}) == ["weights.bin"]
    (made,) = service(running, "own-storage-predictor")["spec"]["template"]["spec"]["containers"]
    assert {"name": "STORAGE_URI", "value": "/mnt/models"} in made["env"]


def test_several_locations_are_put_below_their_paths(running: Any) -> None:
    running.put("models/base/base.bin", b"base")
    running.put("models/adapter/adapter.bin", b"adapter")
    uris = [{"uri": "store://models/base"}, {"uri": "store://models/adapter", "mountPath": "/mnt/models/adapter"}]
    predictor = {"containers": [container("custom.py")], "storageUris": uris}
    assert found_by(running, "several", predictor) == ["adapter", "base.bin"]


def test_one_listed_location_is_the_models(running: Any, constant: Callable[[int], Any]) -> None:
    uri = running.put("models/listed/model.joblib", constant(4))
    running.apply("listed", {"model": {"modelFormat": {"name": "sklearn"}}, "storageUris": [{"uri": uri}]})
    url = running.settle("listed", is_ready)["status"]["url"]
    assert running.predict(url, "listed").popitem()[0][0] == 4


def test_a_command_of_an_image_that_is_not_here_is_told_from_a_broken_one(running: Any) -> None:
    given = {
        "name": "kserve-container",
        "image": "me/transformer:1",
        "command": [sys.executable, "-m", "no_such_module"],
    }
    running.apply("imageless", {"containers": [given]})
    isvc = running.settle("imageless", lambda found: condition(found, "Ready").get("status") == "False")
    message = condition(isvc, "Ready")["message"]
    assert "No module named no_such_module" in message
    assert "image 'me/transformer:1' is not here" in message


def test_quantities_may_be_numbers(running: Any) -> None:
    given = {**container("custom.py"), "resources": {"requests": {"cpu": 0.1, "memory": "64Mi"}}}
    running.apply("numbers", {"containers": [given]})
    (made,) = service(running, "numbers-predictor")["spec"]["template"]["spec"]["containers"]
    assert made["resources"]["requests"] == {"cpu": "0.1", "memory": "64Mi"}


def test_what_waits_for_the_predictor_is_no_failure(cluster: Any, constant: Callable[[int], Any]) -> None:
    uri = cluster.put("models/waits/model.joblib", constant(1))
    predictor = {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": uri}}
    cluster.apply("waits", predictor, spec={"transformer": {"containers": [container("transformer.py")]}})
    told = {each["type"]: each["status"] for each in cluster.get("waits")["status"]["conditions"]}
    assert (told["Ready"], told["TransformerReady"], told["IngressReady"]) == ("Unknown", "Unknown", "Unknown")
    assert not cluster.resources.list(
        "serving.knative.dev/v1beta1", "DomainMapping", "default", {"serving.kserve.io/inferenceservice": "waits"}
    )


def test_a_transformer_in_the_predictors_pod_stands_before_it(
    running: Any, sklearn: dict[str, Any], clients_python: str
) -> None:
    args = ["--predictor_host=localhost:8085", "--http_port", "8080", "--grpc_port=8081", "--enable_docs_url=false"]
    beside = {**container("transformer.py", *args, python=clients_python), "name": "transformer-container"}
    beside["ports"] = [{"containerPort": 8080, "protocol": "TCP"}]
    running.apply("collocated", {**sklearn, "containers": [beside]})
    isvc = running.settle("collocated", is_ready)
    assert condition(isvc, "Adapted")["message"].startswith("transformer-container runs as a transformer of its own")
    answer = post(isvc["status"]["url"], "/v1/models/collocated:predict", {"instances": ["5.1,3.5,1.4,0.2"]})
    assert answer == {"predictions": [-4]}


@pytest.mark.parametrize(
    ("ports", "kept", "said"),
    [
        ([{"name": "grpc-port", "containerPort": 8081}], {"name": "h2c", "containerPort": 8081}, ""),
        ([{"name": "http-port", "containerPort": 8080}], {"name": "http1", "containerPort": 8080}, ""),
        ([{"containerPort": 5000}], {"containerPort": 5000}, ""),
        (
            [{"name": "grpc-port", "containerPort": 8081}, {"name": "http-port", "containerPort": 8080}],
            {"name": "http1", "containerPort": 8080},
            "predictor: a Knative Service has one port, 8080; not reached: 8081",
        ),
    ],
    ids=["grpc", "http", "no-name", "both"],
)
def test_the_ports_of_a_deployment_become_the_one_of_a_service(
    cluster: Any, ports: list[dict[str, Any]], kept: dict[str, Any], said: str
) -> None:
    name = f"ports-{len(ports)}-{ports[0]['containerPort']}"
    standard = {"serving.kserve.io/deploymentMode": "Standard"}
    cluster.apply(name, {"containers": [{**container("custom.py"), "ports": ports}]}, standard)
    (made,) = service(cluster, f"{name}-predictor")["spec"]["template"]["spec"]["containers"]
    (port,) = made["ports"]
    assert {key: port.get(key) for key in kept} == kept
    message = condition(cluster.get(name), "Adapted")["message"]
    assert (said in message, "a Knative Service has one port" in message) == (True, bool(said))
