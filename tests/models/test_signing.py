"""Signatures over models, beside the official tool in both directions."""

import json
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from environments import python_of
from zeroflow.errors import InvalidInput
from zeroflow.models import signing
from zeroflow.models.signing import SignatureMismatch

OFFICIAL = ("model-signing==1.1.1", "pyopenssl")


def keys(folder: Path, curve: ec.EllipticCurve) -> tuple[Path, Path]:
    private = ec.generate_private_key(curve)
    pair = folder / "key.pem", folder / "key.pub"
    pair[0].write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    pair[1].write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return pair


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    for name in ("model.onnx", "b.txt", "sub/a.bin", "sub-x"):
        (folder / name).write_bytes(name.encode())
    return folder


@pytest.fixture
def official() -> Path:
    return Path(python_of(*OFFICIAL)).with_name("model_signing")


def run(program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda one: one.name)
def test_the_official_tool_takes_our_signature_and_we_take_its(
    model: Path, tmp_path: Path, official: Path, curve: ec.EllipticCurve
) -> None:
    private, public = keys(tmp_path, curve)
    signature = model / "model.sig"
    signature.write_text(json.dumps(signing.sign(model, private)))
    assert signing.verify(model, json.loads(signature.read_text()), public) == [
        "b.txt",
        "model.onnx",
        "sub-x",
        "sub/a.bin",
    ]
    checked = run(official, "verify", "key", model, "--signature", signature, "--public_key", public)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    theirs = tmp_path / "theirs.sig"
    signed = run(
        official, "sign", "key", model, "--signature", theirs, "--private_key", private, "--ignore-paths", signature
    )
    assert signed.returncode == 0, signed.stdout + signed.stderr
    assert len(signing.verify(model, json.loads(theirs.read_text()), public)) == 4
    (model / "b.txt").write_bytes(b"changed")
    assert run(official, "verify", "key", model, "--signature", signature, "--public_key", public).returncode != 0
    with pytest.raises(SignatureMismatch, match=r"b\.txt was changed"):
        signing.verify(model, json.loads(theirs.read_text()), public)


def test_every_change_of_the_files_is_named(model: Path, tmp_path: Path) -> None:
    private, public = keys(tmp_path, ec.SECP256R1())
    bundle = signing.sign(model, private)
    (model / "new").write_bytes(b"")
    with pytest.raises(SignatureMismatch, match="new is new"):
        signing.verify(model, bundle, public)
    (model / "new").unlink()
    (model / "sub" / "a.bin").unlink()
    with pytest.raises(SignatureMismatch, match=r"sub/a\.bin is gone"):
        signing.verify(model, bundle, public)
    single = signing.sign(model / "b.txt", private)
    assert signing.verify(model / "b.txt", single, public) == ["."]


def test_a_signature_that_says_something_else_is_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    private, public = keys(tmp_path, ec.SECP256R1())
    stranger = keys(tmp_path / "other", ec.SECP256R1())[1]
    bundle = signing.sign(model, private)
    with pytest.raises(SignatureMismatch, match="not made with the key"):
        signing.verify(model, bundle, stranger)
    envelope = bundle["dsseEnvelope"]
    forged = {**bundle, "dsseEnvelope": {**envelope, "payload": envelope["payload"][:-4] + "AAAA"}}
    with pytest.raises(SignatureMismatch, match="not made with the key"):
        signing.verify(model, forged, public)
    for wrong in ({}, [], {"dsseEnvelope": {"payload": "%", "payloadType": "x", "signatures": []}}):
        with pytest.raises(InvalidInput, match="no Sigstore bundle"):
            signing.verify(model, wrong, public)


def test_keys_that_cannot_be_used_are_named(model: Path, tmp_path: Path) -> None:
    other = tmp_path / "rsa.pem"
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    other.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(InvalidInput, match="no elliptic-curve key"):
        signing.sign(model, other)
    private, _ = keys(tmp_path, ec.SECP256K1())
    with pytest.raises(InvalidInput, match="secp256k1"):
        signing.sign(model, private)
    with pytest.raises(InvalidInput, match="cannot be read"):
        signing.sign(model, tmp_path / "none")
