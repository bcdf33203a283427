"""The logs of steps: read where they lie, also while they grow."""

import tempfile
from pathlib import Path

from zeroflow.artifacts import Stores
from zeroflow.errors import NotFound

MAX_BYTES = 8 << 20
"""A longer log is read in parts, by offset."""


def read_log(stores: Stores, uri: str, offset: int = 0) -> bytes:
    """Return at most MAX_BYTES of a log from `offset`; raise NotFound when nothing was written yet."""
    path = stores.local_path(uri)
    if path is not None:
        return _part(path, offset)
    with tempfile.TemporaryDirectory(prefix="zeroflow-log-") as scratch:
        target = Path(scratch) / "log"
        stores.fetch(uri, target)
        return _part(target, offset)


def _part(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(MAX_BYTES)
    except OSError as error:
        raise NotFound(f"there is no log at {path.name}: {error.strerror}") from error
