"""Models on the web: `http(s)://host/path`, a file, or an archive that is unpacked.

Source: KServe, URI storage (a file by its name; .tar, .tgz, .zip are unpacked).
"""

import shutil
from email.message import Message
from pathlib import Path
from urllib.parse import unquote, urlsplit

from zeroflow.artifacts.archive import is_archive, unpack
from zeroflow.artifacts.guard import Guard, Reply
from zeroflow.artifacts.uris import URI
from zeroflow.errors import Forbidden, Unavailable


class Web:
    """Reads what a URL answers; nothing is written."""

    def __init__(self, guard: Guard, max_bytes: int) -> None:
        self._guard, self._max_bytes = guard, max_bytes

    def exists(self, uri: URI) -> bool:
        """Say whether the URL answers; raise NotFound when it says that there is nothing."""
        try:
            with self._guard.get(str(uri), "HEAD"):
                return True
        except Unavailable:  # a server that knows no HEAD
            with self._guard.get(str(uri)):
                return True

    def version(self, uri: URI) -> str | None:
        """Return what changes when the bytes do, as far as the server says it."""
        try:
            with self._guard.get(str(uri), "HEAD") as reply:
                found = reply.headers.get("ETag") or reply.headers.get("Last-Modified")
                return f"{reply.headers.get('Content-Length', '')} {found}" if found else None
        except (Unavailable, Forbidden):
            return None

    def local_path(self, uri: URI) -> Path | None:
        return None

    def fetch(self, uri: URI, target: Path) -> None:
        """Download a file as `target`, or unpack an archive as the directory `target`."""
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.part")
        try:
            with self._guard.get(str(uri)) as reply, part.open("wb") as file:
                for chunk in reply.chunks(self._max_bytes):
                    file.write(chunk)
                name = _name(reply, str(uri))
            if is_archive(name):
                unpack(part, target, self._max_bytes)
            elif target.suffix != Path(name).suffix:  # the name tells the format: keep it, in a directory
                target.mkdir()
                shutil.move(part, target / name)
            else:
                part.rename(target)
        finally:
            part.unlink(missing_ok=True)


def _name(reply: Reply, asked: str) -> str:
    """Return the file's name: as the server gives it, else the end of the path that was asked for."""
    disposition = Message()
    disposition["content-disposition"] = reply.headers.get("Content-Disposition", "")
    given = disposition.get_filename() or unquote(urlsplit(asked).path)
    name = given.replace("\\", "/").rstrip("/").rpartition("/")[2].strip()
    return name if name not in ("", ".", "..") and "\0" not in name else "model"
