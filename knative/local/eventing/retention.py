"""Keeps the event log from growing without end.

Guarantees: an event with a delivery that still waits is never removed; pruning happens only after a quiet time, in
short transactions, and not at all while nothing was accepted since the last time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Sequence

from zeroflow.knative.local.eventing.errors import LogClosed
from zeroflow.knative.local.eventing.log import EventLog
from zeroflow.knative.local.eventing.settings import EventingSettings

logger = logging.getLogger(__name__)
PAGE = 500


class Retention:
    """Prunes in the background."""

    def __init__(self, log: EventLog, settings: EventingSettings) -> None:
        self._log, self._settings = log, settings
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Prune once the start is over, then after each busy time."""
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _work(self) -> None:
        with contextlib.suppress(LogClosed):
            while True:
                seen = -1
                while seen != self._log.last_seq:
                    seen = self._log.last_seq
                    await asyncio.sleep(self._settings.prune_after_idle_s)
                try:
                    removed = await prune(self._log, self._settings)
                    if removed:
                        logger.info("event log pruned: events=%d", removed)
                except sqlite3.Error:
                    logger.exception("event log not pruned")
                await self._log.arrived_after(seen)


async def prune(log: EventLog, settings: EventingSettings) -> int:
    """Remove finished events that are too old or too many; return how many."""
    oldest = time.time() - settings.retention_days * 86400
    total = await log.read(lambda connection: connection.execute("SELECT count(*) FROM event").fetchone()[0])
    surplus, removed, cursor = max(0, total - settings.retention_events), 0, 0
    while True:
        after = cursor
        page = await log.read(lambda connection: _page(connection, after))  # noqa: B023 - awaited before it changes
        expired = [row for index, row in enumerate(page) if row["accepted"] < oldest or removed + index < surplus]
        finished = [row["seq"] for row in expired if not row["waiting"]]
        if finished:
            await log.write(lambda connection: _remove(connection, finished))  # noqa: B023 - awaited before it changes
            removed += len(finished)
        if len(expired) < PAGE:
            return removed
        cursor = page[-1]["seq"]


def _page(connection: sqlite3.Connection, after: int) -> list[sqlite3.Row]:
    return connection.execute(
        "SELECT seq, accepted, EXISTS (SELECT 1 FROM delivery WHERE event = event.seq AND state = 0) AS waiting"
        " FROM event WHERE seq > ? ORDER BY seq LIMIT ?",
        (after, PAGE),
    ).fetchall()


def _remove(connection: sqlite3.Connection, seqs: Sequence[int]) -> None:
    numbers = [(seq,) for seq in seqs]
    connection.executemany("DELETE FROM attempt WHERE delivery IN (SELECT seq FROM delivery WHERE event = ?)", numbers)
    connection.executemany("DELETE FROM delivery WHERE event = ?", numbers)
    connection.executemany("DELETE FROM event WHERE seq = ?", numbers)
