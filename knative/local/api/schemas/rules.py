"""Validation rules of custom kinds (x-kubernetes-validations): checked when they are declared, held against objects.

Guarantees: a rule about `oldSelf` holds for changes alone; a rule without it is not held against a part that an
update leaves as it was (ratcheting); a rule without an answer refuses the object and says why. The rules of an object
take at most about `BUDGET_S` of processor time together, where the API server counts as much in units of its own, and
one rule looks at 10,000 items at most (the library's bound). The library cannot be stopped in the middle of a rule, so
that one with a loop is not begun where it could read more than `MOST_READ` characters of text. Source: apiextensions
"Validation rules", its error messages (pkg/apiserver/schema/cel/validation.go).
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from typing import Any, Final

from zeroflow.knative.local.api.errors import Cause
from zeroflow.knative.local.api.schemas.cel_values import cel_value
from zeroflow.knative.local.api.schemas.schema import BadSchema, Rule, Schema
from zeroflow.knative.local.api.schemas.validation import MISSING, former_field, former_item, type_of

BUDGET_S: Final = 1.0
MOST_READ: Final = 300_000_000
"""Characters, half a second's work: 300 items, say, each held against a text of a megabyte."""
ITEMS: Final = 10_000
_LOOP: Final = re.compile(r"\.(all|exists|exists_one|map|filter)\s*\(")
WORDS: Final = {
    "FieldValueInvalid": 'Invalid value: "{}": ',
    "FieldValueForbidden": "Forbidden: ",
    "FieldValueRequired": "Required value: ",
    "FieldValueDuplicate": 'Duplicate value: "{}": ',
}


def check_rules(schema: Schema, path: str) -> None:
    """Compile the rules of a schema with its types; raise BadSchema for the first that cannot be."""
    _check(schema, path, root=True, correlatable=True)


class _TooExpensive(Exception):
    """No more rules are evaluated; `cause` says why."""

    def __init__(self, path: str, shown: str, why: str) -> None:
        super().__init__(why)
        self.cause = Cause(path, f'Invalid value: "{shown}": {why}')


def broken(schema: Schema, value: Any, old: Any = MISSING) -> Iterator[Cause]:
    """Yield a cause for each rule that a valid object breaks; `old` is what it was before."""
    try:
        yield from _broken(schema, value, old, "", time.thread_time() + BUDGET_S)
    except _TooExpensive as error:
        yield error.cause


def _broken(schema: Schema, value: Any, old: Any, path: str, until_s: float) -> Iterator[Cause]:
    if not schema.ruled or value is None:
        return
    if schema.rules:
        yield from _broken_here(schema, value, old, path, until_s)
    if isinstance(value, dict):
        for name, part in value.items():
            below = schema.below(name)
            if below is not None:
                place = f"{path}.{name}" if path else name
                yield from _broken(below, part, former_field(old, name), place, until_s)
    elif isinstance(value, list) and schema.items is not None:
        for number, part in enumerate(value):
            yield from _broken(schema.items, part, former_item(schema, part, old), f"{path}[{number}]", until_s)


def _broken_here(schema: Schema, value: Any, old: Any, path: str, until_s: float) -> Iterator[Cause]:
    from zeroflow.knative.local.api.schemas.cel import ITERATIONS_EXCEEDED, NoAnswer, evaluate

    root = not path
    seen = cel_value(schema, value, root=root)
    before = {} if old is MISSING else {"oldSelf": cel_value(schema, old, root=root)}
    for rule in schema.rules:
        if rule.compares and not rule.optional_old and old is MISSING:
            continue
        if not rule.compares and old is not MISSING and old == value:
            continue
        given = before if rule.compares else {}
        shown = schema.type or type_of(value)
        if time.thread_time() > until_s:
            why = "validation failed due to running out of cost budget, no further validation rules will be run"
            raise _TooExpensive(path, shown, why)
        costly = f"no further validation rules will be run due to call cost exceeds limit for rule: {rule}"
        if _LOOP.search(rule.rule) and math.prod(_largest({"self": seen, **given})) > MOST_READ:
            raise _TooExpensive(path, shown, costly)
        try:
            if evaluate(rule.rule, seen, optional_old=rule.optional_old, **given) is True:
                continue
            yield _cause(schema, rule, _message(rule, seen, given), value, path)
        except NoAnswer as error:
            if str(error) == ITERATIONS_EXCEEDED:
                raise _TooExpensive(path, shown, costly) from error
            said = f"{error} evaluating rule: {rule}"
            if str(error) == "no such overload":
                said = (
                    f"call arguments did not match a supported operator, function or macro signature for rule: {rule}"
                )
            yield Cause(path, f'Invalid value: "{shown}": {said}')


def _largest(value: Any) -> tuple[int, int]:
    """Return how long the longest text of a value is, and how many of its items a rule looks at."""
    if isinstance(value, str | bytes):
        return len(value), 1
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    below = [_largest(part) for part in parts]
    text = max((length for length, _ in below), default=0)
    return text, min(ITEMS, max(len(below), *(items for _, items in below), 1))


def _message(rule: Rule, seen: Any, given: dict[str, Any]) -> str:
    from zeroflow.knative.local.api.schemas.cel import NoAnswer, evaluate

    fallback = rule.message or f"failed rule: {rule.rule}"
    if not rule.message_expression:
        return fallback
    try:
        said = evaluate(rule.message_expression, seen, **given)
    except NoAnswer:
        return fallback
    return said.strip() if isinstance(said, str) and said.strip() and "\n" not in said else fallback


def _cause(schema: Schema, rule: Rule, message: str, value: Any, path: str) -> Cause:
    shown = WORDS[rule.reason].format(schema.type or type_of(value))
    return Cause(f"{path}{rule.field_path}".lstrip("."), shown + message, rule.reason)


def _check(schema: Schema, path: str, *, root: bool, correlatable: bool) -> None:
    if not schema.ruled:
        return
    if schema.rules:
        _check_here(schema, path, root=root, correlatable=correlatable)
    for name, part in schema.properties.items():
        _check(part, f"{path}.properties[{name}]", root=False, correlatable=correlatable)
    if schema.values is not None:
        _check(schema.values, f"{path}.additionalProperties", root=False, correlatable=correlatable)
    if schema.items is not None:
        followed = correlatable and schema.list_type == "map"
        _check(schema.items, f"{path}.items", root=False, correlatable=followed)


def _check_here(schema: Schema, path: str, *, root: bool, correlatable: bool) -> None:
    from zeroflow.knative.local.api.schemas.cel import BadExpression, Checker

    checker = Checker(schema, root=root)
    for index, rule in enumerate(schema.rules):
        here = f"{path}.x-kubernetes-validations[{index}]"
        if rule.compares and not correlatable:
            why = "oldSelf cannot be used on the uncorrelatable portion of the schema"
            raise BadSchema(f"{here}.rule", f'Invalid value: "{rule.rule}": {why}')
        try:
            checker.check(rule.rule, returns="bool", optional_old=rule.optional_old)
        except BadExpression as error:
            raise BadSchema(f"{here}.rule", f'Invalid value: "{rule.rule}": compilation failed: {error}') from error
        if not rule.message_expression:
            continue
        try:
            checker.check(rule.message_expression, returns="string", optional_old=rule.optional_old)
        except BadExpression as error:
            why = f"messageExpression compilation failed: {error}"
            raise BadSchema(
                f"{here}.messageExpression", f'Invalid value: "{rule.message_expression}": {why}'
            ) from error
