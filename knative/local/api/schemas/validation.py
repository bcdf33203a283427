"""Values against a schema, in the words of the API server.

An update is judged by what it changes: a part that is as it was is not complained about (Kubernetes' ratcheting), so
that a definition may become stricter while older objects live. Source: kube-openapi validation; apiextensions
ValidateCustomResource and its list-type checks; KEP-4008.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import orjson

from zeroflow.knative.local.api.errors import Cause
from zeroflow.knative.local.api.schemas import formats
from zeroflow.knative.local.api.schemas.schema import TYPES, Schema

MISSING: Final = object()
"""In the place of a former value: there was none that this one follows from."""

_HOLDS: Final[dict[str, tuple[Callable[[Any, Any], bool], str]]] = {
    "minimum": (lambda value, bound: value >= bound, "should be greater than or equal to {}"),
    "maximum": (lambda value, bound: value <= bound, "should be less than or equal to {}"),
    "multipleOf": (lambda value, bound: (value / bound).is_integer(), "should be a multiple of {}"),
    "minLength": (lambda value, bound: len(value) >= bound, "should be at least {} chars long"),
    "maxLength": (lambda value, bound: len(value) <= bound, "should be at most {} chars long"),
    "minItems": (lambda value, bound: len(value) >= bound, "should have at least {} items"),
    "maxItems": (lambda value, bound: len(value) <= bound, "should have at most {} items"),
    "minProperties": (lambda value, bound: len(value) >= bound, "should have at least {} properties"),
    "maxProperties": (lambda value, bound: len(value) <= bound, "should have at most {} properties"),
}
_EXCLUSIVE: Final[dict[str, tuple[Callable[[Any, Any], bool], str]]] = {
    "minimum": (lambda value, bound: value > bound, "should be greater than {}"),
    "maximum": (lambda value, bound: value < bound, "should be less than {}"),
}
_COMBINED: Final = {
    "allOf": "must validate all the schemas (allOf)",
    "anyOf": "must validate at least one schema (anyOf)",
    "oneOf": "must validate one and only one schema (oneOf)",
}


def faults(schema: Schema, value: Any, path: str = "", old: Any = MISSING) -> Iterator[Cause]:
    """Yield what is wrong with a value, each with its path; `old` is what was at this place before."""
    if (value is None and (schema.nullable or not path)) or (old is not MISSING and old == value):
        return
    if schema.type and not TYPES[schema.type](value):
        yield _wrong_type(path, schema.type, value)
        return
    if schema.int_or_string and not (TYPES["integer"](value) or TYPES["string"](value)):
        yield _wrong_type(path, "integer,string", value)
        return
    yield from _faults_of_value(schema, value, path)
    if isinstance(value, dict):
        yield from _faults_of_fields(schema, value, path, old)
    elif isinstance(value, list) and schema.items is not None:
        yield from _faults_of_list(schema, value, path)
        for number, part in enumerate(value):
            yield from faults(schema.items, part, f"{path}[{number}]", former_item(schema, part, old))


def former_field(old: Any, name: str) -> Any:
    """Return what a field of an object was."""
    return old[name] if isinstance(old, dict) and name in old else MISSING


def former_item(schema: Schema, item: Any, old: Any) -> Any:
    """Return what an item of a list was; only items with keys can be told."""
    if schema.list_type == "map" and isinstance(old, list) and (key := schema.key_of(item)) is not None:
        return next((other for other in old if schema.key_of(other) == key), MISSING)
    return MISSING


def _wrong_type(path: str, wanted: str, value: Any) -> Cause:
    shown = f'"{type_of(value)}"'
    message = f"Invalid value: {shown}: {path} in body must be of type {wanted}: {shown}"
    return Cause(path, message, "FieldValueTypeInvalid")


def _faults_of_value(schema: Schema, value: Any, path: str) -> Iterator[Cause]:
    if schema.enum and value not in schema.enum:
        choices = ", ".join(f'"{choice}"' for choice in schema.enum)
        yield Cause(path, f"Unsupported value: {_shown(value)}: supported values: {choices}", "FieldValueNotSupported")
    if isinstance(value, str):
        if schema.pattern is not None and schema.pattern.search(value) is None:
            message = f"{path} in body should match '{schema.pattern.pattern}'"
            yield Cause(path, f"Invalid value: {_shown(value)}: {message}")
        if schema.format and not formats.fits(schema.format, value):
            message = f"{path} in body must be of type {schema.format}: {_shown(value)}"
            yield Cause(path, f"Invalid value: {_shown(value)}: {message}")
    for name, bound in schema.bounds:
        holds, wording = (_EXCLUSIVE if name in schema.exclusive else _HOLDS)[name]
        if _measurable(name, value) and not holds(value, bound):
            yield _out_of_bounds(path, name, value, wording.format(bound))
    for how, parts in schema.combined:
        yield from _faults_of_combination(how, parts, value, path)
    if schema.never is not None and not any(faults(schema.never, value, path or ".")):
        yield Cause("<nil>", f'Invalid value: "": "{path}" must not validate the schema (not)')


def _out_of_bounds(path: str, name: str, value: Any, wording: str) -> Cause:
    shown = _shown(value)
    if name == "maxLength":
        return Cause(path, f"Too long: may not be more than {wording.split()[-3]} bytes", "FieldValueTooLong")
    if name == "maxItems":
        return Cause(
            path, f"Too many: {len(value)}: must have at most {wording.split()[-2]} items", "FieldValueTooMany"
        )
    return Cause(path, f"Invalid value: {shown}: {path} in body {wording}")


def _faults_of_combination(how: str, parts: tuple[Schema, ...], value: Any, path: str) -> Iterator[Cause]:
    found = [list(faults(part, value, path or ".")) for part in parts]
    good = sum(1 for causes in found if not causes)
    wanted = good == len(parts) if how == "allOf" else good >= 1 if how == "anyOf" else good == 1
    if wanted:
        return
    ending = ""
    if how == "oneOf":
        ending = f". Found {good} valid alternatives" if good else ". Found none valid"
    yield Cause("<nil>", f'Invalid value: "": "{path}" {_COMBINED[how]}{ending}')
    if good == 0 or how == "allOf":
        yield from (cause for causes in found for cause in causes)


def _faults_of_list(schema: Schema, value: list[Any], path: str) -> Iterator[Cause]:
    if schema.list_type == "atomic":
        return
    seen = set()
    for number, item in enumerate(value):
        if schema.list_type == "map":
            key = schema.key_of(item)
            shown = _json(dict(zip(schema.map_keys, key, strict=True))) if key is not None else ""
        else:
            key, shown = (orjson.dumps(item, option=orjson.OPT_SORT_KEYS),), _json(item)
        if key is None:
            continue  # said as a required value
        if key in seen:
            yield Cause(f"{path}[{number}]", f"Duplicate value: {shown}", "FieldValueDuplicate")
        seen.add(key)


def _faults_of_fields(schema: Schema, value: dict[str, Any], path: str, old: Any) -> Iterator[Cause]:
    for name in schema.required:
        if name not in value:
            yield Cause(f"{path}.{name}" if path else name, "Required value", "FieldValueRequired")
    for name, part in value.items():
        below = schema.below(name)
        if below is not None:
            yield from faults(below, part, f"{path}.{name}" if path else name, former_field(old, name))


def _measurable(bound: str, value: Any) -> bool:
    if bound.endswith("Length"):
        return isinstance(value, str)
    if bound.endswith("Properties"):
        return isinstance(value, dict)
    return isinstance(value, list) if bound.endswith("Items") else TYPES["number"](value)


def type_of(value: Any) -> str:
    """Return the JSON type of a value, as messages name it."""
    if value is None:
        return "null"
    return next(name for name, holds in TYPES.items() if holds(value))


def _shown(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
