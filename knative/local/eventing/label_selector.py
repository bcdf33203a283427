"""metav1.LabelSelector objects: matchLabels and matchExpressions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zeroflow.knative.local.eventing.errors import InvalidSpec

_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def check(selector: Any, path: str) -> None:
    """Refuse a selector that cannot be evaluated; raise InvalidSpec."""
    if selector is None:
        return
    if not isinstance(selector, dict) or not isinstance(selector.get("matchLabels") or {}, dict):
        raise InvalidSpec(path, "must be a label selector: matchLabels, matchExpressions")
    for index, expression in enumerate(selector.get("matchExpressions") or ()):
        where = f"{path}.matchExpressions[{index}]"
        if not isinstance(expression, dict) or not expression.get("key"):
            raise InvalidSpec(where, "must have a key")
        operator, values = expression.get("operator"), expression.get("values") or []
        if operator not in _OPERATORS:
            raise InvalidSpec(f"{where}.operator", f"must be one of {', '.join(_OPERATORS)}, not {operator!r}")
        if (operator in {"In", "NotIn"}) != bool(values):
            raise InvalidSpec(f"{where}.values", "must be given with In and NotIn, and only with these")


def matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Tell whether labels fulfil a selector; an absent or empty one is fulfilled by everything."""
    if not selector:
        return True
    if any(labels.get(name) != value for name, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_fulfils(expression, labels) for expression in selector.get("matchExpressions") or ())


def _fulfils(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels
