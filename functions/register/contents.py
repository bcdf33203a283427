"""What lies at a model's location: hash, size, format and signature, for models whose maker did not tell."""

import shutil
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from zeroflow.artifacts import Stores, content
from zeroflow.errors import InvalidInput, ZeroflowError
from zeroflow.functions.register.produced import ModelProduced


def described(produced: ModelProduced, stores: Stores) -> ModelProduced:
    """Look at the model's bytes and add what is not known of them; raise NotFound when there are none.

    Nothing of the model is run: a format is told from its first bytes, a signature is read where the format writes it.
    """
    path = stores.local_path(produced.uri)
    if path is not None:
        return _looked_at(produced, path)
    scratch = Path(tempfile.mkdtemp(prefix="zeroflow-register-"))
    try:
        stores.fetch(produced.uri, scratch / "model")
        return _looked_at(produced, scratch / "model")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _looked_at(produced: ModelProduced, path: Path) -> ModelProduced:
    from zeroflow.models import directories, signatures

    found = content.of(path)
    if produced.sha256 not in (None, found.sha256):
        raise InvalidInput(f"the bytes at {produced.uri} have sha256 {found.sha256}; told was {produced.sha256}")
    metadata: dict[str, Any] = dict(produced.metadata)
    with suppress(ZeroflowError):  # a format that is not known here is left to whoever serves it
        if not {"model_format_name", "model_format"} & set(metadata):
            metadata["model_format_name"] = directories.find_model(path).format
    signature = signatures.of(path)
    if signature is not None:
        metadata.setdefault("signature", signature)
    return replace(produced, sha256=found.sha256, size_bytes=found.size_bytes, metadata=metadata)
