"""What the API server itself decides about ConfigMaps and Secrets: stringData, base64, immutability.

Source: core/v1. The other built-in kinds have their rules in the rooms that realise them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any

from zeroflow.knative.local.api.errors import Cause, Invalid
from zeroflow.knative.local.api.kinds import Kind
from zeroflow.knative.local.api.objects import QUALIFIED, Object, meta


def check_core(kind: Kind, obj: Object, old: Object | None) -> None:
    """Complete a ConfigMap or Secret in place; raise Invalid with every fault."""
    if kind.key not in ("ConfigMap", "Secret"):
        return
    if kind.key == "Secret":
        _encode_strings(obj)
        obj.setdefault("type", (old or {}).get("type", "Opaque"))
    causes = [*_faults(kind, obj), *_changes(kind, obj, old)]
    if causes:
        raise Invalid.fields(kind.kind, kind.group, str(meta(obj).get("name", "")), *causes)


def _encode_strings(obj: Object) -> None:
    plain, data = obj.get("stringData", {}), obj.get("data", {})
    if not isinstance(plain, dict) or not isinstance(data, dict):
        return  # reported as a fault
    obj.pop("stringData", None)
    if plain:
        obj["data"] = data | {
            key: base64.b64encode(value.encode()).decode() if isinstance(value, str) else value
            for key, value in plain.items()
        }


def _faults(kind: Kind, obj: Object) -> Iterator[Cause]:
    encoded = ("data",) if kind.key == "Secret" else ("binaryData",)
    for field in ("data", "binaryData", "stringData"):
        values = obj.get(field)
        if values is None:
            continue
        if not isinstance(values, dict):
            yield Cause(field, "Invalid value: must be a map of strings")
            continue
        for key, value in values.items():
            yield from _entry(field, key, value, field in encoded)


def _entry(field: str, key: str, value: Any, encoded: bool) -> Iterator[Cause]:
    if len(key) > 253 or QUALIFIED.fullmatch(key.lstrip(".") or "-") is None or key in (".", ".."):
        yield Cause(
            f"{field}[{key}]", f'Invalid value: "{key}": a valid config key consists of letters, digits, -, _ or .'
        )
    if not isinstance(value, str):
        yield Cause(f"{field}[{key}]", "Invalid value: must be a string")
    elif encoded:
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            yield Cause(f"{field}[{key}]", "Invalid value: must be base64")


def _changes(kind: Kind, obj: Object, old: Object | None) -> Iterator[Cause]:
    if old is None:
        return
    if old.get("immutable"):
        for field in ("data", "binaryData", "immutable"):
            if obj.get(field) != old.get(field):
                yield Cause(field, "Forbidden: field is immutable when `immutable` is set", "FieldValueForbidden")
    if kind.key == "Secret" and obj.get("type") != old.get("type"):
        yield Cause("type", "Invalid value: field is immutable")
