"""CloudEvents SQL: parse an expression once, evaluate it on the attributes of many events.

As a filter an expression passes an event when it evaluates to the Boolean true without any error, so the first error
ends an evaluation here (an implementation that goes on would collect it and refuse all the same). Short-circuit
evaluation of AND and OR keeps errors of the other side from happening. As in the Go SDK that Knative uses, AND, OR and
XOR have one precedence and group to the right, and NOT binds closer than anything: use parentheses. The depth of an
expression is bounded when it is parsed.
Source: CloudEvents SQL 1.0 (grammar in 2, types in 3.1, operators in 3.4, functions in 3.5, casts in 3.7).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from zeroflow.errors import InvalidInput
from zeroflow.knative.local.eventing import cesql_functions
from zeroflow.knative.local.eventing.cesql_functions import EvaluationError, Value, as_boolean, as_integer, as_string

Attributes = Mapping[str, Value]
Expression = Callable[[Attributes], Value]

MAX_DEPTH: Final = 200
MAX_LENGTH: Final = 4096
COMPARISONS: Final[dict[str, Callable[[int, int], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
# Binding powers, weakest first; AND, OR and XOR are one level and group to the right.
LOGIC, COMPARE, SUM, PRODUCT, MATCH, UNARY = range(1, 7)
_POWERS: Final = {
    **dict.fromkeys(("AND", "OR", "XOR"), LOGIC),
    **dict.fromkeys(("=", "!=", "<>", *COMPARISONS), COMPARE),
    **dict.fromkeys(("+", "-"), SUM),
    **dict.fromkeys(("*", "/", "%"), PRODUCT),
    **dict.fromkeys(("LIKE", "IN", "NOT"), MATCH),
}
_KEYWORDS: Final = frozenset({"AND", "OR", "XOR", "NOT", "LIKE", "IN", "EXISTS", "TRUE", "FALSE"})
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<string>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")|(?P<word>[A-Za-z0-9_]+)"
    r"|(?P<sign>!=|<>|<=|>=|[=<>+\-*/%(),]))",
    re.DOTALL,
)


class SyntaxFault(InvalidInput):
    """The text is no CloudEvents SQL expression; the message says where and what was expected."""


@dataclass(frozen=True, slots=True)
class Token:
    """One word, sign or string, and where it begins."""

    kind: str
    text: str
    at: int


def compile_expression(text: str) -> Expression:
    """Parse an expression; raise SyntaxFault."""
    if len(text) > MAX_LENGTH:
        raise SyntaxFault(f"an expression has at most {MAX_LENGTH} characters")
    return _Parser(text).parse()


def compile_filter(text: str) -> Callable[[Attributes], bool]:
    """Return a predicate: true without any error, or not."""
    expression = compile_expression(text)

    def passes(attributes: Attributes) -> bool:
        try:
            return expression(attributes) is True
        except EvaluationError:
            return False

    return passes


class _Parser:
    """A Pratt parser over the tokens of one expression."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._next = 0
        self._depth = 0

    def parse(self) -> Expression:
        expression = self._expression(0)
        if self._peek().kind != "end":
            raise self._unexpected("an operator or the end")
        return expression

    def _expression(self, power: int) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise SyntaxFault(f"nested more than {MAX_DEPTH} deep")
        left = self._operand()
        while (mine := _POWERS.get(self._operator(), 0)) > power:
            left = self._binary(left, mine)
        self._depth -= 1
        return left

    def _operator(self) -> str:
        token = self._peek()
        return token.text.upper() if token.kind in ("word", "sign") else ""

    def _binary(self, left: Expression, power: int) -> Expression:
        name = self._take().text.upper()
        if name == "NOT":
            name = self._take().text.upper()
            if name not in ("LIKE", "IN"):
                self._next -= 1
                raise self._unexpected("LIKE or IN")
            return _negated(self._match(name, left))
        if power == MATCH:
            return self._match(name, left)
        return _BINARY[name](left, self._expression(LOGIC - 1 if power == LOGIC else power))

    def _match(self, name: str, left: Expression) -> Expression:
        if name == "LIKE":
            token = self._take()
            if token.kind != "string":
                self._next -= 1
                raise self._unexpected("a string literal")
            pattern = _pattern(_unquoted(token.text, keep="%_"))
            return lambda attributes: pattern.fullmatch(as_string(left(attributes))) is not None
        items = self._list()
        if not items:
            raise self._unexpected("an expression")
        return lambda attributes: _among(left(attributes), items, attributes)

    def _operand(self) -> Expression:
        token = self._take()
        if token.kind == "string":
            return _constant(_unquoted(token.text))
        if token.text == "(":
            inner = self._expression(0)
            self._expect(")")
            return inner
        if token.text in ("-", "+"):
            return self._signed(token)
        if token.kind == "word":
            return self._word(token)
        self._next -= 1
        raise self._unexpected("an expression")

    def _signed(self, sign: Token) -> Expression:
        following = self._peek()
        if following.kind == "word" and following.text.isdigit():
            self._take()
            return _constant(_integer(sign.text + following.text, sign.at))
        if sign.text == "+":
            raise self._unexpected("a number")
        inner = self._expression(UNARY)
        return lambda attributes: cesql_functions.bounded(-as_integer(inner(attributes)))

    def _word(self, token: Token) -> Expression:
        upper = token.text.upper()
        if token.text.isdigit():
            return _constant(_integer(token.text, token.at))
        if upper in ("TRUE", "FALSE"):
            return _constant(upper == "TRUE")
        if upper == "NOT":
            return _negated(self._expression(UNARY))
        if upper == "EXISTS":
            name = self._name(self._take())
            return lambda attributes: name in attributes
        if self._peek().text == "(":
            return self._call(token)
        name = self._name(token)
        return lambda attributes: _attribute(attributes, name)

    def _name(self, token: Token) -> str:
        if token.kind != "word" or not re.fullmatch(r"[a-z0-9]+", token.text) or token.text.upper() in _KEYWORDS:
            self._next -= 1
            raise self._unexpected("an attribute's name (lower-case letters and digits)")
        return token.text

    def _call(self, token: Token) -> Expression:
        arguments = self._list()
        try:
            function = cesql_functions.find(token.text.upper(), len(arguments))
        except InvalidInput as error:
            raise SyntaxFault(f"at {token.at + 1}: {error}") from error
        return lambda attributes: function(*(argument(attributes) for argument in arguments))

    def _list(self) -> list[Expression]:
        self._expect("(")
        items: list[Expression] = []
        while self._peek().text != ")" or items:
            items.append(self._expression(0))
            if self._peek().text != ",":
                break
            self._take()
        self._expect(")")
        return items

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._tokens[self._next]
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _expect(self, sign: str) -> None:
        if self._peek().text != sign or self._peek().kind != "sign":
            raise self._unexpected(repr(sign))
        self._take()

    def _unexpected(self, wanted: str) -> SyntaxFault:
        token = self._peek()
        found = "the end" if token.kind == "end" else repr(token.text)
        return SyntaxFault(f"at {token.at + 1}: expected {wanted}, found {found}")


def _tokens(text: str) -> list[Token]:
    found, at = [], 0
    end = len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            rest = len(text[at:]) - len(text[at:].lstrip())
            raise SyntaxFault(f"at {at + rest + 1}: {text[at + rest]!r} begins nothing")
        kind = str(match.lastgroup)
        found.append(Token(kind, match[kind], match.start(kind)))
        at = match.end()
    return [*found, Token("end", "", end)]


def _integer(text: str, at: int) -> int:
    value = int(text)
    if not cesql_functions.LEAST <= value <= cesql_functions.MOST:
        raise SyntaxFault(f"at {at + 1}: {text} is no 32-bit integer")
    return value


def _unquoted(text: str, keep: str = "") -> str:
    """Take the quotes off; a backslash goes before a quote, and stays before what `keep` has."""
    quote = text[0]
    return re.sub(rf"\\([{quote}])", r"\1", text[1:-1]) if not keep else text[1:-1].replace(f"\\{quote}", quote)


def _pattern(like: str) -> re.Pattern[str]:
    parts, at = [], 0
    while at < len(like):
        character = like[at]
        if character == "\\" and like[at + 1 : at + 2] in ("%", "_"):
            at += 1
            parts.append(re.escape(like[at]))
        elif character == "%":
            if not parts or parts[-1] != ".*":
                parts.append(".*")
        else:
            parts.append("." if character == "_" else re.escape(character))
        at += 1
    return re.compile("".join(parts), re.DOTALL)


def _constant(value: Value) -> Expression:
    return lambda attributes: value


def _attribute(attributes: Attributes, name: str) -> Value:
    value = attributes.get(name)
    if value is None:
        raise EvaluationError(f"the event has no attribute {name}")
    return value


def _negated(inner: Expression) -> Expression:
    return lambda attributes: not as_boolean(inner(attributes))


def _among(value: Value, items: list[Expression], attributes: Attributes) -> bool:
    """Compare with each item, cast to the type of `value`; all are evaluated, so that an error in one is one."""
    cast = cesql_functions.cast_of(value)
    return value in [cast(item(attributes)) for item in items]


def _equal(left: Value, right: Value) -> bool:
    """Compare; of two types the left value is cast to that of the right one."""
    return cesql_functions.cast_of(right)(left) == right


def _equality(left: Expression, right: Expression) -> Expression:
    return lambda attributes: _equal(left(attributes), right(attributes))


def _inequality(left: Expression, right: Expression) -> Expression:
    return lambda attributes: not _equal(left(attributes), right(attributes))


def _comparison(compare: Callable[[int, int], bool]) -> Callable[[Expression, Expression], Expression]:
    return lambda left, right: lambda attributes: compare(as_integer(left(attributes)), as_integer(right(attributes)))


def _arithmetic(compute: Callable[[int, int], int]) -> Callable[[Expression, Expression], Expression]:
    return lambda left, right: (
        lambda attributes: cesql_functions.bounded(compute(as_integer(left(attributes)), as_integer(right(attributes))))
    )


_BINARY: Final[dict[str, Callable[[Expression, Expression], Expression]]] = {
    "AND": lambda left, right: lambda given: as_boolean(left(given)) and as_boolean(right(given)),
    "OR": lambda left, right: lambda given: as_boolean(left(given)) or as_boolean(right(given)),
    "XOR": lambda left, right: lambda given: as_boolean(left(given)) is not as_boolean(right(given)),
    "=": _equality,
    "!=": _inequality,
    "<>": _inequality,
    **{sign: _comparison(compare) for sign, compare in COMPARISONS.items()},
    "+": _arithmetic(operator.add),
    "-": _arithmetic(operator.sub),
    "*": _arithmetic(operator.mul),
    "/": _arithmetic(cesql_functions.quotient),
    "%": _arithmetic(cesql_functions.remainder),
}
