"""A version's bytes as a tar file: GET /versions/<id>/content below /api/model_registry/zeroflow.

What is given out is what was registered: bytes whose hash is not the one that the model artifact states are refused.
Each download is a record of the audit trail, written before the first byte goes out.
"""

import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from flask import Response, request

from zeroflow.artifacts import Stores, content
from zeroflow.errors import Conflict, NotFound
from zeroflow.events import FunctionApp
from zeroflow.functions.register import lookup, registration
from zeroflow.functions.register.documents import read_id
from zeroflow.functions.register.entities import MODEL_VERSION
from zeroflow.functions.register.identity import Identify
from zeroflow.functions.register.policy import PolicyFile
from zeroflow.metadata import audit

CHUNK_BYTES = 1 << 20


def routes(
    app: FunctionApp, policy: PolicyFile, identify: Identify, stores: Stores
) -> list[tuple[str, str, Callable[..., Response]]]:
    """Return (path, method, view) of each operation."""

    def download(version_id: str) -> Response:
        number = read_id(version_id, MODEL_VERSION.title)
        with app.database.reading() as session:
            version = lookup.get_version(session, number)
            model = lookup.get_model(session, version.parent_id)
            artifacts = [one for one in lookup.model_artifacts(session, version) if one.uri]
        if not artifacts:
            raise NotFound(f"version {model.name}/{version.name} has no model artifact with a uri")
        artifact = artifacts[0]
        assert artifact.uri is not None
        sha256 = registration.sha256_of(artifact)
        scratch = Path(tempfile.mkdtemp(prefix="zeroflow-download-"))
        try:
            path = stores.local_path(artifact.uri)
            if path is None:
                path = scratch / artifact.uri.rstrip("/").rpartition("/")[2]
                stores.fetch(artifact.uri, path)
            found = content.of(path)
            if sha256 not in (None, found.sha256):
                raise Conflict(
                    f"the bytes at {artifact.uri} were changed: they have sha256 {found.sha256}, registered is {sha256}"
                )
            origin = identify(request.headers.get, request.remote_addr, policy.now())
            entity = (MODEL_VERSION.kind, str(version.id), f"{model.name}/{version.name}")
            told = {"uri": artifact.uri, "sha256": found.sha256, "size_bytes": found.size_bytes}
            with app.transaction() as tx:
                audit.append(tx.session, origin, "download", entity, after=told)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        headers = {"Zeroflow-Sha256": found.sha256}
        return Response(_tar(path, scratch), content_type="application/x-tar", headers=headers)

    return [("/versions/<version_id>/content", "GET", download)]


def _tar(root: Path, scratch: Path) -> Iterator[bytes]:
    """Yield a tar file of a file or of a directory's files; remove `scratch` at its end."""
    try:
        files = content.files_of(root) if root.is_dir() else [root]
        for path in files:
            told = tarfile.TarInfo(path.relative_to(root).as_posix() if root.is_dir() else root.name)
            told.size, told.mode = path.stat().st_size, 0o644
            yield told.tobuf(tarfile.PAX_FORMAT)
            with path.open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    yield chunk
            yield b"\0" * (-told.size % tarfile.BLOCKSIZE)
        yield b"\0" * (2 * tarfile.BLOCKSIZE)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
