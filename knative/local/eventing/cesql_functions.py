"""The values of CloudEvents SQL: casts, arithmetic within 32 bits, and the built-in functions.

Source: CloudEvents SQL 1.0, sections 3.5 (functions) and 3.7 (type casting).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from zeroflow.errors import InvalidInput, ZeroflowError

Value = str | int | bool
Function = Callable[..., Value]

LEAST: Final = -(2**31)
MOST: Final = 2**31 - 1


class EvaluationError(ZeroflowError):
    """An expression has no value for this event: an attribute is missing, or a cast or function failed."""


def as_boolean(value: Value) -> bool:
    """Cast to Boolean."""
    if isinstance(value, str):
        lowered = value.lower()
        if lowered not in ("true", "false"):
            raise EvaluationError(f"{value!r} is no Boolean")
        return lowered == "true"
    return bool(value)


def as_integer(value: Value) -> int:
    """Cast to Integer."""
    if isinstance(value, str):
        if not re.fullmatch(r"[+-]?[0-9]+", value, re.ASCII):
            raise EvaluationError(f"{value!r} is no Integer")
        return bounded(int(value))
    return int(value)


def as_string(value: Value) -> str:
    """Cast to String."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def cast_of(value: Value) -> Callable[[Value], Value]:
    """Return the cast to the type of `value`."""
    if isinstance(value, bool):
        return as_boolean
    return as_integer if isinstance(value, int) else as_string


def bounded(value: int) -> int:
    """Return an Integer; an overflow is an error."""
    if not LEAST <= value <= MOST:
        raise EvaluationError(f"{value} is no 32-bit integer")
    return value


def quotient(left: int, right: int) -> int:
    """Divide and round towards zero."""
    if right == 0:
        raise EvaluationError("division by zero")
    size = abs(left) // abs(right)
    return size if (left < 0) == (right < 0) else -size


def remainder(left: int, right: int) -> int:
    """Return what a truncated division leaves; it has the sign of `left`."""
    return left - right * quotient(left, right)


def find(name: str, arguments: int) -> Function:
    """Return a function by its upper-case name; raise InvalidInput when there is none with so many arguments."""
    if name not in _FUNCTIONS:
        raise InvalidInput(f"no function {name}; there are: {', '.join(sorted(_FUNCTIONS))}")
    least, most, function = _FUNCTIONS[name]
    if arguments < least or (most is not None and arguments > most):
        wanted = str(least) if least == most else f"{least} or more" if most is None else f"{least} to {most}"
        raise InvalidInput(f"{name} takes {wanted} arguments, not {arguments}")
    return function


def _concat_with(separator: Value, *values: Value) -> str:
    return as_string(separator).join(as_string(value) for value in values)


def _left(text: Value, count: Value) -> str:
    return as_string(text)[: _count(count)]


def _right(text: Value, count: Value) -> str:
    whole, wanted = as_string(text), _count(count)
    return whole[max(0, len(whole) - wanted) :]


def _count(count: Value) -> int:
    wanted = as_integer(count)
    if wanted < 0:
        raise EvaluationError(f"a length must not be negative, found {wanted}")
    return wanted


def _substring(text: Value, position: Value, length: Value | None = None) -> str:
    """Return what begins at a position: the first character has 1, the last -1; at 0 there is nothing."""
    whole, start = as_string(text), as_integer(position)
    wanted = len(whole) if length is None else _count(length)
    if start == 0:
        return ""
    if not -len(whole) <= start <= len(whole):
        raise EvaluationError(f"position {start} is outside a text of {len(whole)}")
    begin = start - 1 if start > 0 else len(whole) + start
    return whole[begin : begin + wanted]


def _absolute(value: Value) -> int:
    return bounded(abs(as_integer(value)))


_FUNCTIONS: Final[dict[str, tuple[int, int | None, Function]]] = {
    "INT": (1, 1, as_integer),
    "BOOL": (1, 1, as_boolean),
    "STRING": (1, 1, as_string),
    "ABS": (1, 1, _absolute),
    "LENGTH": (1, 1, lambda text: len(as_string(text))),
    "CONCAT": (0, None, lambda *values: "".join(as_string(value) for value in values)),
    "CONCAT_WS": (1, None, _concat_with),
    "LOWER": (1, 1, lambda text: as_string(text).lower()),
    "UPPER": (1, 1, lambda text: as_string(text).upper()),
    "TRIM": (1, 1, lambda text: as_string(text).strip()),
    "LEFT": (2, 2, _left),
    "RIGHT": (2, 2, _right),
    "SUBSTRING": (2, 3, _substring),
}
