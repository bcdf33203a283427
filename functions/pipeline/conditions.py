"""Trigger conditions: the part of the Common Expression Language that KFP's SDK compiles, parsed and evaluated.

Literals, lists, `inputs.parameter_values['name']`, member access, `int() double() string() bool() size()`, arithmetic,
comparison, `in`, `! && || ?:`. Nothing is ever handed to Python's `eval`. A number compares with a number whatever
their types, since protobuf makes each a double. Source: CEL language definition; PipelineTaskSpec.TriggerPolicy of KFP.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from zeroflow.errors import InvalidInput, ZeroflowError

MAX_DEPTH = 100
MAX_OPERATORS = 400
"""Each is a call inside another when the condition is evaluated."""
"""Nesting beyond this is refused rather than left to the interpreter's stack."""

Expression = Callable[[Mapping[str, Any]], Any]
"""A parsed expression: gives its value for the variables."""


class ConditionFailed(ZeroflowError):
    """A condition has no value: a missing input, an operator on values that it does not take."""

    reason = "InvalidInput"


_TOKEN = re.compile(
    r"""\s*(?:
        (?P<double>\d+\.\d*(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+)
      | (?P<int>\d+)
      | (?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<name>[A-Za-z_]\w*)
      | (?P<op>==|!=|<=|>=|&&|\|\||[-+*/%<>!?:.,()\[\]])
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"', "`": "`", "?": "?", "0": "\0"}
_BINDING = {
    "||": 2, "&&": 3, "==": 4, "!=": 4, "<": 4, "<=": 4, ">": 4, ">=": 4, "in": 4,
    "+": 5, "-": 5, "*": 6, "/": 6, "%": 6,
}  # fmt: skip


def parse(source: str) -> Expression:
    """Parse a condition; raise InvalidInput saying where it goes wrong."""
    parser = _Parser(source)
    expression = parser.ternary(0)
    parser.end()
    return expression


def holds(expression: Expression, parameters: Mapping[str, Any]) -> bool:
    """Evaluate a condition over a task's input parameters; raise ConditionFailed when it has no truth value."""
    value = expression({"inputs": {"parameter_values": parameters, "parameters": parameters}})
    if not isinstance(value, bool):
        raise ConditionFailed(f"the condition gives {value!r}, not true or false")
    return value


class _Parser:
    def __init__(self, source: str) -> None:
        self.source, self.tokens, self.at, self.operators = source, _tokens(source), 0, 0

    def peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) and self.tokens[self.at][0] != "string" else ""

    def take(self, expected: str | None = None) -> tuple[str, str]:
        if self.at >= len(self.tokens):
            raise InvalidInput(f"condition {self.source!r} ends too early")
        kind, value = self.tokens[self.at]
        if expected is not None and (value != expected or kind == "string"):
            raise InvalidInput(f"condition {self.source!r}: expected {expected!r}, found {value!r}")
        self.at += 1
        return kind, value

    def count(self) -> None:
        self.operators += 1
        if self.operators > MAX_OPERATORS:
            raise InvalidInput(f"a condition has more than {MAX_OPERATORS} operators")

    def end(self) -> None:
        if self.at < len(self.tokens):
            raise InvalidInput(f"condition {self.source!r}: unexpected {self.tokens[self.at][1]!r}")

    def ternary(self, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            raise InvalidInput("a condition is nested too deeply")
        condition = self.binary(2, depth + 1)
        if self.peek() != "?":
            return condition
        self.take("?")
        chosen = self.ternary(depth + 1)
        self.take(":")
        other = self.ternary(depth + 1)
        return lambda env: chosen(env) if _truth(condition(env)) else other(env)

    def binary(self, least: int, depth: int) -> Expression:
        left = self.unary(depth)
        while _BINDING.get(sign := self.peek(), 0) >= least:
            self.take()
            self.count()
            left = _operation(sign, left, self.binary(_BINDING[sign] + 1, depth + 1))
        return left

    def unary(self, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            raise InvalidInput("a condition is nested too deeply")
        if self.peek() in ("!", "-"):
            _, sign = self.take()
            operand = self.unary(depth + 1)
            return (lambda env: not _truth(operand(env))) if sign == "!" else (lambda env: -_number(operand(env)))
        return self.member(self.primary(depth), depth)

    def member(self, value: Expression, depth: int) -> Expression:
        while self.peek() in (".", "["):
            self.count()
            if self.take()[1] == ".":
                kind, name = self.take()
                if kind != "name":
                    raise InvalidInput(f"condition {self.source!r}: expected a name after '.', found {name!r}")
                value = _member(value, _constant(name))
            else:
                value = _member(value, self.ternary(depth + 1))
                self.take("]")
        return value

    def primary(self, depth: int) -> Expression:
        kind, value = self.take()
        match kind, value:
            case "int", _:
                return _constant(int(value))
            case "double", _:
                return _constant(float(value))
            case "string", _:
                return _constant(value)
            case "name", ("true" | "false" | "null"):
                return _constant({"true": True, "false": False, "null": None}[value])
            case "name", _ if value in _FUNCTIONS and self.peek() == "(":
                self.take("(")
                argument = self.ternary(depth + 1)
                self.take(")")
                function = _FUNCTIONS[value]
                return lambda env: function(argument(env))
            case "name", "inputs":
                return lambda env: env["inputs"]
            case "op", "(":
                inner = self.ternary(depth + 1)
                self.take(")")
                return inner
            case "op", "[":
                return self.items(depth)
        raise InvalidInput(f"condition {self.source!r}: {value!r} is not supported")

    def items(self, depth: int) -> Expression:
        items: list[Expression] = []
        while self.peek() != "]":
            items.append(self.ternary(depth + 1))
            if self.peek() != "]":
                self.take(",")
        self.take("]")
        return lambda env: [item(env) for item in items]


def _tokens(source: str) -> list[tuple[str, str]]:
    tokens, at, end = [], 0, len(source.rstrip())
    while at < end:
        match = _TOKEN.match(source, at)
        if match is None:
            raise InvalidInput(f"condition {source!r}: cannot read {source[at : at + 20].strip()!r}")
        kind = str(match.lastgroup)
        value = match[kind]
        tokens.append((kind, _unquoted(value) if kind == "string" else value))
        at = match.end()
    return tokens


def _unquoted(literal: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[0]), literal[1:-1], flags=re.DOTALL)


def _constant(value: Any) -> Expression:
    return lambda env: value


def _member(value: Expression, key: Expression) -> Expression:
    def get(env: Mapping[str, Any]) -> Any:
        holder, name = value(env), key(env)
        try:
            if isinstance(holder, Mapping):
                return holder[name]
            if isinstance(holder, list) and isinstance(name, int) and not isinstance(name, bool) and name >= 0:
                return holder[name]
        except (KeyError, IndexError):
            pass
        raise ConditionFailed(f"the condition needs {name!r}, which is not there")

    return get


def _operation(sign: str, left: Expression, right: Expression) -> Expression:
    if sign == "&&":
        return lambda env: _truth(left(env)) and _truth(right(env))
    if sign == "||":
        return lambda env: _truth(left(env)) or _truth(right(env))
    function = _OPERATORS[sign]

    def apply(env: Mapping[str, Any]) -> Any:
        a, b = left(env), right(env)
        try:
            return function(a, b)
        except (TypeError, ZeroDivisionError, OverflowError) as error:
            raise ConditionFailed(f"the condition cannot compute {a!r} {sign} {b!r}") from error

    return apply


def _equal(a: Any, b: Any) -> bool:
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def ordered(a: Any, b: Any) -> bool:
        if isinstance(a, bool) != isinstance(b, bool):
            raise TypeError
        return compare(a, b)

    return ordered


def _divide(a: Any, b: Any) -> Any:
    if isinstance(_number(a), int) and isinstance(_number(b), int):
        return math.trunc(a / b) if abs(a) < 2**53 else int(a // b)
    return a / b


def _add(a: Any, b: Any) -> Any:
    if isinstance(a, str | list):
        return a + b
    return _number(a) + _number(b)


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConditionFailed(f"the condition needs true or false, found {value!r}")
    return value


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConditionFailed(f"the condition needs a number, found {value!r}")
    return value


def _to_number(kind: type[int] | type[float]) -> Callable[[Any], int | float]:
    def convert(value: Any) -> int | float:
        try:
            return kind(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise ConditionFailed(f"the condition cannot read {value!r} as a number") from error

    return convert


def _to_bool(value: Any) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    return _truth(value)


def _to_string(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _size(value: Any) -> int:
    if not isinstance(value, str | list | dict):
        raise ConditionFailed(f"the condition needs something with a size, found {value!r}")
    return len(value)


_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "int": _to_number(int), "double": _to_number(float), "string": _to_string, "bool": _to_bool, "size": _size,
}  # fmt: skip
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": _equal,
    "!=": lambda a, b: not _equal(a, b),
    "<": _ordered(operator.lt),
    "<=": _ordered(operator.le),
    ">": _ordered(operator.gt),
    ">=": _ordered(operator.ge),
    "in": lambda a, b: a in b,
    "+": _add,
    "-": lambda a, b: _number(a) - _number(b),
    "*": lambda a, b: _number(a) * _number(b),
    "/": _divide,
    "%": lambda a, b: math.fmod(_number(a), _number(b)) if isinstance(a, float) else int(math.fmod(a, b)),
}
