"""The bytes of an artifact as an HTTP answer: a file, a file of a directory, or a directory as a tar archive."""

import mimetypes
import tarfile
import tempfile
from contextlib import ExitStack
from pathlib import Path

from flask import Response, send_file

from zeroflow.artifacts import Stores
from zeroflow.artifacts.uris import SCHEMES
from zeroflow.errors import InvalidInput, NotFound
from zeroflow.functions.pipeline.errors import NotHere
from zeroflow.metadata.artifacts import Artifact

TYPES = {"system.HTML": "text/html", "system.Markdown": "text/markdown"}
APART = {
    "Content-Security-Policy": "sandbox allow-scripts",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-cache",
}
"""What keeps a user's page away from everything else at this address."""


def answer(stores: Stores, artifact: Artifact, path: str, *, inline: bool) -> Response:
    """Answer with an artifact's bytes; `path` names a file of a directory. Raises NotFound when they are gone."""
    if artifact.uri.partition("://")[0] not in SCHEMES:
        raise NotHere(f"the bytes of artifact {artifact.id} lie at {artifact.uri}, which is not read from here")
    with ExitStack() as stack:
        found = _inside(_place(stores, artifact.uri, stack), path)
        made = _directory(found, stack) if found.is_dir() else _file(found, artifact, inline)
        made.direct_passthrough = False  # with it, nobody would tell that the answer is closed
        made.call_on_close(stack.pop_all().close)
    made.headers.update(APART)
    return made


def _place(stores: Stores, uri: str, stack: ExitStack) -> Path:
    """Return where the bytes are, fetched when they are elsewhere."""
    path = stores.local_path(uri)
    if path is None:
        path = _scratch(stack) / "content"
        stores.fetch(uri, path)
    return path


def _scratch(stack: ExitStack) -> Path:
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zeroflow-content-")))


def _inside(place: Path, path: str) -> Path:
    if not path:
        return place
    found = place / path
    if "\0" in path or not found.resolve().is_relative_to(place.resolve()):
        raise InvalidInput(f"path {path!r} leads out of the artifact")
    if not place.is_dir() or not found.exists():
        raise NotFound(f"the artifact has no file {path!r}")
    return found


def _file(path: Path, artifact: Artifact, inline: bool) -> Response:
    kind = TYPES.get(artifact.type) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return send_file(path, mimetype=kind, as_attachment=not inline, conditional=True, etag=False)


def _directory(path: Path, stack: ExitStack) -> Response:
    packed = _scratch(stack) / f"{path.name}.tar"
    with tarfile.open(packed, "w") as archive:
        archive.add(path, arcname=path.name)
    return send_file(packed, mimetype="application/x-tar", as_attachment=True, etag=False)
