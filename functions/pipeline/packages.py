"""Uploaded pipeline packages: a YAML or JSON file, alone or as the one such file of a zip or gzipped tar archive.

Guarantees: nothing is written to disk, no path in an archive is followed, no more than `MAX_BYTES` are unpacked, and
YAML is read by the safe loader.
"""

import io
import tarfile
import zipfile
import zlib
from typing import Any

import yaml

from zeroflow.errors import InvalidInput

MAX_BYTES = 32 << 20
MAX_ALIASES = 1000
"""YAML aliases beyond this are an expansion attack, not a pipeline."""

_SUFFIXES = (".yaml", ".yml", ".json")
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def document_of(content: bytes) -> dict[str, Any]:
    """Return the definition in a package: a PipelineSpec, or {pipeline_spec, platform_spec} of its two parts."""
    text = _text_of(content)
    if text.count(b"*") > MAX_ALIASES and _aliases(text) > MAX_ALIASES:
        raise InvalidInput(f"the pipeline package uses more than {MAX_ALIASES} YAML aliases")
    try:
        parts = [part for part in yaml.load_all(text, _Loader) if part is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InvalidInput(f"the pipeline package is not valid YAML{place}: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidInput(f"the pipeline package is not valid YAML: {str(error).splitlines()[0]}") from error
    if not parts:
        raise InvalidInput("the pipeline package is empty")
    if len(parts) > 2 or not all(isinstance(part, dict) for part in parts):
        raise InvalidInput("the pipeline package must hold one PipelineSpec and perhaps one platform spec")
    return parts[0] if len(parts) == 1 else {"pipeline_spec": parts[0], "platform_spec": parts[1]}


def _text_of(content: bytes) -> bytes:
    try:
        if content.startswith(b"PK\x03\x04"):
            return _from_zip(content)
        if content.startswith(b"\x1f\x8b"):
            return _from_tar(content)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise InvalidInput(f"the pipeline package is a damaged archive: {error}") from error
    return _bounded(content)


def _from_zip(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        name = _only([info.filename for info in archive.infolist() if not info.is_dir()])
        with archive.open(name) as file:
            return _bounded(file.read(MAX_BYTES + 1))


def _from_tar(content: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        files = {}
        for member in archive:
            if member.isfile():
                if member.size > MAX_BYTES:
                    raise InvalidInput(f"the pipeline package unpacks to more than {MAX_BYTES >> 20} MiB")
                files[member.name] = member
        file = archive.extractfile(files[_only(list(files))])
        assert file is not None
        return _bounded(file.read(MAX_BYTES + 1))


def _only(names: list[str]) -> str:
    found = [name for name in names if name.lower().endswith(_SUFFIXES)]
    preferred = [name for name in found if name.rsplit("/", 1)[-1] == "pipeline.yaml"]
    if len(found) != 1 and len(preferred) != 1:
        raise InvalidInput(f"the archive must hold one YAML file, or one named pipeline.yaml; found {len(found)}")
    return (preferred or found)[0]


def _bounded(content: bytes) -> bytes:
    if len(content) > MAX_BYTES:
        raise InvalidInput(f"the pipeline package is larger than {MAX_BYTES >> 20} MiB")
    return content


def _aliases(text: bytes) -> int:
    try:
        return sum(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, _Loader))
    except yaml.YAMLError:
        return 0
