"""Lists as KFP's API pages, filters and sorts them (filter.proto; page_token, page_size, sort_by).

A page begins after the last row of the one before (its sort value and id), so a list may grow while it is read; its
token carries order and filter, so that a client need not repeat them. Filters may name operations as the docs do
("EQUALS") or by number, as the Python client does, and may be URL-encoded, as the UI sends them.
"""

import base64
import binascii
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

import orjson
from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from zeroflow.errors import InvalidInput
from zeroflow.functions.pipeline.fields import found, mapping, required_text, sequence, snake

DEFAULT_PAGE, MAX_PAGE = 20, 200
MAX_PREDICATES = 50

OPERATIONS = {
    1: "EQUALS", 2: "NOT_EQUALS", 3: "GREATER_THAN", 5: "GREATER_THAN_EQUALS", 6: "LESS_THAN", 7: "LESS_THAN_EQUALS",
    8: "IN", 9: "IS_SUBSTRING",
}  # fmt: skip
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "EQUALS": operator.eq, "NOT_EQUALS": operator.ne, "GREATER_THAN": operator.gt, "GREATER_THAN_EQUALS": operator.ge,
    "LESS_THAN": operator.lt, "LESS_THAN_EQUALS": operator.le, "IN": lambda column, values: column.in_(values),
}  # fmt: skip
_SCALARS = ("int_value", "long_value", "string_value", "timestamp_value")
_LISTS = ("int_values", "long_values", "string_values")
_MAX_INTEGER = 2**63 - 1

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
        if not (size.isascii() and size.isdigit()) or len(size) > 9:
            raise InvalidInput(f"page_size must be a whole number, found {size[:60]!r}")
        return cls(
            min(int(size) or DEFAULT_PAGE, MAX_PAGE),
            args.get("page_token", ""),
            args.get("sort_by", ""),
            args.get("filter", ""),
        )


def page_of(session: Session, base: Select[Any], columns: Columns, page: Page) -> tuple[list[Any], int, str]:
    """Return one page of rows, how many there are in all, and the token of the next page."""
    start = _Start.read(page) if page.token else _Start(page.sort_by, page.filter)
    name, descending = _sorting(start.sort_by, columns)
    chosen = base.where(*_conditions(start.filter, columns))
    total = session.scalar(select(func.count()).select_from(chosen.order_by(None).subquery())) or 0
    column, key = _sortable(columns[name]), columns["id"]
    if page.token:
        numeric = columns[name].type.python_type is int
        last = start.last if start.last is not None else (0 if numeric else "")
        if not isinstance(last, int if numeric else str):
            raise InvalidInput(f"page_token {page.token!r} was not given by this server")
        beyond = column < last if descending else column > last
        beyond_id = key < start.last_id if descending else key > start.last_id
        chosen = chosen.where(or_(beyond, and_(column == last, beyond_id)))
    order = (column.desc(), key.desc()) if descending else (column.asc(), key.asc())
    rows = list(session.scalars(chosen.order_by(*order).limit(page.size + 1)))
    if len(rows) <= page.size:
        return rows, total, ""
    rows = rows[: page.size]
    end = _Start(start.sort_by, start.filter, getattr(rows[-1], columns[name].key), getattr(rows[-1], key.key))
    return rows, total, end.token()


@dataclass(frozen=True)
class _Start:
    """Where a page begins: after this value and id, in this order."""

    sort_by: str
    filter: str
    last: Any = None
    last_id: str = ""

    @classmethod
    def read(cls, page: Page) -> "_Start":
        """Read a token; what the request itself says of order and filter must be the same."""
        try:
            start = cls(*orjson.loads(base64.urlsafe_b64decode(page.token)))
        except (binascii.Error, ValueError, TypeError) as error:
            raise InvalidInput(f"page_token {page.token[:60]!r} was not given by this server") from error
        texts = all(isinstance(text, str) for text in (start.sort_by, start.filter, start.last_id))
        number = start.last if isinstance(start.last, int) else 0
        if not texts or not isinstance(start.last, str | int | None) or abs(number) > _MAX_INTEGER:
            raise InvalidInput(f"page_token {page.token[:60]!r} was not given by this server")
        if page.sort_by not in ("", start.sort_by):
            raise InvalidInput("page_token belongs to a list that is sorted differently")
        if page.filter not in ("", start.filter):
            raise InvalidInput("page_token belongs to a list with another filter")
        return start

    def token(self) -> str:
        """Write the token."""
        return base64.urlsafe_b64encode(orjson.dumps([self.sort_by, self.filter, self.last, self.last_id])).decode()


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
        filters = mapping(orjson.loads(text if text.lstrip().startswith("{") else unquote_plus(text)), "filter")
    except (orjson.JSONDecodeError, UnicodeEncodeError) as error:
        raise InvalidInput(f"filter is not JSON: {error}") from error
    predicates = sequence(filters.get("predicates"), "filter: predicates")
    if len(predicates) > MAX_PREDICATES:
        raise InvalidInput(f"filter: {len(predicates)} predicates are too many; at most {MAX_PREDICATES} are taken")
    return [_condition(mapping(item, "filter: predicate"), columns) for item in predicates]


def _condition(predicate: dict[str, Any], columns: Columns) -> ColumnElement[bool]:
    given = {snake(name): value for name, value in predicate.items()}
    key = required_text(given.get("key"), "filter: key")
    if key not in columns:
        raise InvalidInput(f"filter: key {key!r} must be one of {', '.join(sorted(columns))}")
    column, operation, value = columns[key], given.get("operation"), _value(given)
    for item in value if isinstance(value, list) else [value]:
        if type(item) is not column.type.python_type:
            raise InvalidInput(f"filter: {key} cannot be compared with {found(item)}")
    name = OPERATIONS.get(operation, "") if isinstance(operation, int) else str(operation)
    if name not in OPERATIONS.values():
        known = ", ".join(OPERATIONS.values())
        raise InvalidInput(f"filter: operation {operation!r} is unknown; expected one of {known}")
    if isinstance(value, list) != (name == "IN"):
        raise InvalidInput(f"filter: operation {operation!r} does not take {found(value)}")
    if name != "IS_SUBSTRING":
        compared: ColumnElement[bool] = _COMPARISONS[name](column, value)
        return compared
    if not isinstance(value, str):
        raise InvalidInput(f"filter: IS_SUBSTRING takes a string_value, found {found(value)}")
    return func.lower(column).contains(value.lower(), autoescape=True)


def _value(given: dict[str, Any]) -> Any:
    names = [name for name in (*_SCALARS, *_LISTS) if name in given]
    if len(names) != 1:
        raise InvalidInput(f"filter: a predicate needs one of {', '.join((*_SCALARS, *_LISTS))}; found {len(names)}")
    (name,) = names
    where = f"filter: {name}"
    if name in _LISTS:
        held = mapping(given[name], where).get("values")
        return [_scalar(name.removesuffix("s"), item, where) for item in sequence(held, where)]
    return _scalar(name, given[name], where)


def _scalar(name: str, value: Any, where: str) -> Any:
    if name == "timestamp_value":
        return _time_ms(value)
    if name == "string_value":
        if not isinstance(value, str):
            raise InvalidInput(f"{where} must be a text, found {found(value)}")
        return value
    try:  # int64 is a text in protobuf's JSON
        number = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else None
    except ValueError:
        number = None
    if number is None or abs(number) > _MAX_INTEGER:
        raise InvalidInput(f"{where} must be a whole number of 64 bits, found {found(value)}")
    return number


def _time_ms(value: Any) -> int:
    try:
        at = datetime.fromisoformat(str(value))
        return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"filter: timestamp_value must be RFC 3339, found {found(value)}") from error
