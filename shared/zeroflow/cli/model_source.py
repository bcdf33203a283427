"""Where `zeroflow models push` takes a model from: a path, an OCI layout, or an S3 location that it stays at."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from zeroflow.artifacts import Stores
from zeroflow.cli import oci
from zeroflow.errors import InvalidInput


@dataclass(frozen=True)
class ModelSource:
    """A model's files here, and where they came from. `uri`: where they lie already; None: they are to be uploaded."""

    path: Path
    name: str
    uri: str | None = None
    told: dict[str, str] = field(default_factory=dict)
    """Custom properties of the version."""


@contextmanager
def opened(model: str, tag: str | None) -> Iterator[ModelSource]:
    """Bring the model's files here, for as long as the block lasts."""
    scratch = Path(tempfile.mkdtemp(prefix="zeroflow-push-"))
    try:
        yield _open(model, tag, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _open(model: str, tag: str | None, scratch: Path) -> ModelSource:
    if model.startswith("s3://"):
        import os

        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        name = model.rstrip("/").rpartition("/")[2]
        Stores(scratch, endpoint).fetch(model, scratch / name)
        return ModelSource(scratch / name, name, model.rstrip("/"))
    if "://" in model:
        raise InvalidInput(f"cannot push {model}: expected a path, an OCI layout on disk, or s3://BUCKET/KEY")
    path = Path(model)
    if path.is_dir() and oci.is_layout(path):
        digest = oci.unpack(path, scratch / "model", tag)
        return ModelSource(scratch / "model", path.resolve().name, None, {"oci.digest": digest})
    if not path.exists() or (path.is_dir() and not any(one.is_file() for one in path.rglob("*"))):
        raise InvalidInput(f"{path} holds no file")
    return ModelSource(path, path.resolve().name)


def code(stated: str | None) -> dict[str, str]:
    """Return where a model's code is: `URL@COMMIT` as stated, or the git repository of this directory."""
    if stated is not None:
        repository, at, commit = stated.rpartition("@")
        if not at or not repository or not commit:
            raise InvalidInput(f"--code must be REPOSITORY@COMMIT, got {stated!r}")
        return {"code.repository": repository, "code.commit": commit}
    head = _git("rev-parse", "HEAD")
    if head is None:
        return {}
    told = {"code.repository": _git("remote", "get-url", "origin") or "", "code.commit": head}
    if _git("status", "--porcelain", "--untracked-files=no"):
        told["code.state"] = "changed since the commit"
    return {name: _without_password(value) for name, value in told.items() if value}


def _git(*arguments: str) -> str | None:
    try:
        ran = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ran.stdout.strip() if ran.returncode == 0 else None


def _without_password(url: str) -> str:
    """Drop what stands before the host's name in a URL: a token often does."""
    scheme, found, rest = url.partition("://")
    if not found:
        return url
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
