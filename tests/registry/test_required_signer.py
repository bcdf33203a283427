"""A policy that wants a signature: by one of its keys, over the bytes that are registered."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization as forms
from cryptography.hazmat.primitives.asymmetric import ec

from zeroflow.artifacts import content
from zeroflow.errors import Unavailable
from zeroflow.functions.register.policy import parse
from zeroflow.models import signing


def text(value: str) -> dict[str, Any]:
    return {"metadataType": "MetadataStringValue", "string_value": value}


def make_key(folder: Path, name: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo))
    return private, public


class Signed:
    """A pending version of a model whose policy wants a signature with the key `release`."""

    def __init__(self, registry: Any, folder: Path) -> None:
        self.registry = registry
        self.model = folder / "model"
        self.model.mkdir()
        (self.model / "weights.bin").write_bytes(b"1234")
        (self.model / "config.json").write_text("{}")
        model = registry.model(name="signed " + registry.model()["name"])
        body = {"name": "1", "registeredModelId": model["id"]}
        headers = {"authorization": "Bearer token of ada"}
        self.id = registry.call("POST", "model_versions", body, headers=headers).body["id"]
        sha256 = content.of(self.model).sha256
        artifact = {"artifactType": "model-artifact", "name": "m", "uri": "store://models/m"}
        self.add({**artifact, "customProperties": {"sha256": text(sha256)}})
        assert self.ask("pending", "ada").status == 200

    def add(self, artifact: dict[str, Any]) -> None:
        self.registry.ok("POST", f"model_versions/{self.id}/artifacts", artifact)

    def ask(self, state: str, user: str) -> Any:
        known = self.registry.ok("GET", f"model_versions/{self.id}")["customProperties"]
        body = {"customProperties": known | {"approval.state": text(state)}}
        headers = {"authorization": f"Bearer token of {user}"}
        return self.registry.call("PATCH", f"model_versions/{self.id}", body, headers=headers)

    def sign(self, bundle: Any) -> None:
        path = self.registry.store / "models" / "signatures" / f"{self.id}.sig"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(bundle if isinstance(bundle, str) else json.dumps(bundle))
        uri = f"store://models/signatures/{self.id}.sig"
        self.add({"artifactType": "doc-artifact", "name": "model.sig", "uri": uri})


@pytest.fixture
def signed(registry: Any, tmp_path: Path) -> Iterator[Signed]:
    document = json.loads(registry.policy.read_text())
    _, public = make_key(tmp_path, "release")
    rule = {"models": ["signed *"], "signedBy": [str(public)]}
    registry.policy.write_text(json.dumps({**document, "approvals": [*document["approvals"], rule]}))
    try:
        yield Signed(registry, tmp_path)
    finally:
        registry.policy.write_text(json.dumps(document))


def test_the_right_signature_lets_an_approval_through(signed: Signed, tmp_path: Path) -> None:
    answer = signed.ask("approved", "bob")
    assert (answer.status, "models sign" in answer.body["message"]) == (409, True)
    signed.sign(signing.sign(signed.model, tmp_path / "release.pem"))
    assert signed.ask("approved", "bob").status == 200


@pytest.mark.parametrize("fault", ["another key", "other bytes", "keyless", "no json", "elsewhere"])
def test_any_other_signature_does_not(signed: Signed, tmp_path: Path, fault: str) -> None:
    other, _ = make_key(tmp_path, "other")
    bundle = signing.sign(signed.model, tmp_path / "release.pem")
    match fault:
        case "another key":
            signed.sign(signing.sign(signed.model, other))
        case "other bytes":
            (signed.model / "weights.bin").write_bytes(b"4321")
            signed.sign(signing.sign(signed.model, tmp_path / "release.pem"))
        case "keyless":
            signed.sign(bundle | {"verificationMaterial": {"certificate": {"rawBytes": ""}}})
        case "no json":
            signed.sign("[" * 100_000)
        case _:
            signed.add({"artifactType": "doc-artifact", "name": "model.sig", "uri": "s3://bucket/model.sig"})
    words = {
        "another key": "by somebody else",
        "other bytes": "not over the bytes that are registered",
        "keyless": "is keyless (certificate)",
        "no json": "cannot be read",
        "elsewhere": "lies in store://",
    }
    answer = signed.ask("approved", "bob")
    assert (answer.status, words[fault] in answer.body["message"]) == (409, True), answer


def test_a_policy_names_keys_that_are_there(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("approvals: [{models: [a], signedBy: [nowhere.pub]}]")
    with pytest.raises(Unavailable, match=r"signedBy: the public key .*nowhere\.pub"):
        parse(path)
    make_key(tmp_path, "release")
    path.write_text("approvals: [{models: [a], signedBy: [release.pub]}]")
    assert parse(path).approvals[0].signed_by == (tmp_path / "release.pub",)
