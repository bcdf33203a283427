"""A registered version is served by the InferenceServices that follow its model, at first with all the traffic."""

from typing import Any

from zeroflow.metadata import now_ms
from zeroflow.metadata.registry import RegistryArtifact, RegistryContext

FOLLOWS = {"zeroflow.dev/registered-model": "delays"}


def event(version: str, uri: str, model: str = "delays") -> dict[str, Any]:
    return {"registered_model": model, "version": version, "uri": uri, "sha256": "0", "namespace": "default"}


def register(cluster: Any, version: str, uri: str, model: str = "delays") -> None:
    answer = cluster.send("dev.zeroflow.modelversion.registered", event(version, uri, model))
    assert answer.status_code == 204, answer.text


def predictor(isvc: dict[str, Any]) -> dict[str, Any]:
    return dict(isvc["spec"]["predictor"])


def is_ready(isvc: dict[str, Any]) -> bool:
    found = (isvc.get("status") or {}).get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in found)


def test_version_by_version(running: Any, constant: Any) -> None:
    one, two, three = (running.put(f"models/delays/{n}/model.joblib", constant(n)) for n in (1, 2, 3))
    waiting = running.apply("delays", {"model": {"modelFormat": {"name": "sklearn"}}}, FOLLOWS)
    assert waiting["status"]["conditions"][-1]["reason"] == "AwaitingModel"
    assert waiting["status"]["conditions"][-1]["status"] == "Unknown"

    register(running, "1", one)
    isvc = running.get("delays")
    assert (predictor(isvc)["model"]["storageUri"], "canaryTrafficPercent" in predictor(isvc)) == (one, False)
    assert isvc["metadata"]["annotations"]["zeroflow.dev/model-version"] == "1"
    running.tell(isvc)
    isvc = running.settle("delays", is_ready)
    assert {answer for answer, _ in running.predict(isvc["status"]["url"], "delays", 2)} == {1}

    register(running, "2", two)
    isvc = running.get("delays")
    assert (predictor(isvc)["model"]["storageUri"], predictor(isvc)["canaryTrafficPercent"]) == (two, 20)
    running.tell(isvc)
    running.settle("delays", lambda found: len(found["status"]["components"]["predictor"]["traffic"]) == 2)

    version = running.get("delays")["metadata"]["resourceVersion"]
    register(running, "2", two)  # again
    register(running, "1", one)  # late
    register(running, "9", three, model="other")
    assert running.get("delays")["metadata"]["resourceVersion"] == version


def test_canary_share_is_the_annotations(running: Any, constant: Any) -> None:
    one, two = (running.put(f"models/shares/{n}/model.joblib", constant(n)) for n in (1, 2))
    annotations = {"zeroflow.dev/registered-model": "shares", "zeroflow.dev/canary-percent": "5"}
    running.apply("shares", {"sklearn": {"storageUri": one}}, annotations)
    running.settle("shares", is_ready)
    register(running, "7", two, model="shares")
    assert predictor(running.get("shares")) == {"sklearn": {"storageUri": two}, "canaryTrafficPercent": 5}


def test_declared_after_the_registration_begins_with_the_newest_version(cluster: Any, constant: Any) -> None:
    uri = cluster.put("models/known/model.joblib", constant(1))
    now = now_ms()
    common: dict[str, Any] = {"fields": {}, "custom_properties": {}, "created_ms": now, "updated_ms": now}
    with cluster.database.transaction() as session:
        model = RegistryContext(kind="registered_model", name="known", **common)
        session.add(model)
        session.flush()
        for name, location in (("1", "store://models/older"), ("2", uri)):
            version = RegistryContext(kind="model_version", name=name, parent_id=model.id, **common)
            session.add(version)
            session.flush()
            session.add(RegistryArtifact(kind="model-artifact", name="a", parent_id=version.id, uri=location, **common))
    annotations = {"zeroflow.dev/registered-model": "known"}
    isvc = cluster.apply("known", {"model": {"modelFormat": {"name": "sklearn"}}}, annotations)
    assert predictor(isvc)["model"]["storageUri"] == uri
    assert isvc["metadata"]["annotations"]["zeroflow.dev/model-version"] == "2"


def test_malformed_event_is_refused_for_good(cluster: Any) -> None:
    answer = cluster.send("dev.zeroflow.modelversion.registered", {"registered_model": "delays"})
    assert answer.status_code == 400  # a broker does not try again
    assert "version must be a non-empty string" in answer.text
    assert cluster.send("dev.knative.apiserver.resource.add", {"kind": "InferenceService"}).status_code == 400


def test_gone_object_and_foreign_object_are_no_work(cluster: Any) -> None:
    gone = {"kind": "InferenceService", "metadata": {"name": "gone", "namespace": "default"}}
    assert cluster.send("dev.knative.apiserver.resource.delete", gone).status_code == 204
    foreign = {"kind": "Service", "metadata": {"name": "web", "namespace": "default"}}
    assert cluster.send("dev.knative.apiserver.resource.add", foreign).status_code == 204
