"""Expressions in CEL: checked against the types of a schema, compiled, evaluated.

The only way to the library (the C++ implementation of CEL: 30 ms and 14 MB), taken when the first rule is met.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, Final

from cel_expr_python import cel
from cel_expr_python.ext import ext_bindings, ext_optional, ext_strings

from zeroflow.knative.local.api.schemas.cel_functions import functions
from zeroflow.knative.local.api.schemas.cel_types import Types
from zeroflow.knative.local.api.schemas.schema import Schema

COMPILED_KEPT: Final = 4096
ITERATIONS_EXCEEDED: Final = "Iteration budget exceeded"
"""What a rule is answered that looks at more than 10,000 items."""
_STATUS: Final = re.compile(r"^[A-Z_]+: | \[[A-Z_]+\]$")
_IN_MESSAGE: Final = re.compile(r" not found in struct '[^']*'")
_NO_KEY: Final = re.compile(r'Key not found in map : "?([^"]*)"?')
_OPTIONAL_OLD: Final = "cel.bind(oldSelf, hasOld ? optional.of(old) : optional.none(), ({}))"


class BadExpression(ValueError):
    """An expression does not compile; the message is the compiler's."""


class NoAnswer(Exception):
    """An expression had no value; the message says why, in the words of the API server."""


class Checker:
    """Knows the types of one schema: `self` and `oldSelf` have it."""

    def __init__(self, schema: Schema, *, root: bool) -> None:
        types = Types()
        whole = types.variable(schema, root=root)
        pool = types.pool()
        self._plain = _environment({"self": whole, "oldSelf": whole}, pool)
        self._optional = _environment({"self": whole, "oldSelf": cel.Type.DYN}, pool)

    def check(self, expression: str, *, returns: str, optional_old: bool = False) -> None:
        """Raise BadExpression when it does not compile, or to another type than `returns` ("bool", "string")."""
        environment = self._optional if optional_old else self._plain
        try:
            found = environment.compile(expression).return_type().name().lower()
        except RuntimeError as error:
            raise BadExpression(_IN_MESSAGE.sub("", _said(error))) from error
        if found not in (returns, "dyn"):
            raise BadExpression(f"must evaluate to {returns}, not {found}")


def evaluate(expression: str, self: Any, *, optional_old: bool = False, **old: Any) -> Any:
    """Return the value of an expression; `oldSelf=...` gives the old value. Raises NoAnswer."""
    data = {"self": self, **old}
    if optional_old:
        data = {"self": self, "hasOld": bool(old), "old": old.get("oldSelf")}
    try:
        value = _compiled(expression, optional_old).eval(data=data)
        if value.type() == cel.Type.ERROR:
            raise NoAnswer(_in_words(_STATUS.sub("", str(value.value()))))
        return value.plain_value()
    except (RuntimeError, ValueError, TypeError, OverflowError) as error:
        raise NoAnswer(_in_words(_said(error))) from error


@lru_cache(COMPILED_KEPT)
def _compiled(expression: str, optional_old: bool) -> Any:
    return _open().compile(_OPTIONAL_OLD.format(expression) if optional_old else expression)


@cache
def _open() -> Any:
    """Return the environment for evaluation: values bring their types, as the checker has seen to it."""
    anything = dict.fromkeys(("self", "oldSelf", "old"), cel.Type.DYN)
    return _environment(anything | {"hasOld": cel.Type.BOOL})


def _environment(variables: Mapping[str, Any], pool: Any = None) -> Any:
    return cel.NewEnv(
        pool,
        variables=variables,
        functions=functions(),
        extensions=[ext_optional.ExtOptional(), ext_strings.ExtStrings(), ext_bindings.ExtBindings()],
    )


def _said(error: Exception) -> str:
    return _STATUS.sub("", str(error).strip())


def _in_words(said: str) -> str:
    if match := _NO_KEY.search(said):
        return f"no such key: {match[1]}"
    if said.lower().startswith("no matching overload"):
        return "no such overload"
    return {"divide by zero": "division by zero", "modulus by zero": "modulus by zero"}.get(said, said)
