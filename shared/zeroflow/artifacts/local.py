"""The local store: a directory per bucket.

Paths are resolved before they are used, links included, and must lie inside the root. Files are written beside their
place, flushed to the device and renamed into it; a directory likewise.
"""

import os
import shutil
import tempfile
from pathlib import Path

from zeroflow.artifacts import content
from zeroflow.artifacts.uris import URI, parse
from zeroflow.errors import InvalidInput

MAX_NAME_BYTES = 255
"""The longest file name of the usual file systems."""


class LocalStore:
    """`store://<bucket>/<key>` as files under one root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, uri: URI) -> Path:
        """Return the path of a location; raise InvalidInput when it resolves outside the root."""
        root = self.root.resolve()
        if any(len(part.encode()) > MAX_NAME_BYTES for part in uri.key.split("/")):
            raise InvalidInput(
                f"{str(uri)[:200]}... has a name of more than {MAX_NAME_BYTES} bytes between its slashes"
            )
        path = (root / uri.bucket / uri.key).resolve()
        if path == root or not path.is_relative_to(root):
            raise InvalidInput(f"{uri} lies outside the store")
        return path

    def inside(self, uri: URI) -> URI:
        """Turn a file:// location into the store:// location that it is; raise InvalidInput when it is none."""
        path, root = (Path("/") / uri.key).resolve(), self.root.resolve()
        if not path.is_relative_to(root) or len(path.relative_to(root).parts) < 2:
            raise InvalidInput(
                f"{uri} lies outside the store; copy it in with `zeroflow store put` or use store://<bucket>/<key>"
            )
        bucket, *key = path.relative_to(root).parts
        return parse(f"store://{bucket}/{'/'.join(key)}")

    def exists(self, uri: URI) -> bool:
        path = self.path(uri)
        return path.is_file() or (path.is_dir() and any(found.is_file() for found in path.rglob("*")))

    def local_path(self, uri: URI) -> Path | None:
        return self.path(uri)

    def version(self, uri: URI) -> str | None:
        return None  # it lies here

    def put(self, source: Path, uri: URI) -> None:
        target = self.path(uri)
        if not uri.key:
            raise InvalidInput(f"{uri} names a bucket; a file needs a key")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise InvalidInput(f"{uri} lies below something that is a file, not a directory") from error
        scratch = Path(tempfile.mkdtemp(prefix=".put-", dir=target.parent))
        try:
            copied = scratch / "new"
            if source.is_dir():
                content.files_of(source)  # refuses links
                shutil.copytree(source, copied, copy_function=_copy_durably)
            else:
                _copy_durably(source, copied)
            if target.is_dir():  # a directory cannot be renamed over: move the old one aside first
                target.rename(scratch / "old")
            copied.rename(target)
            _flush_directory(target.parent)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def fetch(self, uri: URI, target: Path) -> None:
        content.copy(self.path(uri), target, uri)

    def delete(self, uri: URI) -> None:
        path = self.path(uri)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _copy_durably(source: str | Path, target: str | Path) -> str:
    shutil.copyfile(source, target)
    with open(target, "rb") as file:
        os.fsync(file.fileno())
    return str(target)


def _flush_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
