"""Filters, orders and pages over the catalog's documents, in memory: the language is the registry's filterQuery.

A list-valued field (`tasks`) and `artifacts.<property>` of a model have several values: a comparison holds when it
holds for one of them, `!=` when it holds for all. A comparison of values of different types never holds.
"""

import base64
import binascii
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from zeroflow.errors import InvalidInput
from zeroflow.functions.register import filters
from zeroflow.functions.register.catalog import wildcards
from zeroflow.functions.register.catalog.sources import Document, Model
from zeroflow.functions.register.filters import Comparison, Condition, Scalar

Item = TypeVar("Item")

ORDERS = ("ID", "CREATE_TIME", "LAST_UPDATE_TIME", "NAME")
OVERALL = "artifacts.overall_average.double_value"
"""What ACCURACY orders by."""

_FIELDS = {"ID": "id", "CREATE_TIME": "createTimeSinceEpoch", "LAST_UPDATE_TIME": "lastUpdateTimeSinceEpoch"}
_NUMBERS = ("id", "createTimeSinceEpoch", "lastUpdateTimeSinceEpoch")
_TYPES = ("string_value", "int_value", "double_value")
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

Values = Callable[[str, str | None], list[Scalar]]
"""From a property's name and forced type to the values that one item has."""


def values_of(document: Document) -> Values:
    """Return how one document's properties are read."""

    def read(name: str, forced: str | None) -> list[Scalar]:
        if name in document and name != "customProperties" and forced is None:
            value = document[name]
            if name in _NUMBERS:
                return [int(value)]
            return list(value) if isinstance(value, list) else [value]
        told = (document.get("customProperties") or {}).get(name, {})
        found = [(key, value) for key, value in told.items() if key.endswith("_value")]
        return [
            int(value) if key == "int_value" else value
            for key, value in found
            if forced in (None, key) and key in (*_TYPES, "bool_value")
        ]

    return read


def values_of_model(model: Model) -> Values:
    """Return how a model's properties are read; `artifacts.<name>` are those of all its artifacts."""
    own = values_of(model.document)

    def read(name: str, forced: str | None) -> list[Scalar]:
        prefix, dot, rest = name.partition(".")
        if dot and prefix == "artifacts":
            return [value for one in model.artifacts for value in values_of(one)(rest, forced)]
        return own(name, forced)

    return read


def matches(query: str) -> Callable[[Values], bool]:
    """Parse a filter; return what says whether an item's values fit it."""
    if not query.strip():
        return lambda _values: True
    tree = filters.parse(query)
    return lambda values: _holds(tree, values)


def ordered(items: Sequence[Item], values: Callable[[Item], Values], order_by: str, direction: str) -> list[Item]:
    """Order by a field or `<property>.<type>`; items without the property come last, by id, in either direction."""
    name, forced = _property(order_by)
    best = max if direction == "DESC" else min
    keyed: list[tuple[Any, int, Item]] = []
    rest: list[tuple[int, Item]] = []
    for item in items:
        read = values(item)
        number = int(read("id", None)[0])
        found = read(name, forced)
        if found:
            keyed.append((best(found), number, item))
        else:
            rest.append((number, item))
    keyed.sort(key=lambda one: one[:2], reverse=direction == "DESC")
    return [item for _, _, item in keyed] + [item for _, item in sorted(rest, key=lambda one: one[0])]


def page(items: Sequence[Item], query: Mapping[str, str], order: str) -> tuple[list[Item], dict[str, Any]]:
    """Cut out the page that the query asks for; return it, and what a list says of itself."""
    size = query.get("pageSize") or "0"
    if not (size.isascii() and size.isdigit() and len(size) <= 9):
        raise InvalidInput(f"pageSize must be a whole number up to 999999999, got {size[:40]!r}")
    start = _start(query.get("nextPageToken") or "", order)
    end = start + int(size) if int(size) else len(items)
    shown = list(items[start:end])
    token = base64.b64encode(f"{end}:{order}".encode()).decode() if end < len(items) else ""
    return shown, {"nextPageToken": token, "pageSize": int(size), "size": len(shown)}


def _property(order_by: str) -> tuple[str, str | None]:
    """Return what an order goes by: a field, or a property with its type."""
    if order_by == "NAME":
        return "name", None
    if order_by in _FIELDS:
        return _FIELDS[order_by], None
    name, _, forced = order_by.rpartition(".")
    if not name or forced not in _TYPES:
        raise InvalidInput(
            f"orderBy must be one of {', '.join(ORDERS)} or <property>.<{'|'.join(_TYPES)}>, got {order_by[:80]!r}"
        )
    return name, forced


def _start(token: str, order: str) -> int:
    if not token:
        return 0
    try:
        place, _, of = base64.b64decode(token, validate=True).decode().partition(":")
        if of == order and place.isascii() and place.isdigit() and len(place) < 10:
            return int(place)
    except (binascii.Error, ValueError):
        pass
    raise InvalidInput("invalid nextPageToken")


def _holds(tree: Condition, values: Values) -> bool:
    match tree:
        case filters.All(parts):
            return all(_holds(part, values) for part in parts)
        case filters.Any(parts):
            return any(_holds(part, values) for part in parts)
        case _:
            return _compare(tree, values(tree.name, tree.forced))


def _compare(comparison: Comparison, found: list[Scalar]) -> bool:
    wanted = comparison.value
    if comparison.operator == "IN":
        assert isinstance(wanted, tuple)
        return any(_alike(value, one) and value == one for value in found for one in wanted)
    assert not isinstance(wanted, tuple)
    if comparison.operator in ("LIKE", "ILIKE"):
        fold = str.lower if comparison.operator == "ILIKE" else str
        pattern = wildcards.of_like(fold(str(wanted)))
        return any(isinstance(value, str) and wildcards.fits(fold(value), pattern) for value in found)
    alike = [value for value in found if _alike(value, wanted)]
    if comparison.operator == "!=":
        return bool(found) and all(value != wanted for value in alike)
    return any(_COMPARE[comparison.operator](value, wanted) for value in alike)


def _alike(one: Scalar, other: Scalar) -> bool:
    kinds = [bool if isinstance(value, bool) else str if isinstance(value, str) else float for value in (one, other)]
    return kinds[0] is kinds[1]
