"""Conditions on parameters, as in `lr * batch <= 64` or `optimizer == "sgd" and depth > 3`.

A small language read by Python's own parser and evaluated here: names of parameters, numbers, words in quotes, lists,
arithmetic, comparisons, `and or not in`. Nothing else is code: no calls, no attributes.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Collection, Mapping
from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.tuning.spec import Parameter

LENGTH_LIMIT = 1_000
_BINARY: Mapping[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
}
_COMPARE: Mapping[type[ast.AST], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}


def fault(text: Any, names: Collection[str]) -> str | None:
    """Return what is wrong with a condition on these parameters, None when nothing is."""
    if not isinstance(text, str) or not 0 < len(text) <= LENGTH_LIMIT:
        return f"must be a condition of at most {LENGTH_LIMIT} characters"
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        _check(tree, names)
    except (SyntaxError, ValueError, RecursionError) as error:
        return str(error.args[0]) if error.args else "not a condition"
    return None


def holds(text: str, assigned: Mapping[str, str], parameters: Mapping[str, Parameter]) -> bool:
    """Say whether a condition is true of an assignment; raise InvalidInput when it cannot be said."""
    values = {name: _value(parameters[name], value) for name, value in assigned.items() if name in parameters}
    try:
        return bool(_evaluate(ast.parse(text.strip(), mode="eval").body, values))
    except (ArithmeticError, TypeError, KeyError) as error:
        raise InvalidInput(f"the condition {text!r} cannot be evaluated: {error}") from error


def _value(parameter: Parameter, written: str) -> Any:
    if parameter.kind == "categorical":
        return written
    try:
        return float(written)
    except ValueError:  # a parameter that is not active has a word of its own
        return written


def _check(tree: ast.AST, names: Collection[str]) -> None:
    match tree:
        case ast.Name():
            if tree.id not in names:
                raise ValueError(f"there is no parameter {tree.id!r}")
        case ast.Constant():
            if not isinstance(tree.value, int | float | str):
                raise ValueError(f"{tree.value!r} is neither a number nor a word")
        case ast.BinOp() if type(tree.op) in _BINARY:
            _check(tree.left, names)
            _check(tree.right, names)
        case ast.UnaryOp() if isinstance(tree.op, ast.USub | ast.Not):
            _check(tree.operand, names)
        case ast.BoolOp():
            for value in tree.values:
                _check(value, names)
        case ast.Compare() if all(type(op) in _COMPARE for op in tree.ops):
            for value in (tree.left, *tree.comparators):
                _check(value, names)
        case ast.List() | ast.Tuple():
            for value in tree.elts:
                _check(value, names)
        case _:
            raise ValueError(f"{ast.unparse(tree)!r} is not allowed in a condition")


def _evaluate(tree: ast.AST, values: Mapping[str, Any]) -> Any:
    match tree:
        case ast.Name():
            return values[tree.id]
        case ast.Constant():
            return tree.value
        case ast.BinOp():
            return _BINARY[type(tree.op)](_evaluate(tree.left, values), _evaluate(tree.right, values))
        case ast.UnaryOp():
            value = _evaluate(tree.operand, values)
            return not value if isinstance(tree.op, ast.Not) else -value
        case ast.BoolOp():
            every = isinstance(tree.op, ast.And)
            results = (bool(_evaluate(value, values)) for value in tree.values)
            return all(results) if every else any(results)
        case ast.Compare():
            left = _evaluate(tree.left, values)
            for op, right in zip(tree.ops, tree.comparators, strict=True):
                found = _evaluate(right, values)
                if not _COMPARE[type(op)](left, found):
                    return False
                left = found
            return True
        case ast.List() | ast.Tuple():
            return [_evaluate(value, values) for value in tree.elts]
    raise InvalidInput(f"{ast.unparse(tree)!r} is not allowed in a condition")
