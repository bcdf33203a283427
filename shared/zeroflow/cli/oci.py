"""Models in an OCI image layout on disk, as skopeo, oras and olot write it.

The manifest is found by its tag, every blob is checked against its digest, and nothing is written outside the target:
a modelcar's layers (tar files with `models/` inside) are unpacked in order, whiteouts included; an artifact's layers
(ORAS) are files named by their title. Sources: OCI image layout and image manifest 1.1; KServe modelcar (`/models`).
"""

import gzip
import hashlib
import json
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from zeroflow.errors import InvalidInput

TAG = "org.opencontainers.image.ref.name"
TITLE = "org.opencontainers.image.title"
MAX_DOCUMENT_BYTES = 4 << 20
MODELS = "models"
_MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")


def is_layout(folder: Path) -> bool:
    """Say whether a directory is an OCI image layout."""
    return (folder / "oci-layout").is_file() and (folder / "index.json").is_file()


def unpack(layout: Path, target: Path, tag: str | None = None) -> str:
    """Unpack the model of a layout into `target`; return the manifest's digest."""
    index = _document((layout / "index.json").read_bytes(), "index.json")
    found = [one for one in _list(index, "manifests") if one.get("mediaType", _MANIFESTS[0]) in _MANIFESTS]
    tags = sorted(str((one.get("annotations") or {}).get(TAG)) for one in found)
    if tag is not None:
        found = [one for one in found if (one.get("annotations") or {}).get(TAG) == tag]
    if len(found) != 1:
        raise InvalidInput(
            f"{layout} has {len(found) or 'no'} manifest{'s' if len(found) > 1 else ''} for tag {tag!r}; choose one "
            f"with --tag: {', '.join(tags) or 'there is none'}"
        )
    digest = str(found[0].get("digest"))
    manifest = _document(_blob(layout, digest).read_bytes(), digest)
    layers = _list(manifest, "layers")
    if not layers:
        raise InvalidInput(f"{digest} has no layers: there is no model in it")
    unpacked = target.with_name(f".{target.name}.layers")
    unpacked.mkdir(parents=True)
    try:
        for layer in layers:
            _add(layout, layer, unpacked)
        inside = unpacked / MODELS
        root = inside if inside.is_dir() and any(inside.rglob("*")) else unpacked
        if not any(path.is_file() for path in root.rglob("*")):
            raise InvalidInput(f"{digest} holds no file")
        root.rename(target)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    return digest


def _add(layout: Path, layer: dict[str, Any], target: Path) -> None:
    blob, kind = _blob(layout, str(layer.get("digest"))), str(layer.get("mediaType", ""))
    if ".tar" not in kind and not kind.endswith("+gzip"):
        title = (layer.get("annotations") or {}).get(TITLE)
        if not isinstance(title, str):
            raise InvalidInput(f"layer {layer.get('digest')} is {kind or 'of no type'} and has no {TITLE}")
        place = _inside(target, title)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(blob, place)
        return
    with blob.open("rb") as packed:
        zipped = packed.read(2) == b"\x1f\x8b"
        packed.seek(0)
        stream = cast("IO[bytes]", gzip.GzipFile(fileobj=packed)) if zipped else packed
        try:
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    _take(archive, member, target)
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise InvalidInput(f"layer {layer.get('digest')} is no tar file that can be read: {error}") from error


def _take(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    """Take a file or directory over; a link is refused, since it may lead anywhere."""
    name = PurePosixPath(member.name).name
    place = _inside(target, member.name)
    if name == ".wh..wh..opq":
        shutil.rmtree(place.parent, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
    elif name.startswith(".wh."):
        gone = place.with_name(name.removeprefix(".wh."))
        shutil.rmtree(gone, ignore_errors=True) if gone.is_dir() else gone.unlink(missing_ok=True)
    elif member.isdir():
        place.mkdir(parents=True, exist_ok=True)
    elif member.isfile():
        place.parent.mkdir(parents=True, exist_ok=True)
        content = archive.extractfile(member)
        assert content is not None
        with place.open("wb") as file:
            shutil.copyfileobj(content, file)
    elif PurePosixPath(member.name).parts[:1] == (MODELS,):
        raise InvalidInput(f"{member.name} is a link or a device; a model holds only files")


def _inside(target: Path, name: str) -> Path:
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise InvalidInput(f"{name[:200]!r} leads out of the layer")
    return target.joinpath(*parts)


def _blob(layout: Path, digest: str) -> Path:
    """Return the file of a blob whose bytes are what its digest says."""
    algorithm, _, value = digest.partition(":")
    if algorithm != "sha256" or len(value) != 64 or not all(one in "0123456789abcdef" for one in value):
        raise InvalidInput(f"{digest[:100]!r} is no sha256 digest")
    path = layout / "blobs" / algorithm / value
    if not path.is_file():
        raise InvalidInput(f"the layout lacks blob {digest}")
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != value:
            raise InvalidInput(f"the bytes of blob {digest} are not what its digest says: the layout is damaged")
    return path


def _document(text: bytes, what: str) -> dict[str, Any]:
    try:
        document = json.loads(text[:MAX_DOCUMENT_BYTES])
    except ValueError as error:
        raise InvalidInput(f"{what} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidInput(f"{what} must be a JSON object")
    return document


def _list(document: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = document.get(name) or []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InvalidInput(f"{name} must be a list of objects")
    return found
