"""Hugging Face models from a mirror on disk: `hf://<organisation>/<model>[:<revision>]`.

Two layouts are understood: `<mirror>/<organisation>/<model>` as a plain directory, and the hub client's own cache,
`models--<organisation>--<model>/{refs,snapshots}`, whose snapshots are links into its blobs. Nothing is downloaded:
`huggingface-cli download` fills the mirror where there is a network.
Source: huggingface_hub, "Understand caching"; KServe, hf:// URIs.
"""

import re
import shutil
from pathlib import Path

from zeroflow.artifacts.uris import URI
from zeroflow.errors import InvalidInput, NotFound

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


class Hub:
    """A mirror of the hub."""

    def __init__(self, mirror: Path | None) -> None:
        self._mirror = mirror

    def exists(self, uri: URI) -> bool:
        return self._found(uri).is_dir()

    def version(self, uri: URI) -> str | None:
        return None  # it lies on this machine already

    def local_path(self, uri: URI) -> Path | None:
        """Return the directory of a plain layout; None where links have to be followed first."""
        found = self._found(uri)
        return None if any(path.is_symlink() for path in found.rglob("*")) else found

    def fetch(self, uri: URI, target: Path) -> None:
        """Copy a model; links may lead only to the blobs beside the snapshots."""
        found = self._found(uri)
        allowed = found.resolve() if found.parent.name != "snapshots" else found.parent.parent.resolve()
        for path in sorted(found.rglob("*")):
            real = path.resolve()
            if not real.is_relative_to(allowed):
                raise InvalidInput(f"{uri}: {path.relative_to(found)} is a link that leads out of the mirror")
            if real.is_file():
                copy = target / path.relative_to(found)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(real, copy)

    def _found(self, uri: URI) -> Path:
        if self._mirror is None:
            raise NotFound(
                f"{uri}: models of the hub are read from a mirror on disk and there is none; set ZEROFLOW_HF_MIRROR "
                "(or HF_HOME) to one and fill it with huggingface-cli download"
            )
        organisation, (model, _, revision) = uri.bucket, uri.key.strip("/").partition(":")
        for name in (organisation, model, revision or "main"):
            if not _NAME.fullmatch(name):
                raise InvalidInput(f"cannot read {str(uri)!r}: expected hf://<organisation>/<model>[:<revision>]")
        plain = self._mirror / organisation / model
        if plain.is_dir() and revision in ("", "main"):
            return plain
        cached = self._mirror / f"models--{organisation}--{model}"
        reference = cached / "refs" / (revision or "main")
        commit = reference.read_text().strip() if reference.is_file() else revision
        if commit and _NAME.fullmatch(commit) and (snapshot := cached / "snapshots" / commit).is_dir():
            return snapshot
        raise NotFound(
            f"there is nothing at {uri}: {self._mirror} has neither {organisation}/{model} nor {cached.name}"
        )
