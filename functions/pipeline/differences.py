"""What differs between two executions of a step: code, image, parameters, inputs, outputs. Pure: knows no database.

A difference is {kind, name, before, after}: kind is `code`, `image`, `environment`, `interface`, `parameter`, `input`,
`platform`, `output parameter`, `output`; before and after are values as a person would compare them.
"""

import ast
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from zeroflow.functions.pipeline import cachekeys
from zeroflow.functions.pipeline.inputs import Values
from zeroflow.functions.pipeline.plan import Component

Difference = dict[str, Any]
MAX_SHOWN = 300
"""Characters of a value."""
SHORT = 12
"""Characters of a hash, where a person reads it."""
_ABSENT = "(absent)"


def of_executions(before: Component, given_before: Values, after: Component, given: Values) -> list[Difference]:
    """Return what differs in what two executions were made of."""
    return [*of_components(before, after), *of_inputs(given_before, given)]


def of_components(before: Component, after: Component) -> list[Difference]:
    """Return what differs in what is executed."""
    old, new = before.container or {}, after.container or {}
    found = [
        *_value("image", "", old.get("image"), new.get("image")),
        *_code(_words(old), _words(new)),
        *_value("environment", "", old.get("env"), new.get("env")),
        *_value("interface", "", before.definitions, after.definitions),
    ]
    rest = [{key: value for key, value in one.items() if key not in _KNOWN} for one in (old, new)]
    return found + list(_value("container", "", *rest))


def of_inputs(before: Values, after: Values) -> list[Difference]:
    """Return what differs in what two executions were given."""
    return [
        *_values("parameter", before["parameters"], after["parameters"]),
        *_artifacts("input", before["artifacts"], after["artifacts"]),
        *_value("platform", "", before.get("platform"), after.get("platform")),
    ]


def of_outputs(before: Values, after: Values) -> list[Difference]:
    """Return what differs in what two executions gave."""
    return [
        *_values("output parameter", before["parameters"], after["parameters"]),
        *_artifacts("output", before["artifacts"], after["artifacts"]),
    ]


def of_parameters(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """Return what differs in the parameters of two runs."""
    return list(_values("parameter", before, after))


def said(difference: Difference) -> str:
    """Say a difference in one line."""
    name = f" {difference['name']}" if difference["name"] else ""
    before, after = (str(difference[end])[: SHORT if name.endswith(".sha256") else None] for end in ("before", "after"))
    return f"{difference['kind']}{name}: {before} -> {after}"


_KNOWN = ("image", "command", "args", "env", "resources")


def _words(container: Mapping[str, Any]) -> list[str]:
    return [str(word) for key in ("command", "args") for word in container.get(key) or ()]


def _code(before: list[str], after: list[str]) -> Iterator[Difference]:
    """Name the first line that differs."""
    if before == after:
        return
    lines = [[line for word in words for line in word.splitlines()] for words in (before, after)]
    for number, (old, new) in enumerate(zip_longest(*lines, fillvalue=_ABSENT)):
        if old != new:
            name = _function(before, number) or _function(after, number)
            yield {"kind": "code", "name": name, "before": _shown(old.strip()), "after": _shown(new.strip())}
            return
    yield {"kind": "code", "name": "", "before": _shown(before), "after": _shown(after)}


def _function(words: list[str], number: int) -> str:
    """Return the name of the function that a line of a lightweight component is in."""
    for word in words:
        length = len(word.splitlines())
        if number < length and "def " in word:
            try:
                tree = ast.parse(word)
            except (SyntaxError, ValueError):
                return ""
            inside = [
                node.name
                for node in ast.walk(tree)
                if isinstance(node, ast.FunctionDef) and node.lineno <= number + 1 <= (node.end_lineno or 0)
            ]
            return inside[0] if inside else ""
        number -= length
        if number < 0:
            break
    return ""


def _values(kind: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    for name in dict.fromkeys((*before, *after)):
        yield from _value(kind, name, before.get(name, _ABSENT), after.get(name, _ABSENT))


def _value(kind: str, name: str, before: Any, after: Any) -> Iterator[Difference]:
    if before != after or type(before) is not type(after):
        yield {"kind": kind, "name": name, "before": _shown(before), "after": _shown(after)}


def _artifacts(kind: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    """Compare artifacts by what they are, not by where they lie."""
    for name in dict.fromkeys((*before, *after)):
        old, new = before.get(name, []), after.get(name, [])
        for position, (one, other) in enumerate(zip_longest(old, new)):
            was, now = (cachekeys.of_artifact(item) if item else {} for item in (one, other))
            shown = f"{name}[{position}]" if max(len(old), len(new)) > 1 else name
            for part in dict.fromkeys((*was, *now)):
                if was.get(part) != now.get(part):
                    yield {
                        "kind": kind, "name": f"{shown}.{part}",
                        "before": _shown(was.get(part, _ABSENT)), "after": _shown(now.get(part, _ABSENT)),
                    }  # fmt: skip


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= MAX_SHOWN else value[: MAX_SHOWN - 3] + "..."
    text = str(value)
    return value if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."
