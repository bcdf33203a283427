"""Lists: what to show of which entities, in which order, page by page.

Pages are keyset pages: a token names the last entity of its page and the value that the order goes by, so that a page
costs the same wherever it starts and entities that come or go do not shift it. Tokens are deterministic: official
clients recognise the end of a list by the first page's token coming back.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select

from zeroflow.errors import InvalidInput
from zeroflow.functions.register import filter_sql, reading
from zeroflow.functions.register.documents import MAX_ID
from zeroflow.functions.register.entities import EntityType
from zeroflow.functions.register.reading import Shown

ORDERS = ("ID", "CREATE_TIME", "LAST_UPDATE_TIME")
DIRECTIONS = ("ASC", "DESC")


@dataclass(frozen=True)
class Listing:
    """Which part of a list a client wants. `page_size` 0: everything."""

    page_size: int = 0
    order_by: str = "ID"
    direction: str = "ASC"
    after: int | None = None
    """The last entity that the client has seen, by the value that the order goes by."""
    filter_query: str = ""
    name: str | None = None
    external_id: str | None = None

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> "Listing":
        """Read the query parameters that all lists share; raise InvalidInput naming the one at fault."""
        size = query.get("pageSize") or "0"
        if not (size.isascii() and size.isdigit() and len(size) <= 10 and int(size) <= MAX_ID):
            raise InvalidInput(f"pageSize must be a whole number from 0 to {MAX_ID}, got {size[:40]!r}")
        listing = cls(
            page_size=int(size),
            order_by=_choice(query, "orderBy", ORDERS),
            direction=_choice(query, "sortOrder", DIRECTIONS),
            filter_query=query.get("filterQuery", ""),
            name=query.get("name") or None,
            external_id=query.get("externalId") or None,
        )
        token = query.get("nextPageToken")
        return replace(listing, after=listing.read_token(token)) if token else listing

    def read_token(self, token: str) -> int:
        """Decode a token of this very order; raise InvalidInput for any other."""
        try:
            _id, order, direction, value = base64.b64decode(token, validate=True).decode("ascii").split(":")
            if (order, direction) != (self.order_by, self.direction):
                raise InvalidInput(
                    f"invalid nextPageToken: it belongs to a list ordered by {order[:20]} {direction[:4]}"
                )
            after = int(value)
        except (binascii.Error, ValueError):
            raise InvalidInput("invalid nextPageToken") from None
        if not 0 <= after < 2**63:
            raise InvalidInput("invalid nextPageToken")
        return after

    def token(self, row: Shown) -> str:
        """Encode the place after `row`."""
        value = row.updated_ms if self.order_by == "LAST_UPDATE_TIME" else row.id
        return base64.b64encode(f"{row.id}:{self.order_by}:{self.direction}:{value}".encode()).decode()


@dataclass(frozen=True)
class Page:
    """One page of a list. `next_token` is "" on the last one."""

    rows: Sequence[Shown]
    next_token: str


def page(
    connection: Connection,
    entities: tuple[EntityType, ...],
    listing: Listing,
    parent_id: int | None = None,
    conditions: tuple[ColumnElement[bool], ...] = (),
) -> Page:
    """Return the entities of this type (or the artifacts of all types) that the listing asks for.

    With a parent: its own only, and the listing's `name` and `external_id` count.
    """
    table: Any = entities[0].table
    wanted = reading.of(table).where(*conditions) if conditions else reading.of(table)
    if len(entities) == 1:
        wanted = wanted.where(table.kind == entities[0].kind)
    if parent_id is not None:
        wanted = wanted.where(table.parent_id == parent_id)
        if listing.name is not None:
            wanted = wanted.where(table.name == listing.name)
        if listing.external_id is not None:
            wanted = wanted.where(table.external_id == listing.external_id)
    if listing.filter_query.strip():
        wanted = wanted.where(filter_sql.condition(listing.filter_query, entities))
    rows = reading.rows(connection, _ordered(wanted, table, listing))
    if not listing.page_size or len(rows) <= listing.page_size:
        return Page(rows, "")
    rows = rows[: listing.page_size]
    return Page(rows, listing.token(rows[-1]))


def _ordered(wanted: Select[Any], table: Any, listing: Listing) -> Select[Any]:
    """Order and cut. No two entities share a write time, and ids have the order of creation: one column orders each."""
    ascending = listing.direction == "ASC"
    column = table.updated_ms if listing.order_by == "LAST_UPDATE_TIME" else table.id
    if listing.after is not None:
        wanted = wanted.where(column > listing.after if ascending else column < listing.after)
    wanted = wanted.order_by(column if ascending else column.desc())
    return wanted.limit(listing.page_size + 1) if listing.page_size else wanted


def _choice(query: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = query.get(name) or choices[0]
    if value not in choices:
        raise InvalidInput(f"{name} must be one of {', '.join(choices)}, got {value[:40]!r}")
    return value
