"""GJSON paths, in which a trial template says when its object has succeeded or failed.

Understood: keys with `*` and `?`, indices, `#`, queries `#(path op value)` and `#(...)#` with == != < <= > >= % !%,
`.` and `|`, `[a,b]` and `{a,b}`, and the modifiers @this @reverse @keys @values @flatten @valid. Anything else finds
nothing, as GJSON has it. Source: github.com/tidwall/gjson SYNTAX.md; Katib v1beta1 successCondition.
"""

from __future__ import annotations

import fnmatch
import json
import operator
from collections.abc import Callable, Mapping
from typing import Any

MISSING = object()
"""What a path finds that leads nowhere."""

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_OPERATORS = ("!%", "==", "!=", "<=", ">=", "<", ">", "%", "=")


def get(document: Any, path: str) -> Any:
    """Return what a path finds in a document, MISSING for nothing."""
    steps = _split(path)
    return _follow(document, steps) if steps else MISSING


def is_met(document: Any, condition: str) -> Any:
    """Return the first object that makes a trial's condition true, None when there is none.

    A condition holds when its path finds an object, or a list that is not empty.
    """
    found = get(document, condition)
    if isinstance(found, list):
        return (found[0] if isinstance(found[0], dict) else {}) if found else None
    return found if isinstance(found, dict) else None


def is_path(path: str) -> bool:
    """Say whether brackets and quotes of a path are closed."""
    depth, quoted, escaped = 0, False, False
    for letter in path:
        if escaped:
            escaped = False
        elif letter == "\\":
            escaped = True
        elif letter == '"':
            quoted = not quoted
        elif not quoted:
            depth += (letter in "([{") - (letter in ")]}")
            if depth < 0:
                return False
    return bool(path) and depth == 0 and not quoted


def _split(path: str) -> list[tuple[str, str]]:
    """Return (separator before it, component) of a path."""
    steps: list[tuple[str, str]] = []
    depth, quoted, escaped, word, before = 0, False, False, "", "."
    for letter in path:
        if escaped:
            escaped, word = False, word + "\\" + letter
        elif letter == "\\":
            escaped = True
        elif letter in ".|" and not depth and not quoted:
            steps.append((before, word))
            before, word = letter, ""
        else:
            if letter == '"':
                quoted = not quoted
            elif not quoted:
                depth += (letter in "([{") - (letter in ")]}")
            word += letter
    return [*steps, (before, word)]


def _follow(value: Any, steps: list[tuple[str, str]]) -> Any:
    if value is MISSING or not steps:
        return value
    (_, step), rest = steps[0], steps[1:]
    if step == "#" or (step.startswith("#(") and step.endswith(")#")):
        if not isinstance(value, list):
            return MISSING
        found = value if step == "#" else [each for each in value if _matches(each, step[2:-2])]
        each_of: list[tuple[str, str]] = []
        while rest and rest[0][0] == ".":  # a dot goes on inside each of them, a pipe with the list
            each_of, rest = [*each_of, rest[0]], rest[1:]
        if each_of:
            mapped = (_follow(each, each_of) for each in found)
            return _follow([each for each in mapped if each is not MISSING], rest)
        return _follow(len(value) if step == "#" else found, rest)
    return _follow(_one(value, step), rest)


def _one(value: Any, step: str) -> Any:
    if step.startswith("@"):
        return _modified(value, step[1:])
    if step.startswith("#(") and step.endswith(")") and isinstance(value, list):
        return next((each for each in value if _matches(each, step[2:-1])), MISSING)
    if step.startswith("[") and step.endswith("]"):
        found = (get(value, path) for path in _parts(step[1:-1]))
        return [each for each in found if each is not MISSING]
    if step.startswith("{") and step.endswith("}"):
        return _object(value, step[1:-1])
    key = step.replace("\\", "")
    if isinstance(value, list):
        return value[int(key)] if key.isdecimal() and int(key) < len(value) else MISSING
    if not isinstance(value, dict):
        return MISSING
    if key in value:
        return value[key]
    if "*" in step or "?" in step:
        return next((value[name] for name in value if fnmatch.fnmatchcase(str(name), key)), MISSING)
    return MISSING


def _object(value: Any, inner: str) -> Any:
    made = {}
    for part in _parts(inner):
        name, colon, path = part.partition(":")
        path = path if colon and name.startswith('"') else part
        if (found := get(value, path)) is not MISSING:
            made[name.strip('"') if path != part else _split(path)[-1][1]] = found
    return made


def _parts(text: str) -> list[str]:
    parts, depth, quoted, word = [], 0, False, ""
    for letter in text:
        if letter == "," and not depth and not quoted:
            parts.append(word)
            word = ""
            continue
        quoted ^= letter == '"'
        if not quoted:
            depth += (letter in "([{") - (letter in ")]}")
        word += letter
    return [*parts, word]


def _modified(value: Any, name: str) -> Any:
    if name in ("this", "valid"):
        return value
    if name == "reverse":
        return value[::-1] if isinstance(value, list) else value
    if name == "keys" and isinstance(value, dict):
        return list(value)
    if name == "values" and isinstance(value, dict):
        return list(value.values())
    if name == "flatten" and isinstance(value, list):
        return [inner for each in value for inner in (each if isinstance(each, list) else [each])]
    return MISSING


def _matches(value: Any, query: str) -> bool:
    path, sign, wanted = _query(query)
    found = get(value, path) if path else value
    if not sign:
        return found is not MISSING
    if found is MISSING:
        return False
    return _compared(found, sign, wanted)


def _query(query: str) -> tuple[str, str, Any]:
    depth, quoted = 0, False
    for at, letter in enumerate(query):
        if letter == '"':
            quoted = not quoted
        elif not quoted:
            depth += (letter in "([{") - (letter in ")]}")
            sign = next((each for each in _OPERATORS if query.startswith(each, at)), None)
            if sign is not None and depth == 0:
                return query[:at].strip(), "==" if sign == "=" else sign, _literal(query[at + len(sign) :].strip())
    return query.strip(), "", None


def _literal(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _compared(found: Any, sign: str, wanted: Any) -> bool:
    if sign in ("%", "!%"):
        matched = isinstance(found, str) and fnmatch.fnmatchcase(found, str(wanted))
        return matched if sign == "%" else not matched
    alike = type(found) is type(wanted) or (_is_number(found) and _is_number(wanted))
    if sign in ("==", "!="):
        return (alike and found == wanted) is (sign == "==")
    return alike and isinstance(found, str | int | float) and _COMPARE[sign](found, wanted)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
