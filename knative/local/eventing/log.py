"""The durable event log: accept events, settle deliveries, page through what waits.

Guarantees: `accept` returns after its transaction is on disk; an event is stored together with its deliveries, and a
reply together with the completion of the delivery that it answers. `settle` does not wait for the disk: it survives a
kill, and what a loss of power takes of it is delivered again, from the last event that was accepted on. Nothing is held
in memory but what is in flight.
Leaves to others: whom an event goes to (`routes`), when (`dispatcher`), and answering questions (`history`).
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, TypeVar

import orjson

from zeroflow.knative.local.eventing.cloudevent import DataForm, Event
from zeroflow.knative.local.eventing.errors import LogClosed
from zeroflow.knative.local.eventing.schema import Stage, State, connect, prepare
from zeroflow.knative.local.eventing.writer import Writer

Result = TypeVar("Result")
logger = logging.getLogger(__name__)

CLOCK_STEP_S = 1.0  # less is the clock being kept right
ERROR_MAX_CHARS = 500
QUICK_BYTES = 64 * 1024
"""What a reply may hold to be stored without a thread of its own."""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event on its way into the log. `broker` is empty when a source sends straight to its sink."""

    namespace: str
    broker: str
    event: Event
    ttl: int
    headers: Mapping[str, str] = field(default_factory=dict)
    subscriptions: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """An event of the log. `on_disk`: its data was left there and is read when it is needed."""

    seq: int
    namespace: str
    broker: str
    event: Event
    ttl: int
    headers: Mapping[str, str]
    on_disk: bool = False


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one subscription."""

    seq: int
    subscription: str
    record: Record
    stage: Stage = Stage.SUBSCRIBER
    failures: int = 0
    """Failed attempts in this stage."""
    tries: int = 0
    """Attempts of all stages."""
    error: Mapping[str, str | int] = field(default_factory=dict)
    """The knativeerror extensions of an event that goes to a dead-letter sink."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try: what happened. `status` is None when no answer came."""

    destination: str
    started: float
    duration_s: float
    status: int | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one try makes of its delivery."""

    delivery: Delivery
    attempt: Attempt
    state: State
    stage: Stage
    due: float
    failures: int
    error: Mapping[str, str | int]
    reply: NewEvent | None = None


class EventLog:
    """db/broker.sqlite, opened by one process."""

    def __init__(self, path: Path, writer: Writer, inline_bytes: int) -> None:
        self._path, self._writer, self._inline_bytes = path, writer, inline_bytes
        self._readers = ThreadPoolExecutor(1, "event-log-reader")
        self._reading: sqlite3.Connection | None = None
        self._arrival = asyncio.Event()
        self._ending = False
        self.last_seq = 0
        self._clock_offset = time.time() - time.monotonic()
        self.on_deliveries: Callable[[list[Delivery]], None] = lambda deliveries: None
        """Told of the deliveries of every event right after its commit, in the order of commits."""

    @classmethod
    async def open(cls, path: Path, inline_bytes: int = 16 * 1024) -> Self:
        """Open or create the log; raise NewerLog when a newer version wrote it."""
        connection = await asyncio.to_thread(prepare, path)
        last = connection.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()[0]
        log = cls(path, Writer(connection), inline_bytes)
        log.last_seq = last
        await log._writer.run(_heed_clock_of_earlier_host)
        return log

    async def close(self) -> None:
        """Finish what was submitted and close the files."""
        await self._writer.close()
        if self._reading is not None:
            await asyncio.get_running_loop().run_in_executor(self._readers, self._reading.close)
            self._reading = None
        self._readers.shutdown(wait=False)

    async def write(self, operation: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run a repeatable operation in a durable transaction."""
        return await self._writer.run(operation)

    async def read(self, query: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run a query on the reader's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._query, query)

    async def accept(self, new: NewEvent, also: Callable[[sqlite3.Connection], None] | None = None) -> int:
        """Store an event and its deliveries and return its number; `also` is part of the same transaction."""

        def store(connection: sqlite3.Connection) -> tuple[int, list[int]]:
            if also is not None:
                also(connection)
            return _insert(connection, new, None)

        seq, _ = await self._writer.run(store, lambda stored: self._stored(new, stored))
        return seq

    async def settle(self, outcome: Outcome) -> None:
        """Store what became of a delivery, and its reply with the reply's own deliveries.

        A subscriber answers the same again when power was lost meanwhile; to wait for the disk here, once for each
        commit of a function, would save nothing but that.
        """

        def stored(result: tuple[int, list[int]] | None) -> None:
            if result is not None and outcome.reply is not None:
                self._stored(outcome.reply, result)

        quick = outcome.reply is None or len(outcome.reply.event.data or b"") <= QUICK_BYTES
        await self._writer.run(lambda connection: _settle(connection, outcome), stored, durable=False, quick=quick)

    async def waiting(self, subscription: str, limit: int) -> tuple[list[Delivery], float | None]:
        """Return deliveries that are due, oldest first, and when the next one after now is due."""
        await self._heed_clock()
        return await self.read(lambda connection: _waiting(connection, subscription, limit, self._inline_bytes))

    async def _heed_clock(self) -> None:
        """Let nothing wait longer because the clock was set back: what waits is due as much earlier."""
        offset = time.time() - time.monotonic()
        back_s, self._clock_offset = self._clock_offset - offset, offset
        if back_s > CLOCK_STEP_S:
            await self._writer.run(lambda connection: _bring_forward(connection, back_s))

    async def data(self, seq: int) -> bytes | None:
        """Return the data of one event."""

        def load(connection: sqlite3.Connection) -> bytes | None:
            row = connection.execute("SELECT data FROM event WHERE seq = ?", (seq,)).fetchone()
            return None if row is None else row["data"]

        return await self.read(load)

    async def subscriptions(self) -> set[str]:
        """Return the subscriptions that have deliveries waiting."""
        query = "SELECT DISTINCT subscription FROM delivery WHERE state = 0"
        return await self.read(lambda connection: {row[0] for row in connection.execute(query)})

    async def drop(self, subscription: str, why: str) -> int:
        """End what waits for a subscription that is gone; return how many deliveries that were."""
        sql = "UPDATE delivery SET state = ?, finished = ?, error_data = ? WHERE subscription = ? AND state = 0"
        now = time.time()
        return await self._writer.run(
            lambda connection: connection.execute(sql, (State.DROPPED, now, why, subscription)).rowcount
        )

    async def arrived_after(self, seq: int) -> None:
        """Wait until an event with a higher number is in the log."""
        while self.last_seq <= seq:
            if self._ending:
                raise LogClosed("the event log is closing")
            self._arrival.clear()
            await self._arrival.wait()

    def end_waiting(self) -> None:
        """Make everybody who waits for a later event stop, with LogClosed."""
        self._ending = True
        self._arrival.set()

    def _stored(self, new: NewEvent, stored: tuple[int, list[int]]) -> None:
        seq, numbers = stored
        self.last_seq = max(self.last_seq, seq)
        self._arrival.set()
        if numbers:
            self.on_deliveries(self._deliveries(new, seq, numbers))

    def _deliveries(self, new: NewEvent, seq: int, numbers: Iterable[int]) -> list[Delivery]:
        event, on_disk = new.event, False
        if event.data is not None and len(event.data) > self._inline_bytes:
            event, on_disk = replace(event, data=None), True
        record = Record(seq, new.namespace, new.broker, event, new.ttl, new.headers, on_disk)
        return [
            Delivery(number, subscription, record)
            for number, subscription in zip(numbers, new.subscriptions, strict=True)
        ]

    def _query(self, query: Callable[[sqlite3.Connection], Result]) -> Result:
        if self._reading is None:
            self._reading = connect(self._path, writing=False)
        return query(self._reading)


def _insert(connection: sqlite3.Connection, new: NewEvent, cause: int | None) -> tuple[int, list[int]]:
    event, now = new.event, time.time()
    row = connection.execute(
        "INSERT INTO event (accepted, namespace, broker, id, source, type, attributes, data, form, structured, ttl,"
        " headers, cause) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            now,
            new.namespace,
            new.broker,
            event.id,
            event.source,
            event.type,
            orjson.dumps(dict(event.attributes)).decode(),
            event.data,
            event.form,
            event.structured,
            new.ttl,
            orjson.dumps(dict(new.headers)).decode() if new.headers else "",
            cause,
        ),
    )
    seq = row.lastrowid
    assert seq is not None
    deliveries = []
    for subscription in new.subscriptions:
        row = connection.execute(
            "INSERT INTO delivery (event, subscription, state, stage, due) VALUES (?, ?, 0, 0, ?)",
            (seq, subscription, now),
        )
        assert row.lastrowid is not None
        deliveries.append(row.lastrowid)
    return seq, deliveries


def _settle(connection: sqlite3.Connection, outcome: Outcome) -> tuple[int, list[int]] | None:
    delivery, attempt = outcome.delivery, outcome.attempt
    row = connection.execute(
        "UPDATE delivery SET state = ?, stage = ?, due = ?, failures = ?, tries = ?, finished = ?,"
        " error_destination = ?, error_code = ?, error_data = ? WHERE seq = ? AND state = 0",
        (
            outcome.state,
            outcome.stage,
            outcome.due,
            outcome.failures,
            delivery.tries + 1,
            None if outcome.state is State.WAITING else time.time(),
            outcome.error.get("knativeerrordest"),
            outcome.error.get("knativeerrorcode"),
            outcome.error.get("knativeerrordata"),
            delivery.seq,
        ),
    )
    if row.rowcount == 0:  # dropped with its trigger while it was under way: its reply goes nowhere
        return None
    reply = None if outcome.reply is None else _insert(connection, outcome.reply, delivery.seq)
    connection.execute(
        "INSERT INTO attempt (delivery, number, stage, destination, started, duration_s, status, error, reply)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            delivery.seq,
            delivery.tries + 1,
            delivery.stage,
            attempt.destination,
            attempt.started,
            attempt.duration_s,
            attempt.status,
            attempt.error[:ERROR_MAX_CHARS] if attempt.error else None,
            None if reply is None else reply[0],
        ),
    )
    return reply


def _bring_forward(connection: sqlite3.Connection, seconds: float) -> None:
    logger.warning("the clock was set back by %.0f s: waiting deliveries are due as much earlier", seconds)
    connection.execute("UPDATE delivery SET due = due - ? WHERE state = 0", (seconds,))


def _heed_clock_of_earlier_host(connection: sqlite3.Connection) -> None:
    """The same for a clock that was set back while no host ran: the newest event tells what it showed."""
    row = connection.execute("SELECT accepted FROM event ORDER BY seq DESC LIMIT 1").fetchone()
    if row is not None and (back_s := row[0] - time.time()) > CLOCK_STEP_S:
        _bring_forward(connection, back_s)
        connection.execute("UPDATE event SET accepted = ? WHERE accepted > ?", (time.time(), time.time()))


def _waiting(
    connection: sqlite3.Connection, subscription: str, limit: int, inline_bytes: int
) -> tuple[list[Delivery], float | None]:
    now = time.time()
    rows = connection.execute(
        "SELECT d.seq AS delivery, d.subscription, d.stage, d.failures, d.tries, d.error_destination, d.error_code,"
        " d.error_data, e.*, e.seq AS event_seq, length(e.data) AS size FROM ("
        "SELECT * FROM delivery WHERE state = 0 AND subscription = ? AND due <= ? ORDER BY due, seq LIMIT ?"
        ") AS d JOIN event AS e ON e.seq = d.event ORDER BY d.due, d.seq",
        (subscription, now, limit),
    ).fetchall()
    following = connection.execute(
        "SELECT min(due) FROM delivery WHERE state = 0 AND subscription = ? AND due > ?", (subscription, now)
    ).fetchone()[0]
    return [_delivery(row, inline_bytes) for row in rows], following


def _delivery(row: sqlite3.Row, inline_bytes: int) -> Delivery:
    error: dict[str, str | int] = {}
    if row["error_code"] is not None:
        error = {
            "knativeerrordest": row["error_destination"],
            "knativeerrorcode": row["error_code"],
            "knativeerrordata": row["error_data"],
        }
    return Delivery(
        row["delivery"],
        row["subscription"],
        record_of(row, inline_bytes),
        Stage(row["stage"]),
        row["failures"],
        row["tries"],
        error,
    )


def record_of(row: sqlite3.Row, inline_bytes: int | None = None) -> Record:
    """Build a Record from a row of `event` with `event_seq` and `size`."""
    on_disk = inline_bytes is not None and row["size"] is not None and row["size"] > inline_bytes
    attributes: dict[str, Any] = orjson.loads(row["attributes"])
    event = Event(attributes, None if on_disk else row["data"], bool(row["structured"]), DataForm(row["form"]))
    headers: dict[str, str] = orjson.loads(row["headers"]) if row["headers"] else {}
    return Record(row["event_seq"], row["namespace"], row["broker"], event, row["ttl"], headers, on_disk)
