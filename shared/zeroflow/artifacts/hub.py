"""Hugging Face models: `hf://<organisation>/<model>[:<revision>]`, from a mirror on disk, else from the hub.

A mirror is looked at first. Two layouts are understood: `<mirror>/<organisation>/<model>` as a plain directory, and
the hub client's own cache, `models--<organisation>--<model>/{refs,snapshots}`, whose snapshots are links into its
blobs. The hub is asked which files a revision has; each is then read at the commit that it named, so that a push in
between mixes nothing. Old models have no organisation: `hf://gpt2`.
Source: huggingface_hub, "Understand caching", "Environment variables"; Hub API (/api/models, /resolve); KServe,
hf:// URIs.
"""

import json
import re
import shutil
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import quote

from zeroflow.artifacts.access import Access
from zeroflow.artifacts.guard import Guard
from zeroflow.artifacts.uris import URI
from zeroflow.errors import Forbidden, InvalidInput, NotFound, Unavailable

MAX_LIST_BYTES = 16 << 20
COPIES = (
    "pytorch_model*.bin",
    "tf_model*.h5",
    "flax_model*.msgpack",
    "rust_model.ot",
    "*.tflite",
    "coreml/*",
    "onnx/*",
    "openvino/*",
)
"""The same weights for others than who reads safetensors."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Hub:
    """The hub, and a mirror of it."""

    def __init__(self, access: Access, guard: Guard) -> None:
        self._access, self._guard = access, guard

    def exists(self, uri: URI) -> bool:
        return self._mirrored(uri) is not None or bool(self._files(self._described(uri)))

    def version(self, uri: URI) -> str | None:
        """Return the commit; None for what lies on this machine already."""
        if self._mirrored(uri) is not None:
            return None
        _, revision = _names(uri)
        return revision if _COMMIT.fullmatch(revision) else self._commit(self._described(uri))

    def local_path(self, uri: URI) -> Path | None:
        """Return the mirror's directory of a plain layout; None where links have to be followed first."""
        found = self._mirrored(uri)
        return None if found is None or any(path.is_symlink() for path in found.rglob("*")) else found

    def fetch(self, uri: URI, target: Path) -> None:
        found = self._mirrored(uri)
        if found is not None:
            _copy(uri, found, target)
        else:
            self._download(uri, target)

    def _mirrored(self, uri: URI) -> Path | None:
        model, revision = _names(uri)
        mirror = self._access.hub_mirror
        if mirror is None:
            return None
        plain = mirror / model
        is_model = plain.is_dir() and ("/" in model or any(path.is_file() for path in plain.iterdir()))
        if is_model and revision == "main":
            return plain
        cached = mirror / f"models--{model.replace('/', '--')}"
        reference = cached / "refs" / revision
        commit = reference.read_text().strip() if reference.is_file() else revision
        snapshot = cached / "snapshots" / commit
        return snapshot if _NAME.fullmatch(commit) and snapshot.is_dir() else None

    def _download(self, uri: URI, target: Path) -> None:
        model, _ = _names(uri)
        described, left = self._described(uri), self._access.max_bytes
        commit = self._commit(described)
        target.mkdir(parents=True)
        for name in _wanted(self._files(described)):
            path = (target / name).resolve()
            if not path.is_relative_to(target.resolve()):
                raise InvalidInput(f"{uri} holds a file whose name climbs out of it: {name!r}")
            path.parent.mkdir(parents=True, exist_ok=True)
            url = f"{self._access.hub_endpoint}/{model}/resolve/{commit}/{quote(name)}"
            with self._guard.get(url, headers=self._headers()) as reply, path.open("wb") as file:
                for chunk in reply.chunks(left):
                    left -= file.write(chunk)

    def _commit(self, described: Mapping[str, Any]) -> str:
        commit = str(described.get("sha"))
        if not _COMMIT.fullmatch(commit):
            raise Unavailable(f"{self._access.hub_endpoint} does not speak the hub's API")
        return commit

    def _files(self, described: Mapping[str, Any]) -> list[str]:
        files = described.get("siblings")
        if not isinstance(files, list) or not all(isinstance(each, dict) and "rfilename" in each for each in files):
            raise Unavailable(f"{self._access.hub_endpoint} does not speak the hub's API")
        return [str(each["rfilename"]) for each in files]

    def _described(self, uri: URI) -> Mapping[str, Any]:
        model, revision = _names(uri)
        endpoint, mirror = self._access.hub_endpoint, self._access.hub_mirror
        looked = f"the mirror {mirror} has no {model}" if mirror else "there is no mirror on disk (ZEROFLOW_HF_MIRROR)"
        if endpoint is None:
            raise NotFound(
                f"there is nothing at {uri}: {looked}, which huggingface-cli download fills, and the hub itself is "
                "not asked (HF_HUB_OFFLINE)"
            )
        try:
            url = f"{endpoint}/api/models/{model}/revision/{revision}"
            with self._guard.get(url, headers=self._headers()) as reply:
                described = json.loads(reply.read(MAX_LIST_BYTES))
        except NotFound as error:
            raise NotFound(f"there is nothing at {uri}: {endpoint} has no revision {revision!r} of {model}") from error
        except Forbidden as error:
            if "not public" in str(error):
                raise
            raise Forbidden(
                f"{endpoint} has no model {model}, or keeps it from others: the service account's Secret may have the "
                "HF_TOKEN of somebody who was let in"
            ) from error
        except ValueError as error:
            raise Unavailable(f"{endpoint} does not speak the hub's API") from error
        except Unavailable as error:
            raise Unavailable(f"{uri} cannot be read from the hub: {error}; {looked}") from error
        if not isinstance(described, dict):
            raise Unavailable(f"{endpoint} does not speak the hub's API")
        return described

    def _headers(self) -> dict[str, str]:
        token = self._access.hub_token
        return {"Authorization": f"Bearer {token}"} if token else {}


def _names(uri: URI) -> tuple[str, str]:
    """Return the model, with its organisation if it has one, and the revision."""
    model, colon, revision = uri.key.strip("/").partition(":")
    parts = [uri.bucket, model] if model else [uri.bucket]
    revision = revision if colon else "main"
    if not all(_NAME.fullmatch(name) for name in (*parts, revision)):
        raise InvalidInput(f"cannot read {str(uri)!r}: expected hf://<organisation>/<model>[:<revision>]")
    return "/".join(parts), revision


def _wanted(names: list[str]) -> list[str]:
    """Return what to read of the files: of weights that lie there as safetensors, no other copies."""
    if not any(name.endswith(".safetensors") and "/" not in name for name in names):
        return names
    return [name for name in names if not any(fnmatch(name, pattern) for pattern in COPIES)]


def _copy(uri: URI, found: Path, target: Path) -> None:
    """Copy a model of the mirror; links may lead only to the blobs beside the snapshots."""
    allowed = found.resolve() if found.parent.name != "snapshots" else found.parent.parent.resolve()
    for path in sorted(found.rglob("*")):
        real = path.resolve()
        if not real.is_relative_to(allowed):
            raise InvalidInput(f"{uri}: {path.relative_to(found)} is a link that leads out of the mirror")
        if real.is_file():
            copy = target / path.relative_to(found)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(real, copy)
