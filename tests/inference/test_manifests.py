"""The Knative Service that an InferenceService becomes."""

from typing import Any

import pytest

from zeroflow.functions.inference.containers import telemetry_of

AUTOSCALING = "autoscaling.knative.dev/"


@pytest.fixture(scope="module")
def uri(cluster: Any, constant: Any) -> str:
    return str(cluster.put("models/mapped/model.joblib", constant(1)))


def sklearn(uri: str, **fields: Any) -> dict[str, Any]:
    return {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": uri}, **fields}


def template(cluster: Any, name: str) -> dict[str, Any]:
    return dict(cluster.service(name)["spec"]["template"])


def test_fields_are_mapped_as_kserve_does(cluster: Any, uri: str) -> None:
    fields = {
        "minReplicas": 1,
        "maxReplicas": 3,
        "scaleTarget": 5,
        "scaleMetric": "concurrency",
        "labels": {"tier": "gold"},
    }
    cluster.apply("mapped", sklearn(uri, containerConcurrency=2, timeout=60, **fields))
    made = template(cluster, "mapped")
    annotations = made["metadata"]["annotations"]
    assert annotations[f"{AUTOSCALING}min-scale"] == "1"
    assert annotations[f"{AUTOSCALING}max-scale"] == "3"
    assert annotations[f"{AUTOSCALING}target"] == "5"
    assert annotations[f"{AUTOSCALING}metric"] == "concurrency"
    assert annotations[f"{AUTOSCALING}class"] == "kpa.autoscaling.knative.dev"
    assert made["metadata"]["labels"] == {
        "tier": "gold",
        "serving.kserve.io/inferenceservice": "mapped",
        "component": "predictor",
    }
    spec = made["spec"]
    assert (spec["containerConcurrency"], spec["timeoutSeconds"], spec["responseStartTimeoutSeconds"]) == (2, 60, 60)


def test_absent_min_replicas_means_nothing_idle(cluster: Any, uri: str) -> None:
    cluster.apply("idle", sklearn(uri))
    annotations = template(cluster, "idle")["metadata"]["annotations"]
    assert annotations[f"{AUTOSCALING}min-scale"] == "0"
    assert f"{AUTOSCALING}max-scale" not in annotations


def test_field_that_is_taken_back_goes(cluster: Any, uri: str) -> None:
    cluster.apply("shrunk", sklearn(uri, maxReplicas=3))
    cluster.apply("shrunk", sklearn(uri))
    assert f"{AUTOSCALING}max-scale" not in template(cluster, "shrunk")["metadata"]["annotations"]


def test_predictor_gets_the_model_and_nothing_of_the_platform(cluster: Any, uri: str) -> None:
    predictor = sklearn(uri)
    predictor["model"]["env"] = [{"name": "PREDICT_PROBA", "value": "true"}]
    cluster.apply("told", predictor)
    (container,) = template(cluster, "told")["spec"]["containers"]
    env = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert env.pop("ZEROFLOW_MODEL_SHA256") == template_hash(cluster)
    assert env == {
        "MODEL_NAME": "told",
        "STORAGE_URI": uri,
        "MODEL_FORMAT": "sklearn",
        "PROTOCOL": "v1",
        "ZEROFLOW_STORE": str(cluster.store),
        "ZEROFLOW_MODEL_VOUCHED_BY": "run/1/train",
        "OMP_NUM_THREADS": "1",
        "PREDICT_PROBA": "true",
    }
    assert "envFrom" not in container
    assert container["command"] == ["gunicorn"]


def template_hash(cluster: Any) -> str:
    import hashlib

    return hashlib.sha256((cluster.store / "models/mapped/model.joblib").read_bytes()).hexdigest()


def test_domain_mapping_gives_the_services_own_name(cluster: Any, uri: str) -> None:
    cluster.apply("named", sklearn(uri))
    mapping = cluster.resources.get(
        "serving.knative.dev/v1beta1", "DomainMapping", "default", "named.default.localhost"
    )
    assert mapping["spec"]["ref"]["name"] == "named-predictor"
    assert mapping["metadata"]["ownerReferences"][0]["name"] == "named"


def test_telling_again_writes_nothing(cluster: Any, uri: str) -> None:
    isvc = cluster.apply("quiet", sklearn(uri))
    service = cluster.service("quiet")
    cluster.writes.clear()
    for obj in (isvc, service, isvc):
        cluster.tell(obj)
    assert cluster.get("quiet")["metadata"]["resourceVersion"] == isvc["metadata"]["resourceVersion"]
    assert cluster.service("quiet")["metadata"]["resourceVersion"] == service["metadata"]["resourceVersion"]
    assert "write_status" not in cluster.writes


def test_revision_stays_with_the_bytes_it_was_made_for(cluster: Any, uri: str) -> None:
    """A Knative event does not make the function hash the model again; a change of the InferenceService does."""
    isvc = cluster.apply("pinned", sklearn(uri))
    path = cluster.store / "models/mapped/model.joblib"
    kept = path.read_bytes()
    path.unlink()
    try:
        cluster.tell(cluster.service("pinned"))
        assert cluster.get("pinned")["status"] == isvc["status"]
        isvc = cluster.apply("pinned", sklearn(uri, minReplicas=1))
        assert "there is nothing at" in isvc["status"]["conditions"][-1]["message"]
    finally:
        path.write_bytes(kept)


def test_gpu_limits_and_the_compile_switch_reach_the_revision(cluster: Any, uri: str) -> None:
    model = {**sklearn(uri)["model"], "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    cluster.apply("gpu", {"model": model}, annotations={"zeroflow.dev/compile": "false"})
    (container,) = template(cluster, "gpu")["spec"]["containers"]
    assert container["resources"] == {"limits": {"nvidia.com/gpu": "1"}}
    assert {"name": "ZEROFLOW_COMPILE", "value": "false"} in container["env"]
    assert "--worker-class=zeroflow.functions.predictor.worker.QuickWorker" in container["args"]


def test_models_that_need_torch_get_the_image_that_has_it(cluster: Any, uri: str) -> None:
    cluster.put("models/words/config.json", b'{"architectures": ["BertModel"]}', None)
    header = b'{"it": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'
    weights = len(header).to_bytes(8, "little") + header + bytes(4)
    cluster.put("models/words/model.safetensors", weights, None)
    words = {"model": {"modelFormat": {"name": "huggingface"}, "storageUri": "store://models/words"}}
    for name, predictor, image in (
        ("words", words, "zeroflow/predictor-torch"),
        ("rows", sklearn(uri), "zeroflow/predictor"),
    ):
        cluster.apply(name, predictor)
        (container,) = template(cluster, name)["spec"]["containers"]
        assert container["image"] == image


def test_predictors_are_told_where_spans_go_and_no_key() -> None:
    given = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
        "OTEL_TRACES_SAMPLER": "always_on",
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=secret",
        "OTEL_SERVICE_NAME": "inference",
        "PATH": "/bin",
    }
    kept = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_SAMPLER": "always_on"}
    assert telemetry_of(given) == kept
