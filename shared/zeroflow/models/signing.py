"""Signatures over a model's files, in the OpenSSF Model Signing format, with elliptic-curve keys.

A signature is a Sigstore bundle: a DSSE envelope around an in-toto statement that lists every file with its sha256. It
is checked by the `model-signing` tool, and its signatures are checked here; keyless and certificate signatures are not.
Sources: OpenSSF Model Signing v1.0 (predicate https://model_signing/signature/v1.0); DSSE v1.0.0; Sigstore bundle v0.3.
"""

import base64
import binascii
import hashlib
import json
from pathlib import Path
from typing import Any

from zeroflow.artifacts import content
from zeroflow.errors import Conflict, InvalidInput

FILE = "model.sig"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://model_signing/signature/v1.0"
IGNORED = (".git", ".gitattributes", ".github", ".gitignore")
"""What belongs to a repository and not to the model, as the tool leaves it out."""


class SignatureMismatch(Conflict):
    """The signature is not of these bytes, or not by this key."""


def sign(model: Path, key: Path, password: str | None = None) -> dict[str, Any]:
    """Return the bundle that signs a model's file or directory with a PEM private key (P-256, P-384 or P-521)."""
    from cryptography.hazmat.primitives.asymmetric import ec

    private = _private(key, password)
    payload = json.dumps(_statement(model)).encode()
    signature = private.sign(_pae(payload), ec.ECDSA(_hash(private.public_key())))
    return {
        "mediaType": BUNDLE,
        "verificationMaterial": {"publicKey": {"hint": _hint(private.public_key())}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }


def verify(model: Path, bundle: Any, key: Path) -> list[str]:
    """Check that a PEM public key signed exactly these files; return their names. Raise SignatureMismatch otherwise."""
    signed = _signed(bundle, key)
    found = {name: ("sha256", digest) for name, digest in _files(model)}
    for name in sorted(signed.keys() | found.keys()):
        if signed.get(name) != found.get(name):
            what = "was changed" if name in signed and name in found else "is new" if name in found else "is gone"
            raise SignatureMismatch(f"{name} {what} since the model was signed")
    return sorted(found)


def check_key(key: Path) -> None:
    """Raise InvalidInput unless this is a PEM public key that signatures are checked with."""
    _hash(_public(key))


def signed_content(bundle: Any, key: Path) -> str:
    """Return the content hash (`zeroflow.artifacts.content`) of what a PEM public key signed, without the bytes."""
    signed = _signed(bundle, key)
    if any(algorithm != "sha256" for algorithm, _ in signed.values()):
        raise InvalidInput("the signature's hashes are not sha256: what they are of cannot be told without the bytes")
    if signed.keys() == {"."}:
        return str(signed["."][1])
    names = sorted(signed, key=lambda name: name.encode())
    return hashlib.sha256("".join(f"{signed[name][1]}  {name}\n" for name in names).encode()).hexdigest()


def _signed(bundle: Any, key: Path) -> dict[str, tuple[str, str]]:
    """Return algorithm and digest of each file that a PEM public key signed; raise SignatureMismatch for another's."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec

    public = _public(key)
    try:
        envelope = bundle["dsseEnvelope"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        signature = base64.b64decode(envelope["signatures"][0]["sig"], validate=True)
        kind = envelope["payloadType"]
    except (KeyError, TypeError, IndexError, binascii.Error, ValueError) as error:
        raise InvalidInput(f"the signature is no Sigstore bundle with a DSSE envelope: {error!r}") from error
    if kind != PAYLOAD:
        raise InvalidInput(f"the signature's payload is {kind!r}, expected {PAYLOAD}")
    try:
        public.verify(signature, _pae(payload), ec.ECDSA(_hash(public)))
    except InvalidSignature:
        raise SignatureMismatch(f"the signature was not made with the key of {key}") from None
    try:
        statement = json.loads(payload)
        predicate, serialization = statement["predicate"], statement["predicate"]["serialization"]
        signed = {one["name"]: (one["algorithm"], one["digest"]) for one in predicate["resources"]}
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"the signed statement cannot be read: {error!r}") from error
    if statement.get("predicateType") != PREDICATE or serialization.get("method") != "files":
        raise InvalidInput(f"the signed statement is {statement.get('predicateType')!r}, file by file is expected")
    return signed


def _statement(model: Path) -> dict[str, Any]:
    files = _files(model)
    root = hashlib.sha256(b"".join(bytes.fromhex(digest) for _, digest in files)).hexdigest()
    return {
        "_type": STATEMENT,
        "subject": [{"name": model.resolve().name, "digest": {"sha256": root}}],
        "predicateType": PREDICATE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [FILE, *IGNORED],
            },
            "resources": [{"name": name, "algorithm": "sha256", "digest": digest} for name, digest in files],
        },
    }


def _files(model: Path) -> list[tuple[str, str]]:
    """Return (name, sha256) of each file that counts, in the order of names; a lone file's name is `.`."""
    if not model.is_dir():
        return [(".", content.of(model).sha256)]
    names = [(path.relative_to(model), path) for path in content.files_of(model)]
    counted = [
        (name.as_posix(), path) for name, path in names if name.parts[0] not in IGNORED and name.as_posix() != FILE
    ]
    if not counted:
        raise InvalidInput(f"{model} holds no file")
    return sorted((name, content.of(path).sha256) for name, path in counted)


def _pae(payload: bytes) -> bytes:
    """Return what a DSSE signature is made over."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD), PAYLOAD.encode(), len(payload), payload)


def _private(key: Path, password: str | None) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        loaded = load_pem_private_key(key.read_bytes(), password.encode() if password else None)
    except (OSError, ValueError, TypeError) as error:
        raise InvalidInput(f"the private key {key} cannot be read: {error}") from error
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise InvalidInput(f"the private key {key} is no elliptic-curve key")
    return loaded


def _public(key: Path) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        loaded = load_pem_public_key(key.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidInput(f"the public key {key} cannot be read: {error}") from error
    if not isinstance(loaded, ec.EllipticCurvePublicKey):
        raise InvalidInput(f"the public key {key} is no elliptic-curve key")
    return loaded


def _hash(public: Any) -> Any:
    from cryptography.hazmat.primitives import hashes

    known: dict[str, Any] = {"secp256r1": hashes.SHA256, "secp384r1": hashes.SHA384, "secp521r1": hashes.SHA512}
    if public.curve.name not in known:
        raise InvalidInput(f"keys of curve {public.curve.name} are not used here: make one of {', '.join(known)}")
    return known[public.curve.name]()


def _hint(public: Any) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
