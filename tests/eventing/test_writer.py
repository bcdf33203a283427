"""What writes the event log: in order, all or nothing, and small things without a detour."""

import asyncio
import sqlite3
import threading

import pytest

from zeroflow.knative.local.eventing import writer
from zeroflow.knative.local.eventing.writer import Writer


@pytest.fixture
def connection(tmp_path):
    opened = sqlite3.connect(tmp_path / "log.sqlite", isolation_level=None, check_same_thread=False)
    opened.execute("PRAGMA journal_mode = WAL")
    opened.execute("CREATE TABLE note (text TEXT)")
    return opened


def note(text, at=None):
    """Return an operation that writes a line, and notes in `at` on which thread it ran."""

    def operation(connection):
        if at is not None:
            at.append(threading.current_thread().name)
        connection.execute("INSERT INTO note VALUES (?)", (text,))
        return text

    return operation


def test_what_is_quick_runs_at_once_unless_something_is_under_way(connection):
    async def scenario():
        made, at, told = Writer(connection), [], []
        assert await made.run(note("a", at), told.append, durable=False, quick=True) == "a"
        slow = asyncio.ensure_future(made.run(note("b", at), told.append))
        await asyncio.sleep(0)  # it has been handed over
        await made.run(note("c", at), told.append, durable=False, quick=True)
        await slow
        await made.run(note("d", at), told.append, durable=False)
        await made.close()
        return at, told

    at, told = asyncio.run(scenario())
    assert at == ["MainThread", "event-log", "event-log", "event-log"]
    assert told == ["a", "b", "c", "d"]


def test_what_fails_at_once_raises_and_leaves_nothing(connection, tmp_path):
    def fails(connection):
        connection.execute("INSERT INTO note VALUES ('half')")
        raise sqlite3.OperationalError("no")

    async def scenario():
        made = Writer(connection)
        with pytest.raises(sqlite3.OperationalError, match="no"):
            await made.run(fails, durable=False, quick=True)
        await made.run(note("after"), durable=False, quick=True)
        await made.close()

    asyncio.run(scenario())
    with sqlite3.connect(tmp_path / "log.sqlite") as reader:
        assert reader.execute("SELECT text FROM note").fetchall() == [("after",)]


def test_the_write_ahead_log_is_moved_by_the_thread_and_does_not_grow_for_ever(connection, tmp_path):
    async def scenario():
        made, at = Writer(connection), []
        for number in range(4 * writer.CHECKPOINT_AFTER):
            await made.run(note("x" * 4000 + str(number), at), durable=False, quick=True)
        size = (tmp_path / "log.sqlite-wal").stat().st_size
        await made.close()
        return at, size

    at, size = asyncio.run(scenario())
    assert 3 <= at.count("event-log") <= 4
    assert size < 3 * writer.CHECKPOINT_AFTER * 3 * 4096
