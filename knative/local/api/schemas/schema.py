"""The schema of a custom kind, compiled once when its definition is stored.

A schema must be structural; one that is not is refused with the path and the words of the API server. What it says
is enforced by `pruning` (unknown fields, defaults), `validation` (values) and `rules` (CEL).
Source: apiextensions.k8s.io/v1 structural schemas and their validation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from zeroflow.knative.local.api.schemas.patterns import BadPattern, compiled

TYPES: Final[dict[str, Callable[[Any], bool]]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: (
        not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
    ),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}
BOUNDS: Final = (
    *("minimum", "maximum", "multipleOf", "minLength", "maxLength", "minItems", "maxItems"),
    *("minProperties", "maxProperties"),
)
LIST_TYPES: Final = ("atomic", "set", "map")
REASONS: Final = ("FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired", "FieldValueDuplicate")
COMBINATIONS: Final = ("allOf", "anyOf", "oneOf")
FORBIDDEN: Final = (
    *("$ref", "$schema", "id", "definitions", "dependencies", "patternProperties", "additionalItems", "deprecated"),
    *("discriminator", "readOnly", "writeOnly", "xml"),
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of x-kubernetes-validations."""

    rule: str
    message: str = ""
    message_expression: str = ""
    reason: str = "FieldValueInvalid"
    field_path: str = ""
    optional_old: bool = False

    @property
    def compares(self) -> bool:
        """Whether it speaks of the old value, so that it holds for changes alone."""
        return re.search(r"\boldSelf\b", self.rule) is not None

    def __str__(self) -> str:
        return self.message or self.rule


@dataclass(frozen=True, slots=True)
class Schema:
    """One compiled part of a schema."""

    type: str = ""
    properties: Mapping[str, Schema] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    items: Schema | None = None
    values: Schema | None = None  # additionalProperties
    open: bool = False  # keeps unknown fields
    nullable: bool = False
    int_or_string: bool = False
    embedded: bool = False  # holds an object with apiVersion, kind and metadata
    enum: tuple[Any, ...] = ()
    pattern: Any = None  # of patterns.compiled
    format: str = ""
    bounds: tuple[tuple[str, Any], ...] = ()
    exclusive: tuple[str, ...] = ()  # bounds that are themselves too little or too much
    default: Any = None
    list_type: str = "atomic"
    map_keys: tuple[str, ...] = ()
    atomic: bool = False  # x-kubernetes-map-type: the object is replaced as a whole
    combined: tuple[tuple[str, tuple[Schema, ...]], ...] = ()  # allOf, anyOf, oneOf
    never: Schema | None = None  # not
    rules: tuple[Rule, ...] = ()
    ruled: bool = False  # it or what is below it has rules

    def below(self, name: str) -> Schema | None:
        """Return the schema of a field of an object."""
        return self.properties.get(name) or self.values

    def key_of(self, item: Any) -> tuple[Any, ...] | None:
        """Return what identifies an item of a list of type map; None when it lacks a key."""
        if not isinstance(item, dict) or self.items is None:
            return None
        keys = []
        for name in self.map_keys:
            known = self.items.properties.get(name)
            value = item.get(name, known.default if known is not None else None)
            if value is None or isinstance(value, dict | list):
                return None
            keys.append(value)
        return tuple(keys)


class BadSchema(ValueError):
    """A part of a schema cannot be read: (path, why), where `why` is as a Cause's message."""


def compile_schema(given: Any, path: str, *, structural: bool = True) -> Schema:
    """Read an openAPIV3Schema; raise BadSchema. Below allOf, anyOf, oneOf and not it need not be structural."""
    if not isinstance(given, dict):
        raise BadSchema(path, "Invalid value: must be an object")
    _check(given, path, structural)
    properties, extra = given.get("properties") or {}, given.get("additionalProperties")
    if not isinstance(properties, dict):
        raise BadSchema(f"{path}.properties", "Invalid value: must be an object")
    int_or_string = bool(given.get("x-kubernetes-int-or-string"))
    kind = "" if int_or_string else given.get("type", "")
    compiled = {
        name: compile_schema(part, f"{path}.properties[{name}]", structural=structural)
        for name, part in properties.items()
    }
    items = compile_schema(given["items"], f"{path}.items", structural=structural) if given.get("items") else None
    values = (
        compile_schema(extra, f"{path}.additionalProperties", structural=structural)
        if isinstance(extra, dict)
        else None
    )
    rules = tuple(_rules(given, path))
    known = bool(properties or extra is not None or given.get("items"))
    below = (*compiled.values(), *(part for part in (items, values) if part is not None))
    return Schema(
        type=kind,
        properties=compiled,
        required=tuple(given.get("required") or ()),
        items=items,
        values=values,
        open=bool(given.get("x-kubernetes-preserve-unknown-fields")) or extra is True or not (known or kind),
        nullable=bool(given.get("nullable")),
        int_or_string=int_or_string,
        embedded=bool(given.get("x-kubernetes-embedded-resource")),
        enum=tuple(given.get("enum") or ()),
        pattern=_pattern(given, path),
        format=str(given.get("format") or ""),
        bounds=tuple((name, given[name]) for name in BOUNDS if given.get(name) is not None),
        exclusive=tuple(name for name in ("minimum", "maximum") if given.get(f"exclusive{name.capitalize()}")),
        default=given.get("default"),
        list_type=given.get("x-kubernetes-list-type") or "atomic",
        map_keys=tuple(given.get("x-kubernetes-list-map-keys") or ()),
        atomic=given.get("x-kubernetes-map-type") == "atomic",
        combined=tuple(_combined(given, path)),
        never=compile_schema(given["not"], f"{path}.not", structural=False) if given.get("not") else None,
        rules=rules,
        ruled=bool(rules) or any(part.ruled for part in below),
    )


def _check(given: dict[str, Any], path: str, structural: bool) -> None:
    """Raise BadSchema for what no schema may have, or no structural one."""
    kind = given.get("type", "")
    if kind and kind not in TYPES:
        choices = ", ".join(f'"{name}"' for name in TYPES)
        raise BadSchema(f"{path}.type", f'Unsupported value: "{kind}": supported values: {choices}')
    for name in FORBIDDEN:
        if given.get(name) not in (None, False):
            raise BadSchema(f"{path}.{name}", "Forbidden: must not be set")
    if given.get("uniqueItems"):
        raise BadSchema(
            f"{path}.uniqueItems",
            "Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        )
    if not structural:
        return
    open_value = given.get("x-kubernetes-preserve-unknown-fields") or given.get("x-kubernetes-int-or-string")
    if not kind and not open_value:
        what = "array items" if path.endswith(".items") else "object fields"
        raise BadSchema(f"{path}.type", f"Required value: must not be empty for specified {what}")
    if kind == "array" and not given.get("items"):
        raise BadSchema(f"{path}.items", "Required value: must be specified")
    if given.get("properties") and given.get("additionalProperties"):
        raise BadSchema(
            f"{path}.additionalProperties", "Forbidden: additionalProperties and properties are mutual exclusive"
        )
    _check_list(given, path)


def _check_list(given: dict[str, Any], path: str) -> None:
    kind, keys = given.get("x-kubernetes-list-type"), given.get("x-kubernetes-list-map-keys")
    if kind is not None and kind not in LIST_TYPES:
        choices = ", ".join(f'"{name}"' for name in LIST_TYPES)
        raise BadSchema(f"{path}.x-kubernetes-list-type", f'Unsupported value: "{kind}": supported values: {choices}')
    if kind == "map" and not keys:
        raise BadSchema(
            f"{path}.x-kubernetes-list-map-keys",
            "Required value: must not be empty if x-kubernetes-list-type is map",
        )
    if keys and kind != "map":
        raise BadSchema(
            f"{path}.x-kubernetes-list-type", "Required value: must be map if x-kubernetes-list-map-keys is non-empty"
        )
    items = given.get("items") or {}
    for index, key in enumerate(keys or ()):
        known = (items.get("properties") or {}).get(key)
        here = f"{path}.x-kubernetes-list-map-keys[{index}]"
        if not isinstance(known, dict):
            raise BadSchema(here, f'Invalid value: "{key}": entries must all be names of item properties')
        if key not in (items.get("required") or ()) and known.get("default") is None:
            raise BadSchema(
                f"{path}.items.properties[{key}].default",
                "Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a "
                "required property",
            )


def _pattern(given: dict[str, Any], path: str) -> Any:
    if not given.get("pattern"):
        return None
    try:
        return compiled(given["pattern"])
    except (BadPattern, TypeError) as error:
        raise BadSchema(
            f"{path}.pattern", f'Invalid value: "{given["pattern"]}": must be a valid regular expression: {error}'
        ) from error


def _combined(given: dict[str, Any], path: str) -> Iterator[tuple[str, tuple[Schema, ...]]]:
    for how in COMBINATIONS:
        if given.get(how):
            yield (
                how,
                tuple(
                    compile_schema(part, f"{path}.{how}[{index}]", structural=False)
                    for index, part in enumerate(given[how])
                ),
            )


def _rules(given: dict[str, Any], path: str) -> Iterator[Rule]:
    for index, rule in enumerate(given.get("x-kubernetes-validations") or ()):
        here = f"{path}.x-kubernetes-validations[{index}]"
        if not isinstance(rule, dict) or not isinstance(rule.get("rule"), str) or not rule["rule"].strip():
            raise BadSchema(f"{here}.rule", "Required value: rule is not specified")
        reason = rule.get("reason") or "FieldValueInvalid"
        if reason not in REASONS:
            choices = ", ".join(f'"{name}"' for name in REASONS)
            raise BadSchema(f"{here}.reason", f'Unsupported value: "{reason}": supported values: {choices}')
        found = Rule(
            rule=rule["rule"],
            message=str(rule.get("message") or ""),
            message_expression=str(rule.get("messageExpression") or ""),
            reason=reason,
            field_path=str(rule.get("fieldPath") or ""),
            optional_old=bool(rule.get("optionalOldSelf")),
        )
        if found.optional_old and not found.compares:
            raise BadSchema(f"{here}.optionalOldSelf", "Invalid value: true: field requires oldSelf in the rule")
        yield found
