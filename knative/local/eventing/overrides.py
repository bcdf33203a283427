"""`ceOverrides` of sources: extensions that every event of the source carries."""

from __future__ import annotations

import re
from typing import Any

from zeroflow.knative.local.eventing.cloudevent import CORE
from zeroflow.knative.local.eventing.errors import InvalidSpec

_NAME = re.compile(r"[a-z0-9]+")


def extensions(spec: dict[str, Any]) -> dict[str, str]:
    """Return the extensions that a source's spec adds; raise InvalidSpec."""
    overrides = spec.get("ceOverrides") or {}
    path = "spec.ceOverrides"
    if not isinstance(overrides, dict):
        raise InvalidSpec(path, "must be an object with extensions")
    found = overrides.get("extensions") or {}
    if not isinstance(found, dict):
        raise InvalidSpec(f"{path}.extensions", "must be a map of extension names to strings")
    for name, value in found.items():
        if not _NAME.fullmatch(name) or name in CORE or name == "data":
            raise InvalidSpec(
                f"{path}.extensions", f"invalid extension name {name!r}: lower-case letters and digits only"
            )
        if not isinstance(value, str):
            raise InvalidSpec(f"{path}.extensions.{name}", "must be a string")
    return found
