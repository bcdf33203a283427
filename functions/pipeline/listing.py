"""Lists as KFP's API pages, filters and sorts them (filter.proto; page_token, page_size, sort_by).

A page begins after the last row of the one before (its sort value and id), so a list may grow while it is read. Filters
may name operations as the docs do ("EQUALS") or by number, as the Python client does.
"""

import base64
import binascii
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from zeroflow.errors import InvalidInput
from zeroflow.functions.pipeline.fields import found, mapping, required_text, sequence

DEFAULT_PAGE, MAX_PAGE = 20, 200

OPERATIONS = {
    1: "EQUALS", 2: "NOT_EQUALS", 3: "GREATER_THAN", 5: "GREATER_THAN_EQUALS", 6: "LESS_THAN", 7: "LESS_THAN_EQUALS",
    8: "IN", 9: "IS_SUBSTRING",
}  # fmt: skip
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "EQUALS": operator.eq, "NOT_EQUALS": operator.ne, "GREATER_THAN": operator.gt, "GREATER_THAN_EQUALS": operator.ge,
    "LESS_THAN": operator.lt, "LESS_THAN_EQUALS": operator.le, "IN": lambda column, values: column.in_(values),
}  # fmt: skip
_VALUES = ("int_value", "long_value", "string_value", "timestamp_value", "int_values", "long_values", "string_values")

Columns = Mapping[str, InstrumentedAttribute[Any]]
"""What a list can be sorted and filtered by; must hold `id` and `created_at`."""


@dataclass(frozen=True)
class Page:
    """What a client asks of a list."""

    size: int
    token: str
    sort_by: str
    filter: str

    @classmethod
    def of(cls, args: Mapping[str, str]) -> "Page":
        """Read the query of a request."""
        size = args.get("page_size") or "0"
        if not size.isdigit():
            raise InvalidInput(f"page_size must be a whole number, found {size!r}")
        return cls(
            min(int(size) or DEFAULT_PAGE, MAX_PAGE),
            args.get("page_token", ""),
            args.get("sort_by", ""),
            args.get("filter", ""),
        )


def page_of(session: Session, base: Select[Any], columns: Columns, page: Page) -> tuple[list[Any], int, str]:
    """Return one page of rows, how many there are in all, and the token of the next page."""
    name, descending = _sorting(page.sort_by, columns)
    chosen = base.where(*_conditions(page.filter, columns))
    total = session.scalar(select(func.count()).select_from(chosen.order_by(None).subquery())) or 0
    column, key = _sortable(columns[name]), columns["id"]
    if page.token:
        last, last_id = _last(page.token, page.sort_by)
        last = last if last is not None else (0 if columns[name].type.python_type is int else "")
        beyond = column < last if descending else column > last
        beyond_id = key < last_id if descending else key > last_id
        chosen = chosen.where(or_(beyond, and_(column == last, beyond_id)))
    order = (column.desc(), key.desc()) if descending else (column.asc(), key.asc())
    rows = list(session.scalars(chosen.order_by(*order).limit(page.size + 1)))
    token = ""
    if len(rows) > page.size:
        rows = rows[: page.size]
        token = _token(page.sort_by, getattr(rows[-1], columns[name].key), getattr(rows[-1], key.key))
    return rows, total, token


def _sorting(sort_by: str, columns: Columns) -> tuple[str, bool]:
    words = sort_by.split()
    name = words[0] if words else "created_at"
    direction = words[1].lower() if len(words) > 1 else "asc"
    if name not in columns or len(words) > 2 or direction not in ("asc", "desc"):
        known = ", ".join(sorted(columns))
        raise InvalidInput(f"sort_by {sort_by!r} must be one of {known}, perhaps followed by asc or desc")
    return name, direction == "desc"


def _sortable(column: InstrumentedAttribute[Any]) -> ColumnElement[Any]:
    """Sort what is absent before everything else, so that a page can begin after it."""
    if not column.expression.nullable:
        return column.expression
    return func.coalesce(column, 0 if column.type.python_type is int else "")


def _conditions(text: str, columns: Columns) -> list[ColumnElement[bool]]:
    if not text:
        return []
    try:
        filters = mapping(orjson.loads(text), "filter")
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"filter is not JSON: {error}") from error
    return [
        _condition(mapping(item, "predicate"), columns) for item in sequence(filters.get("predicates"), "predicates")
    ]


def _condition(predicate: dict[str, Any], columns: Columns) -> ColumnElement[bool]:
    key = required_text(predicate.get("key"), "filter: key")
    if key not in columns:
        raise InvalidInput(f"filter: key {key!r} must be one of {', '.join(sorted(columns))}")
    column, value = columns[key], _value(predicate)
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, column.type.python_type):
            raise InvalidInput(f"filter: {key} cannot be compared with {found(item)}")
    operation = predicate.get("operation")
    name = OPERATIONS.get(operation, "") if isinstance(operation, int) else str(operation)
    if isinstance(value, list) != (name == "IN"):
        raise InvalidInput(f"filter: operation {operation!r} does not take {found(value)}")
    if name == "IS_SUBSTRING":
        return func.lower(column).contains(str(value).lower(), autoescape=True)
    if name in _COMPARISONS:
        compared: ColumnElement[bool] = _COMPARISONS[name](column, value)
        return compared
    raise InvalidInput(f"filter: operation {operation!r} is unknown; expected one of {', '.join(OPERATIONS.values())}")


def _value(predicate: dict[str, Any]) -> Any:
    given = {_snake(key): value for key, value in predicate.items()}
    for name in _VALUES:
        if name in given:
            value = given[name]
            if name.endswith("_values"):
                return sequence(mapping(value, f"filter: {name}").get("values"), f"filter: {name}")
            if name == "timestamp_value":
                return _time_ms(value)
            if name == "string_value" and not isinstance(value, str):
                raise InvalidInput(f"filter: string_value must be a text, found {found(value)}")
            return int(value) if name in ("int_value", "long_value") and str(value).lstrip("-").isdigit() else value
    raise InvalidInput(f"filter: a predicate needs one of {', '.join(_VALUES)}")


def _time_ms(value: Any) -> int:
    try:
        return int(datetime.fromisoformat(str(value)).timestamp() * 1000)
    except ValueError as error:
        raise InvalidInput(f"filter: timestamp_value must be RFC 3339, found {value!r}") from error


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def _token(sort_by: str, last: Any, last_id: str) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([sort_by, last, last_id])).decode()


def _last(token: str, sort_by: str) -> tuple[Any, str]:
    try:
        sorted_by, last, last_id = orjson.loads(base64.urlsafe_b64decode(token))
    except (binascii.Error, ValueError, TypeError) as error:
        raise InvalidInput(f"page_token {token!r} was not given by this server") from error
    if sorted_by != sort_by or not isinstance(last, str | int | None) or not isinstance(last_id, str):
        raise InvalidInput("page_token belongs to a list that is sorted differently")
    return last, last_id
