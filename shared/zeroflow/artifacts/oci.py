"""Models in OCI images, read from image layouts on disk: `oci://<registry>/<repository>[:<tag>]`.

The mirror holds one layout (`oci-layout`, `index.json`, `blobs/`) per repository, as `skopeo copy docker://... oci:DIR`
writes it. What an image has below /models is the model, as in KServe's modelcars. Layers are unpacked in order, with
their deletions; every blob must have the digest that names it.
Source: OCI image-spec v1.1 (image layout, manifest, layer changesets); KServe, modelcars.
"""

import hashlib
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

from zeroflow.artifacts.archive import CHUNK_BYTES, DAMAGED, BadArchive, inside, opened_tar
from zeroflow.artifacts.uris import URI
from zeroflow.errors import InvalidInput, NotFound

ROOT = "models"
REF = "org.opencontainers.image.ref.name"
MAX_JSON_BYTES = 4 << 20


class Images:
    """A mirror of image layouts."""

    def __init__(self, mirror: Path | None, max_bytes: int) -> None:
        self._mirror, self._max_bytes = mirror, max_bytes

    def exists(self, uri: URI) -> bool:
        return bool(self._layers(uri))

    def version(self, uri: URI) -> str | None:
        """Return the digests of the layers."""
        return json.dumps([digest for _, digest in self._layers(uri)])

    def local_path(self, uri: URI) -> Path | None:
        return None

    def fetch(self, uri: URI, target: Path) -> None:
        total = 0
        for layout, digest in self._layers(uri):
            total = self._unpack(_blob(layout, digest), target, total)
        if not target.is_dir() or not any(target.iterdir()):
            raise NotFound(f"{uri} has nothing below /{ROOT}")

    def _unpack(self, layer: Path, target: Path, total: int) -> int:
        try:
            with opened_tar(layer, self._max_bytes) as opened:
                for member in opened:
                    name = member.name.removeprefix("./").strip("/")
                    if name != ROOT and not name.startswith(f"{ROOT}/"):
                        continue
                    path = inside(target, name[len(ROOT) + 1 :])
                    if path.name.startswith(".wh."):
                        _delete(path)
                    elif member.isdir():
                        path.mkdir(parents=True, exist_ok=True)
                    elif member.isreg():
                        total = self._write(opened, member, path, total)
                    else:
                        raise BadArchive(f"layer {layer.name[:12]}: {name[:100]!r} is a link or a device")
        except DAMAGED as error:
            raise BadArchive(f"layer {layer.name[:12]} cannot be unpacked: {type(error).__name__}") from error
        return total

    def _write(self, opened: tarfile.TarFile, member: tarfile.TarInfo, path: Path, total: int) -> int:
        source = opened.extractfile(member)
        assert source is not None
        path.parent.mkdir(parents=True, exist_ok=True)
        with source, path.open("wb") as file:
            while chunk := source.read(CHUNK_BYTES):
                total += len(chunk)
                if total > self._max_bytes:
                    raise BadArchive(f"the image holds more than the {self._max_bytes} bytes that are allowed")
                file.write(chunk)
        return total

    def _layers(self, uri: URI) -> list[tuple[Path, str]]:
        layout, tag = self._layout(uri)
        try:
            return self._layers_of(uri, layout, tag)
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise BadArchive(f"{uri} has a manifest that is none: {type(error).__name__} {error}") from error

    def _layers_of(self, uri: URI, layout: Path, tag: str) -> list[tuple[Path, str]]:
        index = _document(layout / "index.json")
        manifests = index.get("manifests") or []
        tagged = [each for each in manifests if (each.get("annotations") or {}).get(REF) == tag]
        chosen = tagged or (manifests if len(manifests) == 1 and tag == "latest" else [])
        if not chosen:
            raise NotFound(f"there is nothing at {uri}: {layout} has no image tagged {tag!r}")
        manifest = _document(_blob(layout, str(chosen[0]["digest"])))
        if manifest.get("manifests"):  # an index of platforms: a model is the same on each
            manifest = _document(_blob(layout, str(manifest["manifests"][0]["digest"])))
        return [(layout, str(layer["digest"])) for layer in manifest.get("layers") or ()]

    def _layout(self, uri: URI) -> tuple[Path, str]:
        if self._mirror is None:
            raise NotFound(
                f"{uri}: images are read from layouts on disk and there are none; set ZEROFLOW_OCI_MIRROR to a "
                "directory that `skopeo copy docker://... oci:DIR` has filled"
            )
        repository, _, tag = uri.key.strip("/").partition(":")
        layout = (self._mirror / uri.bucket / repository).resolve()
        if not layout.is_relative_to(self._mirror.resolve()):
            raise InvalidInput(f"{uri} lies outside the mirror")
        if not (layout / "index.json").is_file():
            raise NotFound(f"there is nothing at {uri}: {layout} is no OCI image layout")
        return layout, tag or "latest"


def _blob(layout: Path, digest: str) -> Path:
    """Return a blob that has the digest; raise BadArchive for any other."""
    algorithm, _, encoded = digest.partition(":")
    if algorithm != "sha256" or len(encoded) != 64 or not all(each in "0123456789abcdef" for each in encoded):
        raise BadArchive(f"digest {digest[:80]!r} is not sha256:<64 hexadecimal digits>")
    path = layout / "blobs" / "sha256" / encoded
    try:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != encoded:
                raise BadArchive(f"blob {encoded[:12]} has other bytes than its digest says")
    except FileNotFoundError as error:
        raise NotFound(f"the image layout {layout} lacks the blob {encoded[:12]}") from error
    return path


def _document(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise BadArchive(f"{path.name[:20]} is too large for a manifest")
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BadArchive(f"{path.name[:20]} is no JSON") from error
    if not isinstance(value, dict):
        raise BadArchive(f"{path.name[:20]} is no JSON object")
    return value


def _delete(marker: Path) -> None:
    """Follow a deletion of a layer: one name, or everything that is there so far."""
    if marker.name == ".wh..wh..opq":
        shutil.rmtree(marker.parent, ignore_errors=True)
        return
    name = marker.name.removeprefix(".wh.")
    if name in ("", ".", ".."):
        raise BadArchive(f"{marker.name!r} marks nothing that could be deleted")
    path = marker.with_name(name)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
