"""Answers questions about the event log: what came, who got it, how often, what they answered.

`GET ?type=&source=&since=&limit=` lists, `&follow=true` keeps listing as JSON lines, `?id=ID` tells the whole story
of one event.
"""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web

from zeroflow.knative.local.eventing.cloudevent import to_json
from zeroflow.knative.local.eventing.errors import InvalidSpec, LogClosed
from zeroflow.knative.local.eventing.log import EventLog, record_of
from zeroflow.knative.local.eventing.schema import Stage, State

LIMIT_DEFAULT = 50
LIMIT_MAX = 1000
DATA_SHOWN_BYTES = 64 * 1024
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Query:
    """Which events are asked for. `type` and `source` may hold `*` as a wildcard."""

    type: str | None = None
    source: str | None = None
    since: float | None = None
    limit: int = LIMIT_DEFAULT

    @property
    def where(self) -> tuple[str, list[Any]]:
        """Return an SQL condition and its parameters."""
        terms, values = ["1"], []
        for column, wanted in (("type", self.type), ("source", self.source)):
            if wanted:
                terms.append(f"{column} GLOB ?" if "*" in wanted else f"{column} = ?")
                values.append(wanted.replace("[", "[[]").replace("?", "[?]") if "*" in wanted else wanted)
        if self.since is not None:
            terms.append("accepted >= ?")
            values.append(str(self.since))
        return " AND ".join(terms), [
            float(v) if t == "accepted >= ?" else v for t, v in zip(terms[1:], values, strict=True)
        ]


class History:
    """Reads the log for people and programs."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer GET."""
        if request.method not in {"GET", "HEAD"}:
            return _problem(
                405, f"{request.method} is not allowed here: GET the log, or POST ?id=ID to send an event again"
            )
        if event_id := request.query.get("id"):
            stories = await self.stories(event_id)
            return (
                _json({"events": stories}) if stories else _problem(404, f"the event log holds no event {event_id!r}")
            )
        try:
            query = parse_query(request.query)
        except InvalidSpec as error:
            return _problem(400, str(error))
        if request.query.get("follow", "").lower() in {"1", "true", "yes"}:
            return await self._follow(request, query)
        return _json({"events": await self.latest(query)})

    async def latest(self, query: Query) -> list[dict[str, Any]]:
        """Return the latest events that match, oldest first."""
        where, values = query.where
        sql = f"SELECT * FROM event WHERE {where} ORDER BY seq DESC LIMIT ?"  # noqa: S608 - terms are ours
        rows = await self._log.read(lambda connection: _listed(connection, sql, [*values, query.limit]))
        return rows[::-1]

    async def stories(self, event_id: str) -> list[dict[str, Any]]:
        """Return everything about the events with an id (or a number of the log)."""
        return await self._log.read(lambda connection: _stories(connection, event_id))

    async def _follow(self, request: web.Request, query: Query) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"})
        await response.prepare(request)
        seen = self._log.last_seq
        for line in await self.latest(query):
            if line["seq"] <= seen:
                await response.write(orjson.dumps(line) + b"\n")
        where, values = query.where
        sql = f"SELECT * FROM event WHERE {where} AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?"  # noqa: S608 - terms are ours
        try:
            while True:
                await self._log.arrived_after(seen)
                upto = self._log.last_seq
                while seen < upto:
                    span = [*values, seen, upto, LIMIT_MAX]
                    lines = await self._log.read(lambda connection: _listed(connection, sql, span))  # noqa: B023
                    for line in lines:
                        await response.write(orjson.dumps(line) + b"\n")
                    seen = lines[-1]["seq"] if len(lines) == LIMIT_MAX else upto
        except (LogClosed, ConnectionError):
            return response


def parse_query(given: Mapping[str, str]) -> Query:
    """Read the parameters of a list; raise InvalidSpec naming one that cannot be read."""
    try:
        limit = int(given.get("limit") or LIMIT_DEFAULT)
    except ValueError as error:
        raise InvalidSpec("limit", f"{given['limit']!r} is not a number") from error
    if not 0 <= limit <= LIMIT_MAX:
        raise InvalidSpec("limit", f"must be from 0 to {LIMIT_MAX}, not {limit}")
    return Query(given.get("type"), given.get("source"), _since(given.get("since")), limit)


def _since(text: str | None) -> float | None:
    if not text:
        return None
    now = datetime.now(UTC).timestamp()
    if text[-1] in _UNITS and text[:-1].replace(".", "", 1).isdigit():
        return now - float(text[:-1]) * _UNITS[text[-1]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidSpec("since", f"{text!r} is neither an age such as 10m nor an RFC 3339 time") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _listed(connection: sqlite3.Connection, sql: str, values: list[Any]) -> list[dict[str, Any]]:
    rows = connection.execute(sql, values).fetchall()
    return [{**_head(row), "deliveries": _tally(connection, row["seq"])} for row in rows]


def _head(row: sqlite3.Row) -> dict[str, Any]:
    attributes = orjson.loads(row["attributes"])
    return {
        "seq": row["seq"],
        "accepted": _moment(row["accepted"]),
        "namespace": row["namespace"],
        "broker": row["broker"] or None,
        "id": row["id"],
        "source": row["source"],
        "type": row["type"],
        "subject": attributes.get("subject"),
    }


def _tally(connection: sqlite3.Connection, seq: int) -> dict[str, int]:
    rows = connection.execute("SELECT state, count(*) FROM delivery WHERE event = ? GROUP BY state", (seq,))
    return {State(state).word: count for state, count in rows}


def _stories(connection: sqlite3.Connection, event_id: str) -> list[dict[str, Any]]:
    number = int(event_id) if event_id.isdecimal() and len(event_id) < 19 else -1
    rows = connection.execute(
        "SELECT *, seq AS event_seq, length(data) AS size FROM event WHERE id = ? OR seq = ?"
        " ORDER BY seq DESC LIMIT 20",
        (event_id, number),
    ).fetchall()
    return [
        {
            **_head(row),
            "event": _document(row),
            "cause": _cause(connection, row["cause"]),
            "deliveries": [_told(connection, each) for each in _deliveries(connection, row["seq"])],
        }
        for row in rows
    ]


def _document(row: sqlite3.Row) -> dict[str, Any]:
    record = record_of(row, DATA_SHOWN_BYTES)
    document: dict[str, Any] = orjson.loads(to_json(record.event))
    if record.on_disk:
        start = base64.b64encode(row["data"][: DATA_SHOWN_BYTES // 4 * 3]).decode()
        document |= {"data_base64": start, "data_truncated_from_bytes": row["size"]}
    return document


def _deliveries(connection: sqlite3.Connection, seq: int) -> list[sqlite3.Row]:
    return connection.execute("SELECT * FROM delivery WHERE event = ? ORDER BY seq", (seq,)).fetchall()


def _told(connection: sqlite3.Connection, delivery: sqlite3.Row) -> dict[str, Any]:
    kind, namespace, name, _ = delivery["subscription"].split("/", 3)
    attempts = connection.execute("SELECT * FROM attempt WHERE delivery = ? ORDER BY number", (delivery["seq"],))
    state = State(delivery["state"])
    return {
        "subscriber": f"{kind} {namespace}/{name}",
        "state": state.word,
        "next": Stage(delivery["stage"]).word if state is State.WAITING else None,
        "due": _moment(delivery["due"]) if state is State.WAITING else None,
        "finished": _moment(delivery["finished"]) if delivery["finished"] is not None else None,
        "why": delivery["error_data"] if state is State.DROPPED else None,
        "attempts": [
            {
                "number": attempt["number"],
                "to": attempt["destination"],
                "stage": Stage(attempt["stage"]).word,
                "started": _moment(attempt["started"]),
                "duration_s": round(attempt["duration_s"], 6),
                "status": attempt["status"],
                "error": attempt["error"],
                "reply": _brief(connection, attempt["reply"]),
            }
            for attempt in attempts
        ],
    }


def _cause(connection: sqlite3.Connection, delivery: int | None) -> dict[str, Any] | None:
    """Return the event whose delivery was answered with this one."""
    if delivery is None:
        return None
    row = connection.execute("SELECT event, subscription FROM delivery WHERE seq = ?", (delivery,)).fetchone()
    brief = _brief(connection, row["event"]) if row else None
    return {**brief, "replied_by": row["subscription"].rsplit("/", 1)[0]} if brief else None


def _brief(connection: sqlite3.Connection, seq: int | None) -> dict[str, Any] | None:
    row = connection.execute("SELECT seq, id, type, source FROM event WHERE seq = ?", (seq,)).fetchone()
    return dict(row) if row else None


def _moment(at: float) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (OverflowError, ValueError):
        return "never"


def _json(document: Any) -> web.Response:
    return web.Response(body=orjson.dumps(document), content_type="application/json")


def _problem(status: int, message: str) -> web.Response:
    return web.Response(status=status, body=orjson.dumps({"error": message}), content_type="application/json")
