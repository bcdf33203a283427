"""TrainedModels: what they become for a predictor, and what their status says. No predictor runs here."""

import json
from typing import Any

import pytest

from zeroflow.functions.inference.trained.memory import shares
from zeroflow.predictions.observation import source_prefix
from zeroflow.predictions.outcome import Outcome

ALPHA, KIND = "serving.kserve.io/v1alpha1", "TrainedModel"
OF_MANY = {"sklearn": {"resources": {"limits": {"memory": "1Gi"}}}}


@pytest.fixture
def many(cluster: Any, request: Any) -> str:
    """An InferenceService of many models."""
    name = f"many-{abs(hash(request.node.name)) % 10**8}"
    cluster.apply(name, OF_MANY)
    return name


def declare(cluster: Any, name: str, isvc: str, uri: str, **fields: Any) -> dict[str, Any]:
    """Apply a TrainedModel as a user would, and tell the function."""
    model = {"storageUri": uri, "framework": "sklearn", "memory": "256Mi", **fields.pop("model", {})}
    metadata = {"name": name, "namespace": "default", **fields}
    cluster.resources.apply(
        {"apiVersion": ALPHA, "kind": KIND, "metadata": metadata, "spec": {"inferenceService": isvc, "model": model}}
    )
    return tell(cluster, name)


def get(cluster: Any, name: str) -> dict[str, Any]:
    return dict(cluster.resources.get(ALPHA, KIND, "default", name))


def tell(cluster: Any, name: str) -> dict[str, Any]:
    cluster.tell(get(cluster, name))
    return get(cluster, name)


def condition(obj: dict[str, Any], kind: str) -> tuple[str, str, str]:
    found = next((each for each in obj["status"]["conditions"] if each["type"] == kind), {"status": "absent"})
    return found["status"], found.get("reason", ""), found.get("message", "")


def config(cluster: Any, isvc: str) -> dict[str, Any]:
    found = cluster.resources.get("v1", "ConfigMap", "default", f"modelconfig-{isvc}-0")
    return {each["modelName"]: each for each in json.loads(found["data"]["models.json"])}


def outcome(cluster: Any, isvc: str, name: str, of: str | None = None, by: str | None = None, **why: str) -> int:
    """Send what a predictor says; return the answer's status."""
    from zeroflow.inference.modelconfig import ConfiguredModel

    version = ConfiguredModel.of_entry(config(cluster, isvc)[name]).version if of is None else of
    said = Outcome(isvc, "default", f"{isvc}-predictor-00001", "pod-1", "p", 1, name, version, **why)
    headers = {
        "ce-specversion": "1.0",
        "ce-type": said.event_type,
        "ce-source": f"{source_prefix('default', by or isvc)}pod-1",
        "ce-id": f"{name}.{version}.{why}",
        "content-type": "application/json",
    }
    return int(cluster.client.post("/", data=json.dumps(said.to_data()), headers=headers).status_code)


def make_ready(cluster: Any, isvc: str) -> None:
    """Say that the predictor's Service is ready, as Knative would."""
    service = cluster.service(isvc)
    conditions = [{"type": kind, "status": "True"} for kind in ("Ready", "ConfigurationsReady", "RoutesReady")]
    service["status"] = {
        "observedGeneration": service["metadata"]["generation"],
        "conditions": conditions,
        "url": f"http://{isvc}-predictor.default.example",
        "address": {"url": f"http://{isvc}-predictor.default.svc.cluster.local"},
        "latestCreatedRevisionName": f"{isvc}-predictor-00001",
        "latestReadyRevisionName": f"{isvc}-predictor-00001",
    }
    cluster.resources.write_status(service)
    mapping = cluster.resources.get(
        "serving.knative.dev/v1beta1", "DomainMapping", "default", f"{isvc}.default.localhost"
    )
    mapping["status"] = {
        "url": f"http://{isvc}.default.localhost",
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    cluster.resources.write_status(mapping)
    cluster.tell(cluster.service(isvc))


def test_inference_service_without_a_model_gets_a_predictor_that_follows_a_config_map(cluster: Any, many: str) -> None:
    template = cluster.service(many)["spec"]["template"]
    (container,) = template["spec"]["containers"]
    env = {each["name"]: each.get("value") for each in container["env"]}
    assert env["ZEROFLOW_TRAINED_MODELS"] == "/mnt/configs/models.json"
    assert not any(env.get(name) for name in ("STORAGE_URI", "MODEL_FORMAT", "ZEROFLOW_MODEL_VOUCHED_BY"))
    assert {"name": "model-config", "configMap": {"name": f"modelconfig-{many}-0"}} in template["spec"]["volumes"]
    assert config(cluster, many) == {}
    assert cluster.get(many)["status"]["clusterServingRuntimeName"] == "zeroflow-predictor-of-many"
    owner = cluster.resources.get("v1", "ConfigMap", "default", f"modelconfig-{many}-0")["metadata"]["ownerReferences"]
    assert [each["uid"] for each in owner] == [cluster.get(many)["metadata"]["uid"]]


def test_model_is_configured_with_its_hash_and_who_vouches(cluster: Any, constant: Any, many: str) -> None:
    uri = cluster.put(f"models/{many}/model.joblib", constant(1))
    found = declare(cluster, f"m-{many}", many, uri)
    entry = config(cluster, many)[f"m-{many}"]
    assert entry["modelSpec"] == {"storageUri": uri, "framework": "sklearn", "memory": "256Mi"}
    assert entry["zeroflow"]["vouchedBy"] == "run/1/train"
    assert len(entry["zeroflow"]["sha256"]) == 64
    assert found["metadata"]["finalizers"] == ["trainedmodel.finalizer"]
    assert found["metadata"]["labels"]["inferenceservice"] == many
    assert condition(found, "IsMMSPredictor")[0] == "True"
    assert condition(found, "FrameworkSupported")[0] == "True"
    assert condition(found, "MemoryResourceAvailable") == ("True", "", "256Mi; with those before it 256Mi of 1Gi")
    assert condition(found, "InferenceServiceReady")[:2] == ("False", "InferenceServiceNotReady")
    assert condition(found, "Ready")[0] == "False"


def test_it_is_ready_by_what_a_predictor_says_and_no_longer_than_that_is_true(
    cluster: Any, constant: Any, many: str
) -> None:
    name = f"m-{many}"
    declare(cluster, name, many, cluster.put(f"models/{many}/1.joblib", constant(1)))
    make_ready(cluster, many)
    found = tell(cluster, name)
    assert condition(found, "Ready")[:2] == ("Unknown", "Loading")
    assert found["status"]["url"] == f"http://{many}.default.localhost/v1/models/{name}:predict"
    assert found["status"]["address"]["url"].endswith(
        f"{many}-predictor.default.svc.cluster.local/v1/models/{name}:predict"
    )
    assert outcome(cluster, many, name) == 204
    assert condition(get(cluster, name), "Ready")[0] == "True"
    assert condition(tell(cluster, name), "Ready")[0] == "True"  # looked at again, nothing is forgotten
    before = config(cluster, many)[name]
    declare(cluster, name, many, cluster.put(f"models/{many}/2.joblib", constant(2)))
    assert config(cluster, many)[name] != before
    assert condition(get(cluster, name), "Ready")[:2] == ("Unknown", "Loading")
    assert outcome(cluster, many, name, of="an older version") == 204
    assert condition(get(cluster, name), "Ready")[:2] == ("Unknown", "Loading")
    assert outcome(cluster, many, name, reason="ModelLoadFailed", message="it is broken") == 204
    assert condition(tell(cluster, name), "Ready") == ("False", "ModelLoadFailed", "it is broken")
    assert outcome(cluster, many, name) == 204
    assert condition(tell(cluster, name), "Ready")[0] == "True"


def test_predictors_of_another_have_no_say(cluster: Any, constant: Any, many: str) -> None:
    name = f"m-{many}"
    declare(cluster, name, many, cluster.put(f"models/{many}/1.joblib", constant(1)))
    assert outcome(cluster, many, name, by="other") == 403
    assert condition(get(cluster, name), "ModelLoaded")[0] == "Unknown"


def test_v2_services_give_v2_urls(cluster: Any, constant: Any, many: str) -> None:
    name = f"m-{many}"
    cluster.apply(many, {"model": {"modelFormat": {"name": "sklearn"}, "protocolVersion": "v2"}})
    declare(cluster, name, many, cluster.put(f"models/{many}/1.joblib", constant(1)))
    make_ready(cluster, many)
    assert tell(cluster, name)["status"]["url"].endswith(f"/v2/models/{name}/infer")


@pytest.mark.parametrize(
    ("fields", "recorded", "kind", "reason", "words"),
    [
        ({}, None, "ModelLoaded", "PickleNotVouched", "annotate the InferenceService or TrainedModel with"),
        ({"model": {"framework": "onnx"}}, "run/1", "ModelLoaded", "FormatNotSupported", "is a sklearn model"),
        ({"model": {"framework": "fortran"}}, "run/1", "FrameworkSupported", "FrameworkNotSupported", "'fortran'"),
        ({"model": {"memory": "2Gi"}}, "run/1", "MemoryResourceAvailable", "MemoryResourceNotAvailable", " of 1Gi"),
        ({"uri": "store://models/no/where"}, "run/1", "ModelLoaded", "ModelNotFound", "there is nothing at"),
        ({"uri": "pvc://claim/m"}, "run/1", "ModelLoaded", "InvalidSpec", "storageUri field is invalid"),
        ({"uri": "http://169.254.169.254/x"}, "run/1", "ModelLoaded", "Forbidden", "169.254.169.254"),
        ({"uri": "model-registry://none"}, "run/1", "ModelLoaded", "ModelNotFound", "no deployable"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_refused_model_says_why_and_takes_no_other_with_it(
    cluster: Any, constant: Any, many: str, fields: Any, recorded: str | None, kind: str, reason: str, words: str
) -> None:
    good = f"good-{many}"
    declare(cluster, good, many, cluster.put(f"models/{many}/good.joblib", constant(1)))
    uri = cluster.put(f"models/{many}/bad.joblib", constant(2 if recorded else 7), recorded)
    found = declare(cluster, f"bad-{many}", many, **{"uri": uri, **fields})
    status, why, said = condition(found, kind)
    assert (status, why) == ("False", reason)
    assert words in said
    make_ready(cluster, many)
    assert condition(get(cluster, f"bad-{many}"), "Ready") == (status, why, said)
    assert set(config(cluster, many)) == {good}


def test_annotation_vouches_for_a_pickle_and_only_for_its_own_model(cluster: Any, constant: Any, many: str) -> None:
    uri = cluster.put(f"models/{many}/m.joblib", constant(8), None)
    trust = {"zeroflow.dev/trust-pickle": "true"}
    declare(cluster, f"m-{many}", many, uri, annotations=trust)
    declare(cluster, f"n-{many}", many, uri)
    assert set(config(cluster, many)) == {f"m-{many}"}
    vouched = config(cluster, many)[f"m-{many}"]["zeroflow"]["vouchedBy"]
    assert vouched == f"TrainedModel default/m-{many} (zeroflow.dev/trust-pickle)"


def test_refused_change_leaves_what_is_served(cluster: Any, constant: Any, many: str) -> None:
    name = f"m-{many}"
    declare(cluster, name, many, cluster.put(f"models/{many}/1.joblib", constant(1)))
    before = config(cluster, many)
    found = declare(cluster, name, many, "store://models/no/where")
    assert condition(found, "ModelLoaded")[:2] == ("False", "ModelNotFound")
    assert config(cluster, many) == before


def test_memory_is_given_in_the_order_of_coming_and_kept() -> None:
    def model(name: str, memory: str, at: str) -> dict[str, Any]:
        return {
            "metadata": {"name": name, "creationTimestamp": at},
            "spec": {"model": {"memory": memory}},
        }

    models = [model("c", "256Mi", "3"), model("a", "512Mi", "2"), model("b", "512Mi", "1"), model("d", "1", "4")]
    found = shares(models, (), 1024.0**3)
    assert {name: share.fits for name, share in found.items()} == {"a": True, "b": True, "c": False, "d": False}
    assert found["a"].said == "512Mi; with those before it 1Gi of 1Gi"
    found = shares(models, ("c",), 1024.0**3)
    assert {name: share.fits for name, share in found.items()} == {"a": False, "b": True, "c": True, "d": True}
    assert all(share.fits for share in shares(models, (), None).values())


def test_memory_that_becomes_free_goes_to_who_waits_for_it(cluster: Any, constant: Any, many: str) -> None:
    uri = cluster.put(f"models/{many}/1.joblib", constant(1))
    for name in ("a", "b"):
        declare(cluster, f"{name}-{many}", many, uri, model={"memory": "600Mi"})
    assert set(config(cluster, many)) == {f"a-{many}"}
    cluster.resources.delete(ALPHA, KIND, "default", f"a-{many}")
    cluster.tell(get(cluster, f"a-{many}"))  # it is marked, and waits for its finalizer
    assert cluster.resources.find(ALPHA, KIND, "default", f"a-{many}") is None
    assert set(config(cluster, many)) == {f"b-{many}"}
    assert condition(get(cluster, f"b-{many}"), "MemoryResourceAvailable")[0] == "True"


def test_model_before_its_inference_service_waits_for_it(cluster: Any, constant: Any) -> None:
    uri = cluster.put("models/early/1.joblib", constant(1))
    found = declare(cluster, "early-model", "late-many", uri)
    assert condition(found, "Ready") == (
        "False",
        "InferenceServiceNotFound",
        "there is no InferenceService 'late-many'",
    )
    cluster.apply("late-many", OF_MANY)
    assert set(config(cluster, "late-many")) == {"early-model"}


def test_models_go_with_their_inference_service(cluster: Any, constant: Any, many: str) -> None:
    name = f"m-{many}"
    declare(cluster, name, many, cluster.put(f"models/{many}/1.joblib", constant(1)))
    cluster.resources.delete("serving.kserve.io/v1beta1", "InferenceService", "default", many)
    cluster.tell(get(cluster, name))
    assert cluster.resources.find(ALPHA, KIND, "default", name) is None
    assert cluster.resources.find("v1", "ConfigMap", "default", f"modelconfig-{many}-0") is None


def test_model_that_moves_to_another_inference_service_leaves_the_first(cluster: Any, constant: Any, many: str) -> None:
    name = f"m-{many}"
    uri = cluster.put(f"models/{many}/1.joblib", constant(1))
    declare(cluster, name, many, uri)
    cluster.apply(f"{many}-b", OF_MANY)
    declare(cluster, name, f"{many}-b", uri)
    assert set(config(cluster, many)) == set()
    assert set(config(cluster, f"{many}-b")) == {name}
    owners = get(cluster, name)["metadata"]["ownerReferences"]
    assert [each["name"] for each in owners] == [f"{many}-b"]


def test_inference_service_with_a_model_of_its_own_takes_no_others(cluster: Any, constant: Any) -> None:
    uri = cluster.put("models/single/1.joblib", constant(1))
    cluster.apply("single", {"sklearn": {"storageUri": uri}})
    found = declare(cluster, "of-single", "single", uri)
    status, reason, said = condition(found, "IsMMSPredictor")
    assert (status, reason) == ("False", "IsNotMMSPredictor")
    assert said.startswith("Inference Service predictor is not configured for multi-model serving")
    assert condition(found, "Ready")[0] == "False"


def test_what_is_already_so_is_not_written_again(cluster: Any, constant: Any, many: str) -> None:
    name = f"m-{many}"
    declare(cluster, name, many, cluster.put(f"models/{many}/1.joblib", constant(1)))
    tell(cluster, name)
    cluster.writes.clear()
    tell(cluster, name)
    cluster.tell(cluster.get(many))
    assert cluster.writes.count("merge") + cluster.writes.count("write_status") == 0
    assert "create" not in cluster.writes


def test_configuration_that_somebody_broke_is_written_anew(cluster: Any, constant: Any, many: str) -> None:
    name = f"m-{many}"
    declare(cluster, name, many, cluster.put(f"models/{many}/1.joblib", constant(1)))
    before = config(cluster, many)
    patch = {"data": {"models.json": "no JSON"}}
    cluster.resources.merge("v1", "ConfigMap", "default", f"modelconfig-{many}-0", patch)
    tell(cluster, name)
    assert config(cluster, many).keys() == before.keys()


def test_config_map_of_somebody_else_is_not_taken_over(cluster: Any) -> None:
    metadata = {"name": "modelconfig-taken-0", "namespace": "default"}
    cluster.resources.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"mine": "yes"}})
    found = cluster.apply("taken", OF_MANY)
    ready = next(each for each in found["status"]["conditions"] if each["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "NameTaken")
    assert cluster.resources.get("v1", "ConfigMap", "default", "modelconfig-taken-0")["data"] == {"mine": "yes"}


def test_uploaded_model_is_taken_without_touching_the_trained_model(cluster: Any, constant: Any, many: str) -> None:
    name, key = f"m-{many}", f"models/{many}-late/model.joblib"
    found = declare(cluster, name, many, f"store://{key}", annotations={"zeroflow.dev/trust-pickle": "true"})
    assert condition(found, "ModelLoaded")[:2] == ("False", "ModelNotFound")
    cluster.put(key, constant(1), None)
    record = {"s3": {"bucket": {"name": "models"}, "object": {"key": f"{many}-late/model.joblib"}}}
    headers = {
        "ce-specversion": "1.0",
        "ce-type": "com.amazonaws.s3.ObjectCreated:Put",
        "ce-source": "zeroflow.local.models",
        "ce-subject": f"{many}-late/model.joblib",
        "ce-id": many,
        "content-type": "application/json",
    }
    assert cluster.client.post("/", data=json.dumps(record), headers=headers).status_code == 204
    assert set(config(cluster, many)) == {name}


def test_start_of_the_host_asks_again_for_what_nobody_told_of(cluster: Any, constant: Any, many: str) -> None:
    name = f"m-{many}"
    declare(cluster, name, many, cluster.put(f"models/{many}/1.joblib", constant(1)))
    triggers = [each["metadata"]["name"] for each in cluster.resources.list("eventing.knative.dev/v1", "Trigger")]
    (waiting,) = [each for each in triggers if each.startswith(f"loading-{many}")]
    make_ready(cluster, many)
    assert condition(get(cluster, name), "Ready")[:2] == ("Unknown", "Loading")
    assert cluster.send("dev.zeroflow.host.started", {}).status_code == 204
    assert outcome(cluster, many, name) == 204
    tell(cluster, name)
    assert cluster.resources.find("eventing.knative.dev/v1", "Trigger", "zeroflow", waiting) is None
