"""The language of `filterQuery`: text in, a tree of comparisons out.

    or := and (OR and)*          and := term (AND term)*          term := '(' or ')' | property operator value
    operator := = != <> > >= < <= LIKE ILIKE IN          value := 'text' "text" 12 -0.5 true false (value, ...)
    property := name(.name)* or `any text`, with .string_value .int_value .double_value .bool_value to force a type

Keywords are read in any case; `--` begins a comment. Source: the Model Registry's filterQuery parameter and the grammar
of its reference server. Knows neither tables nor entities; a fault is InvalidInput with its position.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from zeroflow.errors import InvalidInput

MAX_LENGTH = 8_000
MAX_COMPARISONS = 100
MAX_DEPTH = 50
MAX_VALUES = 500

Scalar = str | int | float | bool
FORCED_TYPES = ("string_value", "int_value", "double_value", "bool_value")

_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*)
    | (?P<text>'(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*")
    | (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    | (?P<quoted>`[^`]+`)
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<operator><=|>=|<>|!=|=|<|>)
    | (?P<mark>[().,])""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_KEYWORDS = ("AND", "OR", "LIKE", "ILIKE", "IN", "TRUE", "FALSE")


@dataclass(frozen=True)
class Comparison:
    """`name operator value`; `forced` is one of FORCED_TYPES or None. `value` is a tuple for IN, a scalar otherwise."""

    name: str
    forced: str | None
    operator: str
    value: Scalar | tuple[Scalar, ...]


@dataclass(frozen=True)
class All:
    """Every part holds."""

    parts: tuple["Condition", ...]


@dataclass(frozen=True)
class Any:
    """At least one part holds."""

    parts: tuple["Condition", ...]


Condition = Comparison | All | Any


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    position: int

    @property
    def keyword(self) -> str:
        upper = self.text.upper()
        return upper if self.kind == "word" and upper in _KEYWORDS else ""


def parse(query: str) -> Condition:
    """Parse a filter; raise InvalidInput saying where it stops making sense and what was expected there."""
    if len(query) > MAX_LENGTH:
        raise InvalidInput(f"invalid filterQuery: {len(query)} characters; at most {MAX_LENGTH} are read")
    parser = _Parser(list(_tokens(query)))
    condition = parser.either(0)
    parser.expect_end()
    return condition


def _tokens(query: str) -> Iterator[_Token]:
    position = 0
    while position < len(query):
        match = _TOKEN.match(query, position)
        if match is None:
            hint = " (is a quote left open?)" if query[position] in "'\"`" else ""
            raise InvalidInput(f"invalid filterQuery: unexpected {query[position]!r} at position {position + 1}{hint}")
        if match.lastgroup != "space":
            yield _Token(str(match.lastgroup), match.group(), position + 1)
        position = match.end()
    yield _Token("end", "", len(query) + 1)


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens, self._next, self._comparisons = tokens, 0, 0

    def either(self, depth: int) -> Condition:
        parts = [self._both(depth)]
        while self._take_keyword("OR"):
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else Any(tuple(parts))

    def expect_end(self) -> None:
        if self._token.kind != "end":
            raise self._fault("AND, OR or the end")

    def _both(self, depth: int) -> Condition:
        parts = [self._term(depth)]
        while self._take_keyword("AND"):
            parts.append(self._term(depth))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _term(self, depth: int) -> Condition:
        if not self._take_mark("("):
            return self._comparison()
        if depth == MAX_DEPTH:
            raise InvalidInput(f"invalid filterQuery: parentheses nested deeper than {MAX_DEPTH}")
        condition = self.either(depth + 1)
        if not self._take_mark(")"):
            raise self._fault("')'")
        return condition

    def _comparison(self) -> Comparison:
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            raise InvalidInput(f"invalid filterQuery: more than {MAX_COMPARISONS} comparisons")
        name, forced = self._property()
        token = self._token
        if token.keyword in ("LIKE", "ILIKE", "IN") or token.kind == "operator":
            self._next += 1
        else:
            raise self._fault("an operator (=, !=, <, <=, >, >=, LIKE, ILIKE, IN)")
        operator = token.keyword or {"<>": "!="}.get(token.text, token.text)
        if operator == "IN":
            return Comparison(name, forced, operator, self._values())
        return Comparison(name, forced, operator, self._value(pattern=operator in ("LIKE", "ILIKE")))

    def _property(self) -> tuple[str, str | None]:
        parts = [self._name()]
        while self._take_mark("."):
            parts.append(self._name())
        if len(parts) > 1 and parts[-1] in FORCED_TYPES:
            return ".".join(parts[:-1]), parts[-1]
        return ".".join(parts), None

    def _name(self) -> str:
        token = self._token
        if token.kind == "quoted":
            self._next += 1
            return token.text[1:-1]
        if token.kind == "word" and not token.keyword:
            self._next += 1
            return token.text
        raise self._fault("a property name")

    def _values(self) -> tuple[Scalar, ...]:
        if not self._take_mark("("):
            raise self._fault("'(' and a list of values")
        values = [self._value()]
        while self._take_mark(","):
            values.append(self._value())
        if not self._take_mark(")"):
            raise self._fault("',' or ')'")
        if len(values) > MAX_VALUES:
            raise InvalidInput(f"invalid filterQuery: more than {MAX_VALUES} values in one list")
        return tuple(values)

    def _value(self, *, pattern: bool = False) -> Scalar:
        """Read one value; a pattern keeps its backslashes, which make a wildcard an ordinary character."""
        token = self._token
        value: Scalar
        if token.kind == "text":
            value = token.text[1:-1] if pattern else re.sub(r"\\(.)", r"\1", token.text[1:-1], flags=re.DOTALL)
        elif token.kind == "number":
            value = _number(token)
        elif token.keyword in ("TRUE", "FALSE"):
            value = token.keyword == "TRUE"
        else:
            raise self._fault("a value: 'text' in quotes, a number, true or false")
        self._next += 1
        return value

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _take_keyword(self, keyword: str) -> bool:
        found = self._token.keyword == keyword
        self._next += found
        return found

    def _take_mark(self, mark: str) -> bool:
        found = self._token.kind == "mark" and self._token.text == mark
        self._next += found
        return found

    def _fault(self, expected: str) -> InvalidInput:
        token = self._token
        found = "the end" if token.kind == "end" else repr(token.text[:40])
        return InvalidInput(f"invalid filterQuery: expected {expected} at position {token.position}, found {found}")


def _number(token: _Token) -> int | float:
    if token.text.lstrip("+-").isdigit() and len(token.text) < 20:
        return int(token.text)
    value = float(token.text)
    if math.isinf(value):
        raise InvalidInput(f"invalid filterQuery: the number at position {token.position} is too large")
    return value
