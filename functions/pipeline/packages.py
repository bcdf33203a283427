"""Uploaded pipeline packages: a YAML or JSON file, alone or as the one such file of a zip or gzipped tar archive.

Guarantees: nothing is written to disk, no path in an archive is followed, links are not read, and no more than
`MAX_BYTES` of a file and `MAX_ARCHIVE_BYTES` of an archive are ever unpacked.
"""

import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.functions.pipeline import documents
from zeroflow.functions.pipeline.documents import MAX_BYTES

MAX_ARCHIVE_BYTES = 2 * MAX_BYTES
MAX_FILES = 1000
"""Of an archive."""

_SUFFIXES = (".yaml", ".yml", ".json")
_ZIP, _GZIP, _ZIP_ENTRY = b"PK\x03\x04", b"\x1f\x8b", b"PK\x01\x02"
_DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, RuntimeError,
    ValueError, IndexError,
)  # fmt: skip


def document_of(content: bytes) -> dict[str, Any]:
    """Return the definition in a package: a PipelineSpec, or {pipeline_spec, platform_spec} of its two parts."""
    return documents.read(_text_of(content))


def _text_of(content: bytes) -> bytes:
    try:
        if content.startswith(_ZIP):
            return _from_zip(content)
        if content.startswith(_GZIP):
            return _from_tar(content)
    except _DAMAGED as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise InvalidInput(f"the pipeline package is a damaged archive: {why}") from error
    return content


def _from_zip(content: bytes) -> bytes:
    if content.count(_ZIP_ENTRY) > MAX_FILES:
        raise InvalidInput(f"the archive holds more than {MAX_FILES} files; expected one YAML file")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        found = {info.filename: info for info in archive.infolist() if not info.is_dir()}
        chosen = found[_only(list(found))]
        if stat.S_ISLNK(chosen.external_attr >> 16):
            raise InvalidInput(f"{chosen.filename} in the archive is a link; expected a YAML file")
        with archive.open(chosen) as file:
            return file.read(MAX_BYTES + 1)


def _from_tar(content: bytes) -> bytes:
    with gzip.open(io.BytesIO(content)) as unpacked:
        tar = unpacked.read(MAX_ARCHIVE_BYTES + 1)
    if len(tar) > MAX_ARCHIVE_BYTES:
        raise InvalidInput(f"the pipeline package unpacks to more than {MAX_ARCHIVE_BYTES >> 20} MiB")
    with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as archive:
        found = {}
        for member in archive:
            if not member.isdir():
                found[member.name] = member
            if len(found) > MAX_FILES:
                raise InvalidInput(f"the archive holds more than {MAX_FILES} files; expected one YAML file")
        chosen = found[_only(list(found))]
        file = archive.extractfile(chosen) if chosen.isfile() else None
        if file is None:
            raise InvalidInput(f"{chosen.name} in the archive is a link or no file; expected a YAML file")
        return file.read(MAX_BYTES + 1)


def _only(names: list[str]) -> str:
    found = [name for name in names if name.lower().endswith(_SUFFIXES)]
    preferred = [name for name in found if name.rsplit("/", 1)[-1] == "pipeline.yaml"]
    if len(found) != 1 and len(preferred) != 1:
        raise InvalidInput(f"the archive must hold one YAML file, or one named pipeline.yaml; found {len(found)}")
    return (preferred or found)[0]
