"""A version that its policy has not approved is not served, and neither are other bytes than the approved ones."""

from typing import Any

import pytest

from zeroflow.artifacts import content
from zeroflow.metadata import now_ms
from zeroflow.metadata.registry import RegistryArtifact, RegistryContext, RegistryContextProperty


def registered(cluster: Any, model: str, uri: str, sha256: str, state: str) -> int:
    """Write a version as the register function does for a model under a policy; return its id."""
    approval = {"approval.state": {"metadataType": "MetadataStringValue", "string_value": state}}
    hashed = {"sha256": {"metadataType": "MetadataStringValue", "string_value": sha256}}
    common: dict[str, Any] = {"created_ms": now_ms(), "updated_ms": now_ms(), "state": "LIVE"}
    with cluster.database.transaction() as session:
        owner = RegistryContext(kind="registered_model", name=model, parent_id=0, fields={}, **common)
        session.add(owner)
        session.flush()
        version = RegistryContext(
            kind="model_version", name="1", parent_id=owner.id, fields={}, custom_properties=approval, **common
        )
        session.add(version)
        session.flush()
        artifact = RegistryArtifact(kind="model-artifact", name="m", parent_id=version.id, uri=uri, fields={}, **common)
        artifact.custom_properties = hashed
        session.add(artifact)
        session.add(RegistryContextProperty(owner_id=version.id, name="approval.state", string_value=state))
        return int(version.id)


def approve(cluster: Any, version: int) -> None:
    with cluster.database.transaction() as session:
        row = session.get_one(RegistryContext, version)
        told = {"metadataType": "MetadataStringValue", "string_value": "approved"}
        row.custom_properties = {"approval.state": told}
        session.get_one(RegistryContextProperty, (version, "approval.state")).string_value = "approved"


def reason(isvc: dict[str, Any]) -> str:
    return str(isvc["status"]["conditions"][-1]["reason"])


def event(model: str, uri: str, **others: Any) -> dict[str, Any]:
    return {"registered_model": model, "version": "1", "uri": uri, "sha256": "0", "namespace": "default", **others}


def test_follower_waits_for_the_approval(cluster: Any, constant: Any) -> None:
    uri = cluster.put("models/waits/model.joblib", constant(1))
    sha256 = content.of(cluster.store / "models/waits/model.joblib").sha256
    version = registered(cluster, "waits", uri, sha256, "pending")
    follows = {"zeroflow.dev/registered-model": "waits"}
    isvc = cluster.apply("waits", {"model": {"modelFormat": {"name": "sklearn"}}}, follows)
    assert reason(isvc) == "AwaitingModel", "the newest version is not adopted before it is approved"
    cluster.send("dev.zeroflow.modelversion.registered", event("waits", uri, needs_approval=True))
    assert "storageUri" not in cluster.get("waits")["spec"]["predictor"]["model"]
    approve(cluster, version)
    assert cluster.send("dev.zeroflow.modelversion.approved", event("waits", uri)).status_code == 204
    assert cluster.get("waits")["spec"]["predictor"]["model"]["storageUri"] == uri
    cluster.tell(cluster.get("waits"))
    arguments = cluster.service("waits")["spec"]["template"]
    assert sha256 in str(arguments), "the predictor is told which bytes are approved"


def test_declaring_the_location_is_no_way_around(cluster: Any, constant: Any) -> None:
    uri = cluster.put("models/direct/model.joblib", constant(1))
    sha256 = content.of(cluster.store / "models/direct/model.joblib").sha256
    version = registered(cluster, "direct", uri, sha256, "draft")
    isvc = cluster.apply("direct", {"sklearn": {"storageUri": uri}})
    assert reason(isvc) == "NotApproved"
    assert "version 1 is draft" in str(isvc["status"]["conditions"])
    approve(cluster, version)
    cluster.tell(cluster.get("direct"))
    assert cluster.service("direct")


@pytest.mark.parametrize("place", ["model-registry://named/1", "model-registry://named", "the location itself"])
def test_what_was_refused_for_want_of_an_approval_is_served_once_it_is_there(
    cluster: Any, constant: Any, place: str, request: pytest.FixtureRequest
) -> None:
    model = f"named-{abs(hash(request.node.name)) % 10**8}"
    uri = cluster.put(f"models/{model}/model.joblib", constant(1))
    sha256 = content.of(cluster.store / f"models/{model}/model.joblib").sha256
    version = registered(cluster, model, uri, sha256, "pending")
    declared = place.replace("named", model) if "://" in place else uri
    isvc = cluster.apply(model, {"sklearn": {"storageUri": declared}})
    assert reason(isvc) == "NotApproved", isvc["status"]
    assert "://" not in place or f"zeroflow models approve {model} 1" in str(isvc["status"]["conditions"])
    cluster.send("dev.zeroflow.modelversion.approved", event(f"not-{model}", f"{uri}x"))
    assert reason(cluster.get(model)) == "NotApproved"
    approve(cluster, version)
    cluster.send("dev.zeroflow.modelversion.approved", event(model, uri))
    assert sha256 in str(cluster.service(model)["spec"]["template"])


def test_bytes_that_changed_since_the_approval_are_not_served(cluster: Any, constant: Any) -> None:
    uri = cluster.put("models/changed/model.joblib", constant(1))
    registered(cluster, "changed", uri, "ab" * 32, "approved")
    isvc = cluster.apply("changed", {"sklearn": {"storageUri": uri}})
    assert reason(isvc) == "NotApproved", isvc["status"]
    assert "not those that were approved" in str(isvc["status"]["conditions"])
