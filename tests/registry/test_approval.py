"""The approval workflow of the models that a policy names; there is no way around it."""

import json
from pathlib import Path
from typing import Any

import pytest

from zeroflow.errors import Unavailable
from zeroflow.functions.register.policy import PolicyFile

SHA, OTHER = "ab" * 32, "cd" * 32


def text(value: str) -> dict[str, Any]:
    return {"metadataType": "MetadataStringValue", "string_value": value}


def as_user(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer token of {name}"}


class Governed:
    """One version of a governed model."""

    def __init__(self, registry: Any) -> None:
        self.registry = registry
        self.model = registry.model(name="governed " + registry.model()["name"])
        body = {"name": "1", "registeredModelId": self.model["id"], "customProperties": {"team": text("blue")}}
        made = registry.call("POST", "model_versions", body, headers=as_user("ada"))
        assert made.status == 201, made
        self.id = made.body["id"]
        self.artifact = self.add(artifactType="model-artifact", name="m", uri="s3://b/m", customProperties=hashed(SHA))

    def add(self, **artifact: Any) -> dict[str, Any]:
        made: dict[str, Any] = self.registry.ok("POST", f"model_versions/{self.id}/artifacts", artifact)
        return made

    def with_evidence(self, auc: float = 0.9) -> "Governed":
        self.add(artifactType="metric", name="auc", value=auc)
        self.add(artifactType="doc-artifact", name="evaluation", uri="s3://b/evaluation")
        return self

    @property
    def properties(self) -> dict[str, Any]:
        found = self.registry.ok("GET", f"model_versions/{self.id}")["customProperties"]
        return {name: next(v for k, v in told.items() if k.endswith("_value")) for name, told in found.items()}

    @property
    def state(self) -> str:
        return str(self.properties["approval.state"])

    def ask(self, state: str, user: str | None, **others: str) -> Any:
        """Ask for a state as a client does that read, changed and wrote the version."""
        known = self.registry.ok("GET", f"model_versions/{self.id}")["customProperties"]
        asked = known | {"approval.state": text(state)} | {name: text(value) for name, value in others.items()}
        headers = as_user(user) if user else {}
        path = f"model_versions/{self.id}"
        return self.registry.call("PATCH", path, {"customProperties": asked}, version="v1", headers=headers)

    def approved_events(self) -> list[dict[str, Any]]:
        return self._events("approved")

    def revoked_events(self) -> list[dict[str, Any]]:
        return self._events("revoked")

    def _events(self, what: str) -> list[dict[str, Any]]:
        return [
            event["data"]
            for event in self.registry.broker.received
            if event["ce-type"] == f"dev.zeroflow.modelversion.{what}"
            and event["data"]["registered_model"] == self.model["name"]
        ]


def hashed(sha256: str) -> dict[str, Any]:
    return {"sha256": text(sha256)}


@pytest.fixture
def governed(registry: Any) -> Governed:
    return Governed(registry)


def test_version_goes_from_draft_to_approved_and_the_event_says_so(governed: Governed) -> None:
    governed.with_evidence()
    assert governed.state == "draft"
    name = governed.model["name"]
    registered = [e for e in governed.registry.broker.received if e["data"].get("registered_model") == name]
    assert [event["data"]["needs_approval"] for event in registered] == [True]
    assert governed.ask("pending", "ada").status == 200
    assert governed.approved_events() == []
    answer = governed.ask("approved", "bob", **{"approval.reason": "good"})
    assert answer.status == 200, answer
    told = governed.properties
    assert (told["approval.state"], told["approval.decided_by"]) == ("approved", "user:bob")
    assert (told["approval.submitted_by"], told["approval.reason"]) == ("user:ada", "good")
    assert told["team"] == "blue"
    (event,) = governed.approved_events()
    assert (event["uri"], event["sha256"], event["approved_by"]) == ("s3://b/m", SHA, "user:bob")
    query = {"filterQuery": f"approval.state = 'approved' AND id = {governed.id}"}
    assert governed.registry.ok("GET", "model_versions", query=query)["size"] == 1
    trail = governed.registry.raw(
        "GET", "/api/model_registry/zeroflow/audit", query={"entity": f"model_version/{governed.id}"}
    ).body.decode()
    assert [verb in trail for verb in ('"approval.pending"', '"approval.approved"')] == [True, True]


@pytest.mark.parametrize(
    ("user", "words"),
    [
        (None, "who is asking"),
        ("nobody", "who is asking"),
        ("eve", "may not decide"),
        ("ada", "second pair of eyes"),
    ],
)
def test_approval_is_refused_to_whoever_may_not(governed: Governed, user: str | None, words: str) -> None:
    governed.with_evidence()
    assert governed.ask("pending", "ada").status == 200
    answer = governed.ask("approved", user)
    assert (answer.status, answer.body["code"]) == (403, "Forbidden")
    assert words in answer.body["message"]
    assert governed.state == "pending"
    assert governed.ask("rejected", user).status == 403


def test_claimed_name_is_not_an_identity(governed: Governed) -> None:
    governed.with_evidence()
    governed.ask("pending", "ada")
    known = governed.registry.ok("GET", f"model_versions/{governed.id}")["customProperties"]
    body = {"customProperties": known | {"approval.state": text("approved")}}
    headers = {"kubeflow-userid": "bob"}
    assert governed.registry.call("PATCH", f"model_versions/{governed.id}", body, headers=headers).status == 403


def test_policy_asks_for_metrics_and_artifacts(governed: Governed) -> None:
    assert governed.ask("pending", "ada").status == 200
    assert "artifact 'evaluation'" in governed.ask("approved", "bob").body["message"]
    governed.with_evidence(auc=0.7)
    answer = governed.ask("approved", "bob")
    assert (answer.status, "metric 'auc' is 0.7" in answer.body["message"]) == (409, True)
    governed.add(artifactType="metric", name="auc", value=0.8)
    assert governed.ask("approved", "bob").status == 200


@pytest.mark.parametrize("steps", [["approved"], ["rejected"], ["live"], ["pending", "approved", "pending"]])
def test_states_follow_their_order(governed: Governed, steps: list[str]) -> None:
    governed.with_evidence()
    for step in steps[:-1]:
        assert governed.ask(step, "ada" if step == "pending" else "bob").status == 200
    assert governed.ask(steps[-1], "bob").status in (400, 409)


def test_no_write_gets_around_it(governed: Governed) -> None:
    registry, path = governed.registry, f"model_versions/{governed.id}"
    governed.with_evidence()
    forged = {"approval.decided_by": text("user:bob")}
    assert registry.call("PATCH", path, {"customProperties": forged}, headers=as_user("bob")).status == 403
    assert registry.ok("PATCH", path, {"customProperties": {}})["customProperties"].keys() == {
        "approval.state",
        "approval.registered_by",
    }, "clearing the properties does not clear the approval"
    assert registry.ok("PATCH", path, {"description": "d"})["customProperties"]["approval.state"] == text("draft")
    for number, claimed in enumerate(({"approval.state": text("approved")}, forged)):
        body = {"name": f"new {number}", "registeredModelId": governed.model["id"], "customProperties": claimed}
        assert registry.call("POST", "model_versions", body, headers=as_user("bob")).status == 403


@pytest.mark.parametrize("change", ["sha256", "uri", "another artifact"])
def test_changed_bytes_are_a_draft_again(governed: Governed, change: str) -> None:
    governed.with_evidence()
    governed.ask("pending", "ada")
    assert governed.ask("approved", "bob").status == 200
    path = f"model_artifacts/{governed.artifact['id']}"
    governed.registry.ok("PATCH", path, {"description": "no change of bytes"})
    assert governed.state == "approved"
    if change == "another artifact":
        governed.add(artifactType="model-artifact", name="n", uri="s3://b/n", customProperties=hashed(OTHER))
    else:
        governed.registry.ok(
            "PATCH", path, {"uri": "s3://b/2"} if change == "uri" else {"customProperties": hashed(OTHER)}
        )
    assert governed.state == "draft"
    assert "changed while it was approved" in governed.properties["approval.reason"]


def test_bytes_without_a_hash_are_not_submitted(registry: Any) -> None:
    governed = Governed(registry)
    registry.ok("PATCH", f"model_artifacts/{governed.artifact['id']}", {"customProperties": {}})
    answer = governed.ask("pending", "ada")
    assert (answer.status, "sha256" in answer.body["message"]) == (409, True)


def test_model_without_a_policy_knows_nothing_of_it(registry: Any) -> None:
    version = registry.version(customProperties={"approval.state": text("whatever")})
    assert version["customProperties"] == {"approval.state": text("whatever")}


def test_an_approval_falls_with_its_evidence(governed: Governed) -> None:
    governed.with_evidence()
    governed.ask("pending", "ada")
    assert governed.ask("approved", "bob").status == 200
    governed.add(artifactType="metric", name="other", value=0.1)
    assert governed.state == "approved"
    governed.add(artifactType="metric", name="auc", value=0.5)
    assert governed.state == "draft"
    assert "metric 'auc' is 0.5" in governed.properties["approval.reason"]
    (event,) = governed.revoked_events()
    assert event["sha256"] == SHA


def test_archiving_an_approved_version_revokes_it(governed: Governed) -> None:
    governed.with_evidence()
    governed.ask("pending", "ada")
    governed.ask("approved", "bob")
    assert governed.ask("archived", "bob").status == 200
    assert [event["reason"] for event in governed.revoked_events()] == ["user:bob made it archived"]


@pytest.mark.parametrize("kind", ["metric", "deleted"])
def test_evidence_is_a_document_that_is_there(governed: Governed, kind: str) -> None:
    governed.add(artifactType="metric", name="auc", value=0.9)
    if kind == "metric":
        governed.add(artifactType="metric", name="evaluation", value=1.0)
    else:
        governed.add(artifactType="doc-artifact", name="evaluation", uri="s3://b/e", state="DELETED")
    governed.ask("pending", "ada")
    assert "doc- or dataset-artifact 'evaluation'" in governed.ask("approved", "bob").body["message"]


def test_a_state_of_another_type_is_refused(governed: Governed) -> None:
    body = {"customProperties": {"approval.state": {"metadataType": "MetadataBoolValue", "bool_value": True}}}
    answer = governed.registry.call("PATCH", f"model_versions/{governed.id}", body, headers=as_user("bob"))
    assert (answer.status, "MetadataStringValue" in answer.body["message"]) == (400, True)


def test_a_policy_takes_in_the_versions_that_are_there(registry: Any) -> None:
    claims = {"approval.state": text("approved"), "approval.registered_by": text("user:x"), "team": text("blue")}
    version = registry.version(customProperties=claims)
    model = registry.ok("GET", f"registered_models/{version['registeredModelId']}")
    document = json.loads(registry.policy.read_text())
    rule = {**document["approvals"][0], "models": [model["name"]]}
    try:
        registry.policy.write_text(json.dumps({**document, "approvals": [*document["approvals"], rule]}))
        registry.version()  # any call after the change
        found = registry.ok("GET", f"model_versions/{version['id']}")["customProperties"]
        assert found == {
            "approval.state": text("draft"),
            "approval.registered_by": text("unknown"),
            "team": text("blue"),
        }
        asked = {"customProperties": found | {"approval.state": text("approved")}}
        answer = registry.call("PATCH", f"model_versions/{version['id']}", asked, headers=as_user("bob"))
        assert answer.status == 409
    finally:
        registry.policy.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("approval: []", "knows identities"),
        ("approvals: [{fourEyes: true}]", "needs models"),
        ("approvals: [{models: [a], foureyes: true}]", "foureyes"),
        ("identities: [{name: a, tokenSha256: abc}]", "64 lower-case"),
        ("approvals: [{models: [a], metrics: {auc: {minimum: 1}}}]", "minimum"),
        ("approvals: {", "cannot be used"),
    ],
)
def test_misspelled_policy_stops_writes(tmp_path: Path, document: str, words: str) -> None:
    path = tmp_path / "registry-policy.yaml"
    policy = PolicyFile.from_environment({"ZEROFLOW_HOME": str(tmp_path)})
    assert policy.now().approval("a") is None
    path.write_text(document)
    with pytest.raises(Unavailable, match=words):
        policy.now()
    path.write_text("approvals: [{models: ['a*']}]")
    assert policy.now().approval("abc") is not None
    path.unlink()
    with pytest.raises(Unavailable, match="gone"):
        policy.now()
