"""Which events a Trigger wants: `spec.filter.attributes` and the dialects of filters (exact, not, cesql, ...).

A dialect answers yes, no, or has no opinion (an empty map or list); no opinion lets the event pass, also below `not`.
Values are compared with their type: an integer extension never equals a string.
Source: CloudEvents Subscriptions API 1.0 filters, as Knative Eventing evaluates them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from zeroflow.knative.local.eventing.cesql import SyntaxFault, compile_filter
from zeroflow.knative.local.eventing.cloudevent import Attribute
from zeroflow.knative.local.eventing.errors import InvalidSpec

Attributes = Mapping[str, Attribute]
Opinion = bool | None
Dialect = Callable[[Attributes], Opinion]
Wants = Callable[[Attributes], bool]

DIALECTS = ("exact", "prefix", "suffix", "all", "any", "not", "cesql")
_NAME = re.compile(r"[a-z][a-z0-9]*")
_EMPTY_WHEN_MISSING = {"subject": "", "dataschema": "", "datacontenttype": ""}


def compile_spec(spec: Mapping[str, Any], path: str = "spec") -> Wants:
    """Compile a Trigger's spec; raise InvalidSpec naming the field. `filters`, unless empty, outweigh `filter`."""
    simple = _attributes_filter((spec.get("filter") or {}).get("attributes"), f"{path}.filter.attributes")
    filters = spec.get("filters")
    if not filters:
        return simple
    if not isinstance(filters, list):
        raise InvalidSpec(f"{path}.filters", "must be a list")
    wanted = [_dialect(entry, f"{path}.filters[{index}]") for index, entry in enumerate(filters)]
    return lambda attributes: all(want(attributes) is not False for want in wanted)


def _attributes_filter(expected: Any, path: str) -> Wants:
    if not expected:
        return lambda attributes: True
    pairs = _pairs(expected, path, allow_empty=True)
    return lambda attributes: all(_equals(attributes, name, value, wildcard=True) for name, value in pairs)


def _dialect(entry: Any, path: str) -> Dialect:
    if not isinstance(entry, dict):
        raise InvalidSpec(path, f"must be an object with one dialect of {', '.join(DIALECTS)}")
    if unknown := sorted(set(entry) - set(DIALECTS)):
        raise InvalidSpec(f"{path}.{unknown[0]}", f"unknown dialect; known are {', '.join(DIALECTS)}")
    given = [name for name in DIALECTS if entry.get(name) is not None and entry[name] != ""]
    if len(given) > 1:
        raise InvalidSpec(path, f"multiple dialects found ({', '.join(given)}), filters can have only one dialect set")
    if not given:
        return lambda attributes: None
    name = given[0]
    value, inner = entry[name], f"{path}.{name}"
    if name == "cesql":
        return _cesql(value, inner)
    if name == "not":
        return _negated(_dialect(value, inner))
    if name in {"all", "any"}:
        if not isinstance(value, list):
            raise InvalidSpec(inner, "must be a list of filters")
        nested = [_dialect(each, f"{inner}[{index}]") for index, each in enumerate(value)]
        return _all(nested) if name == "all" else _any(nested)
    return _comparison(name, _pairs(value, inner, allow_empty=False))


def _cesql(text: Any, path: str) -> Dialect:
    if not isinstance(text, str):
        raise InvalidSpec(path, "must be a CloudEvents SQL expression")
    try:
        return compile_filter(text)
    except SyntaxFault as error:
        raise InvalidSpec(path, f"invalid CloudEvents SQL: {error}") from error


def _comparison(name: str, pairs: Sequence[tuple[str, str]]) -> Dialect:
    if not pairs:
        return lambda attributes: None
    if name == "exact":
        return lambda attributes: all(_equals(attributes, key, value) for key, value in pairs)
    found = str.startswith if name == "prefix" else str.endswith
    return lambda attributes: all(
        (text := _text(attributes, key)) is not None and found(text, value) for key, value in pairs
    )


def _negated(inner: Dialect) -> Dialect:
    def negated(attributes: Attributes) -> Opinion:
        opinion = inner(attributes)
        return None if opinion is None else not opinion

    return negated


def _all(nested: Sequence[Dialect]) -> Dialect:
    def every(attributes: Attributes) -> Opinion:
        opinions = [each(attributes) for each in nested]
        if False in opinions:
            return False
        return True if True in opinions else None

    return every


def _any(nested: Sequence[Dialect]) -> Dialect:
    def some(attributes: Attributes) -> Opinion:
        opinions = [each(attributes) for each in nested]
        if True in opinions:
            return True
        return False if False in opinions else None

    return some


def _pairs(value: Any, path: str, *, allow_empty: bool) -> list[tuple[str, str]]:
    if not isinstance(value, dict):
        raise InvalidSpec(path, "must be a map of attribute names to values")
    for name, expected in value.items():
        if not _NAME.fullmatch(name):
            raise InvalidSpec(path, f"invalid attribute name {name!r}: a lower-case letter, then letters and digits")
        if not isinstance(expected, str) or not (expected or allow_empty):
            raise InvalidSpec(f"{path}.{name}", "must be a non-empty string" if not allow_empty else "must be a string")
    return list(value.items())


def _lookup(attributes: Attributes, name: str) -> Attribute | None:
    value = attributes.get(name)
    return _EMPTY_WHEN_MISSING.get(name) if value is None else value


def _text(attributes: Attributes, name: str) -> str | None:
    value = _lookup(attributes, name)
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)


def _equals(attributes: Attributes, name: str, expected: str, *, wildcard: bool = False) -> bool:
    value = _lookup(attributes, name)
    if value is None:
        return False
    if wildcard and expected == "":
        return True
    if name == "time" and isinstance(value, str):
        return value == expected or _moment(value) == _moment(expected)
    return isinstance(value, str) and value == expected


def _moment(text: str) -> datetime | str:
    """Return the instant a timestamp names, so that spellings of one instant are equal; other text stays itself."""
    try:
        parsed = datetime.fromisoformat(text.upper())
    except ValueError:
        return text
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
