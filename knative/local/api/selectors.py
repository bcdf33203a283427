"""Label and field selectors as kubectl and the clients write them.

`a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a`, `!a`; fields: `metadata.name=x,status.phase!=Running`.
Guarantees: a selector that cannot be read raises BadRequest and selects nothing by accident.
Source: Kubernetes "Labels and Selectors", "Field Selectors".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from zeroflow.knative.local.api.errors import BadRequest
from zeroflow.knative.local.api.objects import Object

LabelSelector: TypeAlias = Callable[[Mapping[str, str]], bool]
FieldSelector: TypeAlias = Callable[[Object], bool]

KEY: Final = r"[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?"
VALUE: Final = r"[-A-Za-z0-9_.]*"
EXISTS: Final = re.compile(rf"(?P<key>{KEY})")
MISSING: Final = re.compile(rf"!\s*(?P<key>{KEY})")
EQUAL: Final = re.compile(rf"(?P<key>{KEY})\s*(?P<op>==|=|!=)\s*(?P<value>{VALUE})")
AMONG: Final = re.compile(rf"(?P<key>{KEY})\s+(?P<op>in|notin)\s*\((?P<values>[^()]*)\)")
FIELD: Final = re.compile(r"(?P<path>[A-Za-z][A-Za-z0-9_.\[\]]*)\s*(?P<op>==|=|!=)\s*(?P<value>[^,]*)")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label."""

    key: str
    op: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.op:
            case "exists":
                return value is not None
            case "missing":
                return value is None
            case "in":
                return value in self.values
            case _:  # notin, and !=: an object without the label matches
                return value not in self.values


def label_selector(text: str) -> LabelSelector:
    """Parse a label selector; the empty one selects everything."""
    requirements = [_requirement(part.strip(), text) for part in _split(text)]
    return lambda labels: all(requirement.matches(labels) for requirement in requirements)


def field_selector(text: str) -> FieldSelector:
    """Parse a field selector; any path of the object may be compared with a string."""
    terms: list[tuple[tuple[str, ...], bool, str]] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = FIELD.fullmatch(part)
        if match is None:
            raise BadRequest(
                f"unable to parse field selector {text!r}: {part!r} is not <path>=<value> or <path>!=<value>"
            )
        terms.append((tuple(match["path"].split(".")), match["op"] != "!=", match["value"].strip()))
    return lambda obj: all((_text_at(obj, path) == value) is wanted for path, wanted, value in terms)


def matches_labels(labels: Mapping[str, str], wanted: Mapping[str, str] | None) -> bool:
    """Say whether all the wanted labels are there with these values."""
    return not wanted or all(labels.get(key) == value for key, value in wanted.items())


def _requirement(part: str, whole: str) -> Requirement:
    if match := AMONG.fullmatch(part):
        values = frozenset(value.strip() for value in match["values"].split(","))
        return Requirement(match["key"], match["op"], values)
    if match := EQUAL.fullmatch(part):
        return Requirement(match["key"], "notin" if match["op"] == "!=" else "in", frozenset((match["value"],)))
    if match := EXISTS.fullmatch(part):
        return Requirement(match["key"], "exists")
    if match := MISSING.fullmatch(part):
        return Requirement(match["key"], "missing")
    raise BadRequest(f"unable to parse label selector {whole!r}: {part!r} is not a requirement")


def _split(text: str) -> list[str]:
    """Split at commas that are outside parentheses."""
    parts = re.split(r",(?![^(]*\))", text)
    return [part for part in parts if part.strip()]


def _text_at(obj: Any, path: tuple[str, ...]) -> str:
    for step in path:
        if not isinstance(obj, dict):
            return ""
        obj = obj.get(step)
    if obj is None:
        return ""
    if isinstance(obj, bool):
        return "true" if obj else "false"
    return str(obj)
