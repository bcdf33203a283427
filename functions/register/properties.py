"""Custom properties: the typed values that users add to any entity.

Wire form, one per name: {"metadataType": "MetadataStringValue", "string_value": "..."} and likewise Int (a JSON string
holding an integer), Double, Bool, Struct (base64 of a JSON object) and Proto (with `type`). A label is a string
property with the value "".

The OpenAPI documents give an int_value nine digits, and official clients refuse to read more (one such property would
make a whole list unreadable to them). A larger integer is taken and kept as the double of the same value, as long as
there is one: numbers compare alike in searches, whichever they are.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.functions.register.bodies import json_type
from zeroflow.functions.register.errors import UnknownField
from zeroflow.metadata.registry import STRING_START

WireProperties = dict[str, dict[str, Any]]

INT64 = 2**63
MAX_INT = 999_999_999
"""The largest integer that the wire's int_value holds."""
MAX_EXACT = 2**53
"""The largest integer up to which every one is a double."""
MAX_NAME = 255
MAX_TEXT = 262_144
"""Characters in one text: a description, a readme, a property."""
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}\Z", re.ASCII)

_MEMBERS = {
    "MetadataStringValue": ("string_value", str),
    "MetadataIntValue": ("int_value", str),
    "MetadataDoubleValue": ("double_value", float),
    "MetadataBoolValue": ("bool_value", bool),
    "MetadataStructValue": ("struct_value", str),
    "MetadataProtoValue": ("proto_value", str),
}


@dataclass(frozen=True)
class IndexedValue:
    """A scalar property as the search index holds it."""

    string_start: str | None = None
    string_value: str | None = None
    int_value: int | None = None
    double_value: float | None = None
    bool_value: bool | None = None


def parse(value: Any) -> WireProperties:
    """Check a wire map and return it in canonical form; raise InvalidInput naming the property at fault."""
    if not isinstance(value, dict):
        raise InvalidInput(f"field 'customProperties' must be an object, got {json_type(value)}")
    return {name: _parse_one(name, prop) for name, prop in value.items()}


def indexed(properties: WireProperties) -> dict[str, IndexedValue]:
    """Return what search can find: the scalars by name. Structs and protos are kept, not searched."""
    found: dict[str, IndexedValue] = {}
    for name, prop in properties.items():
        match prop["metadataType"]:
            case "MetadataStringValue":
                text = prop["string_value"]
                found[name] = IndexedValue(string_start=text[:STRING_START], string_value=text)
            case "MetadataIntValue":
                found[name] = IndexedValue(int_value=int(prop["int_value"]))
            case "MetadataDoubleValue":
                found[name] = IndexedValue(double_value=prop["double_value"])
            case "MetadataBoolValue":
                found[name] = IndexedValue(bool_value=prop["bool_value"])
    return found


def wire(values: Mapping[str, str | int | float | bool]) -> WireProperties:
    """Encode Python scalars as custom properties."""
    return {name: _encode(value) for name, value in values.items()}


def text(properties: Mapping[str, Any], name: str) -> str | None:
    """Return a string property, or None when there is no such one."""
    value = properties.get(name, {}).get("string_value")
    return value if isinstance(value, str) else None


def _encode(value: str | int | float | bool) -> dict[str, Any]:
    match value:
        case bool():
            return {"bool_value": value, "metadataType": "MetadataBoolValue"}
        case int() if abs(value) <= MAX_INT:
            return {"int_value": str(value), "metadataType": "MetadataIntValue"}
        case int():
            return {"double_value": float(value), "metadataType": "MetadataDoubleValue"}
        case float():
            return {"double_value": value, "metadataType": "MetadataDoubleValue"}
        case _:
            return {"string_value": value, "metadataType": "MetadataStringValue"}


def _parse_one(name: str, prop: Any) -> dict[str, Any]:
    where = f"customProperties[{name[:64]!r}]"
    if not 0 < len(name) <= MAX_NAME:
        raise InvalidInput(f"{where}: the name must have 1 to {MAX_NAME} characters, got {len(name)}")
    if not isinstance(prop, dict):
        raise InvalidInput(f"{where} must be an object with metadataType, got {json_type(prop)}")
    kind = prop.get("metadataType")
    if not isinstance(kind, str) or kind not in _MEMBERS:
        raise InvalidInput(f"{where}: metadataType must be one of {', '.join(_MEMBERS)}, got {kind!r}")
    member, python_type = _MEMBERS[kind]
    allowed = {"metadataType", member} | ({"type"} if kind == "MetadataProtoValue" else set())
    for key in prop:
        if key not in allowed:
            raise UnknownField(key)
    for key in sorted(allowed - {"metadataType"}):
        expected = python_type if key == member else str
        if not _is_a(prop.get(key), expected):
            raise InvalidInput(
                f"{where}: {key} of a {kind} must be {_name_of(expected)}, got {json_type(prop.get(key))}"
            )
    value = prop[member]
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise InvalidInput(f"{where}: {member} has {len(value)} characters; at most {MAX_TEXT} are kept")
    if kind == "MetadataIntValue":
        return _encode(_integer(where, value))
    canonical: dict[str, Any] = {member: _checked(where, kind, value), "metadataType": kind}
    if kind == "MetadataProtoValue":
        canonical["type"] = prop["type"]
    return canonical


def _checked(where: str, kind: str, value: Any) -> Any:
    match kind:
        case "MetadataDoubleValue":
            return as_double(where, value)
        case "MetadataStructValue":
            try:
                struct = json.loads(base64.b64decode(value, validate=True))
            except (binascii.Error, ValueError, RecursionError):
                struct = None
            if not isinstance(struct, dict):
                raise InvalidInput(f"{where}: struct_value must be a JSON object in base64")
    return value


def _integer(where: str, value: str) -> int:
    if not _INTEGER.match(value) or abs(int(value)) > MAX_EXACT:
        raise InvalidInput(f"{where}: int_value must be an integer up to 2^53 as a string, got {value[:40]!r}")
    return int(value)


def as_double(where: str, value: int | float) -> float:
    """Return a JSON number as a double; raise InvalidInput when none is so large."""
    try:
        return float(value)
    except OverflowError:
        raise InvalidInput(f"{where} is too large for a number") from None


def _is_a(value: Any, expected: type) -> bool:
    if expected is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, expected)


def _name_of(expected: type) -> str:
    return {str: "a string", float: "a number", bool: "a boolean"}[expected]
