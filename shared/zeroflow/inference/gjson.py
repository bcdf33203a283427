"""GJSON paths, as the conditions of InferenceGraphs are written: does a document have what a path names?

Keys with wildcards and escapes, array indices, `#`, queries (`#(intval>10)`, `#(name%"D*")#`, nested), the multipaths
`[a,b]` and `{a,b}`, and modifiers without arguments. What GJSON has besides is refused by name.

Source: github.com/tidwall/gjson, SYNTAX.md and the comparisons of queryMatches.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from zeroflow.errors import InvalidInput

OPERATORS = ("==", "!=", "<=", ">=", "!%", "=", "<", ">", "%")
MAX_DEPTH = 32


class BadPath(InvalidInput):
    """The path is no GJSON, or uses what is not supported."""


class _Missing:
    """What a path names and a document does not have."""


MISSING = _Missing()
Step = Callable[[Any], Any]


def exists(document: Any, path: str) -> bool:
    """Say whether a parsed JSON document has what the path names; raise BadPath for a path that cannot be read."""
    return get(document, path) is not MISSING


def get(document: Any, path: str) -> Any:
    """Return what the path names, MISSING when there is nothing."""
    return _Parser(path).parse()(document)


def check(path: str) -> None:
    """Raise BadPath for a path that cannot be read."""
    _Parser(path).parse()


@dataclass
class _Parser:
    """Reads a path from left to right into one function of the document."""

    text: str
    at: int = 0
    depth: int = 0

    def parse(self) -> Step:
        if self.depth > MAX_DEPTH:
            raise BadPath(f"the path {self.text[:80]!r} nests deeper than {MAX_DEPTH}")
        if not self.text:
            raise BadPath("the path is empty")
        if self.text.startswith(".."):
            raise BadPath(f"the path {self.text[:80]!r} reads JSON lines, which is not supported")
        return self._path()

    def _path(self) -> Step:
        """Read components; what follows `#` by dots is of each element, what follows by a pipe is of them all."""
        segments = [[self._component()]]
        while self.at < len(self.text):
            separator = self.text[self.at]
            if separator not in ".|":
                raise BadPath(f"the path {self.text[:80]!r} has {separator!r} at {self.at}, expected '.' or '|'")
            self.at += 1
            if self.at >= len(self.text):
                raise BadPath(f"the path {self.text[:80]!r} ends with {separator!r}")
            if separator == "|":
                segments.append([])
            segments[-1].append(self._component())
        return _chained([_nested(segment) for segment in segments])

    def _component(self) -> Step:
        first = self.text[self.at]
        if first == "@":
            return self._modifier()
        if first in "[{":
            return self._multipath(first)
        if first == "!":
            raise BadPath(f"the path {self.text[:80]!r} has a literal, which is not supported")
        if first == "#":
            return self._hash()
        return self._key()

    def _key(self) -> Step:
        pattern, plain, wild = "", "", False
        while self.at < len(self.text) and self.text[self.at] not in ".|":
            letter = self.text[self.at]
            if letter == "\\" and self.at + 1 < len(self.text):
                self.at += 1
                letter = self.text[self.at]
                pattern, plain = pattern + re.escape(letter), plain + letter
            elif letter in "*?":
                wild = True
                pattern += ".*" if letter == "*" else "."
            else:
                pattern, plain = pattern + re.escape(letter), plain + letter
            self.at += 1
        return _matching(re.compile(pattern, re.DOTALL)) if wild else _named(plain)

    def _hash(self) -> Step:
        self.at += 1
        if self.at < len(self.text) and self.text[self.at] == "(":
            inner = self._enclosed("(", ")")
            matches = _query(inner, self.depth + 1)
            if self.at < len(self.text) and self.text[self.at] == "#":
                self.at += 1
                return _Each(matches)
            return _first(matches)
        return _Each(None)

    def _modifier(self) -> Step:
        match = re.compile(r"@([a-z]+)").match(self.text, self.at)
        name = match[1] if match else ""
        if match is None or name not in _MODIFIERS:
            raise BadPath(
                f"the path {self.text[:80]!r} has @{name or '?'}; supported are "
                + ", ".join(f"@{known}" for known in _MODIFIERS)
            )
        self.at = match.end()
        if self.at < len(self.text) and self.text[self.at] == ":":
            raise BadPath(f"the path {self.text[:80]!r} gives @{name} an argument, which is not supported")
        return _MODIFIERS[name]

    def _multipath(self, opening: str) -> Step:
        inner = self._enclosed(opening, "]" if opening == "[" else "}")
        parts: list[tuple[str, Step]] = []
        for part in _split(inner):
            name, colon, path = part.partition(":")
            if opening == "[" or not colon or not name.startswith('"'):
                name, path = part.rpartition(".")[2], part
            parts.append((name.strip('"'), _Parser(path, depth=self.depth + 1).parse()))

        def collect(value: Any) -> Any:
            found = [(name, step(value)) for name, step in parts]
            kept = [(name, each) for name, each in found if each is not MISSING]
            return [each for _, each in kept] if opening == "[" else dict(kept)

        return collect

    def _enclosed(self, opening: str, closing: str) -> str:
        """Return what is between brackets that belong together, and go behind them."""
        start, level, quoted = self.at + 1, 0, False
        while self.at < len(self.text):
            letter = self.text[self.at]
            if letter == "\\":
                self.at += 1
            elif letter == '"':
                quoted = not quoted
            elif not quoted and letter == opening:
                level += 1
            elif not quoted and letter == closing:
                level -= 1
                if level == 0:
                    self.at += 1
                    return self.text[start : self.at - 1]
            self.at += 1
        raise BadPath(f"the path {self.text[:80]!r} lacks a {closing!r}")


class _Each:
    """`#` and `#(...)#`: every element of an array, or those that match."""

    def __init__(self, matches: Callable[[Any], bool] | None, rest: Step | None = None) -> None:
        self._matches, self._rest = matches, rest

    def followed(self, rest: Step) -> "_Each":
        """Return the same with a path below each element."""
        return _Each(self._matches, rest)

    def __call__(self, value: Any) -> Any:
        if not isinstance(value, list):
            return MISSING
        if self._matches is None and self._rest is None:
            return len(value)
        kept = value if self._matches is None else [each for each in value if self._matches(each)]
        if self._rest is None:
            return kept
        return [found for each in kept if (found := self._rest(each)) is not MISSING]


def _nested(steps: list[Step]) -> Step:
    for at, step in enumerate(steps[:-1]):
        if isinstance(step, _Each):
            return _chained([*steps[:at], step.followed(_nested(steps[at + 1 :]))])
    return _chained(steps)


def _chained(steps: list[Step]) -> Step:
    def followed(value: Any) -> Any:
        for step in steps:
            value = step(value)
            if value is MISSING:
                return MISSING
        return value

    return followed


def _named(key: str) -> Step:
    def member(value: Any) -> Any:
        if isinstance(value, dict):
            return value.get(key, MISSING)
        if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            return value[int(key)]
        return MISSING

    return member


def _matching(pattern: re.Pattern[str]) -> Step:
    def member(value: Any) -> Any:
        if not isinstance(value, dict):
            return MISSING
        return next((value[key] for key in value if pattern.fullmatch(key)), MISSING)

    return member


def _first(matches: Callable[[Any], bool]) -> Step:
    def element(value: Any) -> Any:
        if not isinstance(value, list):
            return MISSING
        return next((each for each in value if matches(each)), MISSING)

    return element


def _query(text: str, depth: int) -> Callable[[Any], bool]:
    """Read `path operator value`; without an operator, the path must be there."""
    path, operator, wanted = _divided(text.strip())
    step = _Parser(path, depth=depth).parse() if path else _MODIFIERS["this"]
    if wanted.startswith("~"):
        return lambda element: _compare(_ish(step(element), wanted[1:]), operator, "true")
    wanted = _unquoted(wanted)

    def matches(element: Any) -> bool:
        if path and not isinstance(element, dict | list):
            return False
        found = step(element)
        return found is not MISSING and (not operator or _compare(found, operator, wanted))

    return matches


def _divided(text: str) -> tuple[str, str, str]:
    at, level, quoted = 0, 0, False
    while at < len(text):
        letter = text[at]
        if letter == "\\":
            at += 2
            continue
        if letter == '"':
            quoted = not quoted
        elif not quoted and letter in "([{":
            level += 1
        elif not quoted and letter in ")]}":
            level -= 1
        elif not quoted and level == 0:
            operator = next((each for each in OPERATORS if text.startswith(each, at)), None)
            if operator:
                return text[:at].strip(), operator.replace("==", "="), text[at + len(operator) :].strip()
        at += 1
    return text, "", ""


def _compare(found: Any, operator: str, wanted: str) -> bool:
    """Compare as GJSON does: by the type of what was found; other types than these never match."""
    if isinstance(found, bool):
        order = {"=": wanted == str(found).lower(), "!=": wanted != str(found).lower()}
        if found:
            return order.get(operator, (operator == ">" and wanted == "false") or operator == ">=")
        return order.get(operator, (operator == "<" and wanted == "true") or operator == "<=")
    if isinstance(found, str):
        if operator in ("%", "!%"):
            return _like(found, wanted) == (operator == "%")
        return _ordered(found, operator, wanted)
    if isinstance(found, int | float):
        try:
            number = float(wanted)
        except ValueError:
            number = 0.0
        return _ordered(float(found), operator, number)
    return False


def _ordered(found: Any, operator: str, wanted: Any) -> bool:
    return bool(
        {
            "=": found == wanted,
            "!=": found != wanted,
            "<": found < wanted,
            "<=": found <= wanted,
            ">": found > wanted,
            ">=": found >= wanted,
        }.get(operator, False)
    )


def _like(found: str, wanted: str) -> bool:
    pattern = "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in wanted)
    return re.fullmatch(pattern, found, re.DOTALL) is not None


def _ish(found: Any, kind: str) -> bool:
    """Say whether a value is as good as true, false or null (`~true`, `~false`, `~null`), or there (`~*`)."""
    if kind == "*":
        return found is not MISSING
    is_nothing = found is MISSING or found is None
    if kind == "null":
        return is_nothing
    text = found.lower() if isinstance(found, str) else found
    is_true = not is_nothing and text not in (False, 0, "", "false", "f", "0", "no", "n", "off")
    if kind in ("true", "false"):
        return is_true == (kind == "true")
    raise BadPath(f"a query compares with ~{kind}; supported are ~true, ~false, ~null and ~*")


def _unquoted(text: str) -> str:
    if len(text) > 1 and text.startswith('"') and text.endswith('"'):
        try:
            return str(json.loads(text))
        except ValueError:
            return text[1:-1]
    return text


def _split(text: str) -> Iterator[str]:
    """Yield the parts between commas that stand outside of brackets and quotes."""
    part, level, quoted = "", 0, False
    for letter in text:
        if letter == '"':
            quoted = not quoted
        level += (letter in "([{") - (letter in ")]}") if not quoted else 0
        if letter == "," and not level and not quoted:
            yield part.strip()
            part = ""
        else:
            part += letter
    if part.strip():
        yield part.strip()


def _flat(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return [inner for each in value for inner in (each if isinstance(each, list) else [each])]


def _keys(value: Any) -> Any:
    return list(value) if isinstance(value, dict) else [None] * len(value) if isinstance(value, list) else MISSING


def _values(value: Any) -> Any:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else MISSING


def _reversed(value: Any) -> Any:
    if isinstance(value, list):
        return value[::-1]
    return dict(reversed(value.items())) if isinstance(value, dict) else value


_MODIFIERS: dict[str, Step] = {
    "this": lambda value: value,
    "valid": lambda value: value,
    "pretty": lambda value: value,
    "ugly": lambda value: value,
    "reverse": _reversed,
    "keys": _keys,
    "values": _values,
    "flatten": _flat,
    "tostr": json.dumps,
}
