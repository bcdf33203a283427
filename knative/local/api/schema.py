"""The schema of a custom kind, enforced: unknown fields, defaults, types, required fields, enums, patterns and bounds.

A structural schema is compiled once when its definition is stored. `unknown` and `prune` look at the fields that it
does not name, `default` fills in what it says, `faults` checks the values and words them as the API server does. A
part with `x-kubernetes-preserve-unknown-fields` keeps what it does not know. CEL rules (`x-kubernetes-validations`)
and the schemas of built-in kinds are not evaluated. Source: apiextensions.k8s.io/v1 structural schemas.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from zeroflow.knative.local.api.errors import Cause
from zeroflow.knative.local.api.objects import Object, copy

_TYPES: Final[dict[str, Callable[[Any], bool]]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: (
        not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
    ),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}
_BOUNDS: Final[tuple[tuple[str, Callable[[Any, Any], bool], str], ...]] = (
    ("minimum", lambda value, bound: value >= bound, "should be greater than or equal to {}"),
    ("maximum", lambda value, bound: value <= bound, "should be less than or equal to {}"),
    ("minLength", lambda value, bound: len(value) >= bound, "should be at least {} chars long"),
    ("maxLength", lambda value, bound: len(value) <= bound, "should be at most {} chars long"),
    ("minItems", lambda value, bound: len(value) >= bound, "should have at least {} items"),
    ("maxItems", lambda value, bound: len(value) <= bound, "should have at most {} items"),
)


@dataclass(frozen=True, slots=True)
class Schema:
    """One compiled part of a schema."""

    type: str = ""
    properties: dict[str, Schema] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    items: Schema | None = None
    values: Schema | None = None  # additionalProperties
    open: bool = False  # keeps unknown fields
    nullable: bool = False
    enum: tuple[Any, ...] = ()
    pattern: re.Pattern[str] | None = None
    bounds: tuple[tuple[str, Any], ...] = ()
    default: Any = None


class BadSchema(ValueError):
    """A part of a schema cannot be read: (path, why)."""


def compile_schema(given: Any, path: str) -> Schema:
    """Read an openAPIV3Schema; raise BadSchema."""
    if not isinstance(given, dict):
        raise BadSchema(path, "must be an object")
    try:
        pattern = re.compile(given["pattern"]) if given.get("pattern") else None
    except (re.error, TypeError) as error:
        raise BadSchema(f"{path}.pattern", f"is no pattern: {error}") from error
    kind = "" if given.get("x-kubernetes-int-or-string") else given.get("type", "")
    if kind and kind not in _TYPES:
        raise BadSchema(f"{path}.type", f"must be one of {', '.join(_TYPES)}")
    properties, extra = given.get("properties") or {}, given.get("additionalProperties")
    if not isinstance(properties, dict):
        raise BadSchema(f"{path}.properties", "must be an object")
    known = bool(properties or extra is not None or given.get("items"))
    return Schema(
        type=kind,
        properties={name: compile_schema(part, f"{path}.properties.{name}") for name, part in properties.items()},
        required=tuple(given.get("required") or ()),
        items=compile_schema(given["items"], f"{path}.items") if given.get("items") else None,
        values=compile_schema(extra, f"{path}.additionalProperties") if isinstance(extra, dict) else None,
        open=bool(given.get("x-kubernetes-preserve-unknown-fields")) or extra is True or not (known or kind),
        nullable=bool(given.get("nullable")),
        enum=tuple(given.get("enum") or ()),
        pattern=pattern,
        bounds=tuple((name, given[name]) for name, _, _ in _BOUNDS if given.get(name) is not None),
        default=given.get("default"),
    )


def unknown(schema: Schema, value: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of fields that the schema does not know; below an unknown one nothing more."""
    if isinstance(value, dict):
        for name, part in value.items():
            here = f"{path}.{name}" if path else name
            below = schema.properties.get(name) or schema.values
            if below is not None:
                yield from unknown(below, part, here)
            elif not schema.open:
                yield here
    elif isinstance(value, list) and schema.items is not None:
        for number, part in enumerate(value):
            yield from unknown(schema.items, part, f"{path}[{number}]")


def prune(schema: Schema, value: Any) -> None:
    """Take out, in place, what the schema does not know."""
    if isinstance(value, dict):
        for name in list(value):
            below = schema.properties.get(name) or schema.values
            if below is not None:
                prune(below, value[name])
            elif not schema.open:
                del value[name]
    elif isinstance(value, list) and schema.items is not None:
        for part in value:
            prune(schema.items, part)


def default(schema: Schema, value: Any) -> None:
    """Fill in, in place, what is missing and has a default; a null that may not be one counts as missing."""
    if isinstance(value, dict):
        for name, part in schema.properties.items():
            if value.get(name) is None and name in value and not part.nullable and not part.open:
                del value[name]
            if name not in value and part.default is not None:
                value[name] = copy({"value": part.default})["value"]
            if name in value:
                default(part, value[name])
        if schema.values is not None:
            for name in set(value) - set(schema.properties):
                default(schema.values, value[name])
    elif isinstance(value, list) and schema.items is not None:
        for part in value:
            default(schema.items, part)


def faults(schema: Schema, value: Any, path: str = "") -> Iterator[Cause]:
    """Yield what is wrong with a value, each with its path."""
    if value is None and (schema.nullable or not path):
        return
    if schema.type and not _TYPES[schema.type](value):
        shown = f'"{_type_of(value)}"'
        message = f"Invalid value: {shown}: {path} in body must be of type {schema.type}: {shown}"
        yield Cause(path, message, "FieldValueTypeInvalid")
        return
    if schema.enum and value not in schema.enum:
        choices = ", ".join(f'"{choice}"' for choice in schema.enum)
        yield Cause(path, f"Unsupported value: {_shown(value)}: supported values: {choices}", "FieldValueNotSupported")
    if schema.pattern is not None and isinstance(value, str) and schema.pattern.search(value) is None:
        yield Cause(path, f"Invalid value: {_shown(value)}: {path} in body should match '{schema.pattern.pattern}'")
    given = dict(schema.bounds)
    for name, holds, wording in _BOUNDS:
        if name in given and _measurable(name, value) and not holds(value, given[name]):
            yield Cause(path, f"Invalid value: {_shown(value)}: {path} in body {wording.format(given[name])}")
    if isinstance(value, dict):
        yield from _faults_of_fields(schema, value, path)
    elif isinstance(value, list) and schema.items is not None:
        for number, part in enumerate(value):
            yield from faults(schema.items, part, f"{path}[{number}]")


def _faults_of_fields(schema: Schema, value: Object, path: str) -> Iterator[Cause]:
    for name in schema.required:
        if name not in value:
            yield Cause(f"{path}.{name}" if path else name, "Required value", "FieldValueRequired")
    for name, part in value.items():
        below = schema.properties.get(name) or schema.values
        if below is not None:
            yield from faults(below, part, f"{path}.{name}" if path else name)


def _measurable(bound: str, value: Any) -> bool:
    if bound.endswith("Length"):
        return isinstance(value, str)
    return isinstance(value, list) if bound.endswith("Items") else _TYPES["number"](value)


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    return next(name for name, holds in _TYPES.items() if holds(value))


def _shown(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
