"""What was fetched from elsewhere, kept on this machine by its hash: a second start downloads nothing.

`<root>/sha256/<hash>` is the bytes; `<root>/seen/<key>` says which hash a location had when it was in a certain
version (the server's own: ETags, generations, digests). An entry is written beside its place and renamed into it, so
that readers see a whole one or none; it is read by copying, and whoever reads checks the hash. Entries that were not
used for longest go when the cache is over its size.
"""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from zeroflow.artifacts import content

DEFAULT_MAX_BYTES = 20 << 30


class Cache:
    """A directory of fetched bytes."""

    def __init__(self, root: Path, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._root, self._max_bytes = root, max_bytes

    def copy(self, uri: str, version: str | None, target: Path) -> bool:
        """Copy what the location had in this version to `target`; False when it is not known or damaged."""
        if version is None:
            return False
        try:
            sha256 = self._note(uri, version).read_text()
        except OSError:
            return False
        entry = self._root / "sha256" / sha256
        if not entry.exists() or content.of(entry).sha256 != sha256:
            return False
        os.utime(entry)
        if entry.is_dir():
            shutil.copytree(entry, target)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(entry, target)
        return True

    def keep(self, uri: str, version: str | None, fetched: Path) -> None:
        """Keep a copy of what was fetched; a full disk keeps nothing and fails nobody."""
        if version is None:
            return
        try:
            found = content.of(fetched)
            if found.size_bytes > self._max_bytes:
                return
            self._make_room(found.size_bytes)
            self._store(fetched, self._root / "sha256" / found.sha256)
            self._write(self._note(uri, version), found.sha256)
        except OSError:
            return

    def _note(self, uri: str, version: str) -> Path:
        return self._root / "seen" / hashlib.sha256(f"{uri}\n{version}".encode()).hexdigest()

    def _store(self, fetched: Path, entry: Path) -> None:
        if entry.exists():
            return
        entry.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=entry.parent))
        try:
            if fetched.is_dir():
                shutil.copytree(fetched, scratch / "bytes")
            else:
                shutil.copyfile(fetched, scratch / "bytes")
            if not entry.exists():
                (scratch / "bytes").rename(entry)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            file.write(text)
        Path(file.name).rename(path)

    def _make_room(self, size_bytes: int) -> None:
        folder = self._root / "sha256"
        if not folder.is_dir():
            return
        entries = [(path.stat().st_mtime, _size(path), path) for path in folder.iterdir() if path.name[0] != "."]
        total = sum(size for _, size, _ in entries) + size_bytes
        for _, size, path in sorted(entries):
            if total <= self._max_bytes:
                return
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
            total -= size


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(found.stat().st_size for found in path.rglob("*") if found.is_file())
    return path.stat().st_size
