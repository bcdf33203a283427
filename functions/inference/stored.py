"""Locations whose bytes are put below a path of a container: `storageUris`, and the variable STORAGE_URI.

Source: KServe v1beta1 API (StorageUrisSpec: uri, mountPath; its documentation calls that `path`), storage initializer
(STORAGE_URI of a container of the user's own, which becomes the path).
"""

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from zeroflow.functions.inference.refusal import Refused

MODEL_MOUNT = "/mnt/models"
STORAGE_URI = "STORAGE_URI"


@dataclass(frozen=True)
class Stored:
    """One location, and where a container finds it."""

    place: str
    """Where it is declared."""
    uri: str
    path: str = MODEL_MOUNT


def stored(place: str, declared: Mapping[str, Any]) -> tuple[Stored, ...]:
    """Read the locations of a component that runs a server which is not ours; raise Refused."""
    listed = tuple(_listed(f"{place}.storageUris", declared.get("storageUris")))
    containers = declared.get("containers") or [{}]
    variables = [each for each in containers[0].get("env") or () if isinstance(each, dict)]
    named = next((each.get("value") for each in variables if each.get("name") == STORAGE_URI), None)
    named = named or (declared.get("art") or {}).get("storageUri")
    if named and listed:
        raise Refused.field(f"{place}.storageUris", f"and {STORAGE_URI} of its container exclude each other")
    return (Stored(f"{place}.{STORAGE_URI}", str(named)),) if named else listed


def _listed(place: str, given: Any) -> Iterator[Stored]:
    if given is not None and (not isinstance(given, list) or not all(isinstance(each, dict) for each in given)):
        raise Refused.field(place, "must be a list of objects with uri and mountPath")
    paths = []
    for at, each in enumerate(given or ()):
        uri, path = each.get("uri"), each.get("mountPath") or each.get("path") or MODEL_MOUNT
        if not isinstance(uri, str) or not uri:
            raise Refused.field(f"{place}[{at}].uri", "is missing")
        if not isinstance(path, str) or not path.startswith("/") or posixpath.normpath(path) != path.rstrip("/"):
            raise Refused.field(
                f"{place}[{at}].mountPath", f"must be an absolute path that climbs nowhere, got {path!r}"
            )
        paths.append(path.rstrip("/"))
        yield Stored(f"{place}[{at}].uri", uri, path.rstrip("/"))
    if paths and posixpath.commonpath(paths) == "/":
        raise Refused.field(place, f"must have a common directory, got {', '.join(paths)}")


def root_of(locations: tuple[Stored, ...]) -> str:
    """Return the directory that all of them lie below."""
    return posixpath.commonpath([each.path for each in locations])
