"""A required signer: whether one of a policy's keys has signed the very bytes that a version registers.

The signature is what `zeroflow models sign MODEL VERSION` keeps with a version: a doc-artifact `model.sig`, whose
bundle lies in the object store. It lists each file with its sha256, and the hash of all of them is the registered one,
so that no model is read while the registry's lock is held. Signatures without a key (Fulcio certificates) are refused
by name.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zeroflow.errors import Conflict, InvalidInput
from zeroflow.functions.register import registration
from zeroflow.functions.register.policy import Policy
from zeroflow.metadata.registry import RegistryArtifact
from zeroflow.models import signing

SIGNATURE = signing.FILE
MAX_BYTES = 16 << 20


def check(
    keys: Sequence[Path], documents: Sequence[RegistryArtifact], models: Sequence[RegistryArtifact], policy: Policy
) -> None:
    """Raise Conflict unless one of the documents is a signature of each model's bytes by one of the keys."""
    if not documents:
        raise Conflict(
            f"the policy asks for a signature, and the version has no artifact {SIGNATURE!r}: "
            "zeroflow models sign MODEL VERSION --key KEY"
        )
    names = " or ".join(key.name for key in keys)
    wanted = {registration.sha256_of(model) for model in models}
    signed = {content for one in documents for content in _signed(keys, _bundle(one, policy))}
    if not signed:
        raise Conflict(f"the policy asks for a signature by {names}, and {SIGNATURE} is by somebody else")
    if not wanted or wanted - signed:
        raise Conflict(f"{SIGNATURE} is by {names}, but not over the bytes that are registered: sign the version again")


def _signed(keys: Sequence[Path], bundle: Any) -> list[str]:
    found = []
    for key in keys:
        try:
            found.append(signing.signed_content(bundle, key))
        except signing.SignatureMismatch:
            continue
        except InvalidInput as error:
            raise Conflict(f"{SIGNATURE} cannot be used: {error}") from error
    return found


def _bundle(document: RegistryArtifact, policy: Policy) -> Any:
    uri = document.uri or ""
    if not uri.startswith("store://") or policy.stores is None:
        raise Conflict(f"{SIGNATURE} lies at {uri[:200]}; a signature that a policy asks for lies in store://")
    path = policy.stores.local_path(uri)
    try:
        if path is None or not path.is_file() or path.stat().st_size > MAX_BYTES:
            raise Conflict(f"{SIGNATURE} is not at {uri[:200]}, or larger than {MAX_BYTES} bytes")
        bundle = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise Conflict(f"{SIGNATURE} at {uri[:200]} cannot be read: {error}") from error
    material = bundle.get("verificationMaterial") if isinstance(bundle, dict) else None
    for keyless in ("certificate", "x509CertificateChain"):
        if isinstance(material, dict) and keyless in material:
            raise Conflict(f"{SIGNATURE} is keyless ({keyless}): only signatures with a key are understood here")
    return bundle
