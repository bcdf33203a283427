"""What writes the event log: many callers, one transaction; a thread for what waits for the disk.

Guarantees: an awaited operation has been committed, durably unless it asked for less, or has raised and left nothing;
operations take effect in the order in which they were submitted, and what a power loss takes is the newest of those
that asked for less. While one commit waits for the disk, the operations that come in form the next (group commit), so
durable throughput grows with load. An operation that does not wait for the disk, when no other is under way, is run at
once: to hand it to the thread and back takes longer than it does. Operations must be repeatable: when one of a group
fails, each is run again alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from zeroflow.knative.local.eventing.errors import LogClosed

Result = TypeVar("Result")
Operation = Callable[[sqlite3.Connection], Any]
Callback = Callable[[Any], None]
_Pending = tuple[Operation, "asyncio.Future[Any]", Callback | None, bool]

GROUP_MAX = 256
CHECKPOINT_AFTER = 256
"""Operations after which the thread moves the write-ahead log into the database, which waits for the disk."""


class Writer:
    """Runs operations on the connection, grouped into transactions; belongs to the event loop it is started in."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._queue: queue.SimpleQueue[_Pending | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="event-log", daemon=True)
        self._thread.start()
        self._closed = False
        self._synced = True
        self._under_way = 0
        self._since_checkpoint = 0
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # it would hold up whoever commits next

    async def run(
        self,
        operation: Callable[[sqlite3.Connection], Result],
        then: Callable[[Result], None] | None = None,
        *,
        durable: bool = True,
        quick: bool = False,
    ) -> Result:
        """Run the operation and return its result once it is on disk.

        One that need not be `durable` outlives this process, and a loss of power from the next one on that is; if it is
        `quick`, it may be run on the loop's thread. The operation happens even when its caller goes away meanwhile;
        `then` is called on the loop with its result in either case, in the order of the commits.
        """
        if self._closed:
            raise LogClosed("the event log is closed: the host is shutting down")
        future: asyncio.Future[Result] = self._loop.create_future()
        pending: _Pending = (operation, future, then, durable)
        self._under_way += 1
        if durable or not quick or self._under_way > 1 or self._since_checkpoint >= CHECKPOINT_AFTER:
            self._queue.put(pending)
        else:
            self._resolve([pending], self._commit([pending]))
        return await asyncio.shield(future)

    async def close(self) -> None:
        """Finish what was submitted, then close the connection."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            await self._loop.run_in_executor(None, self._thread.join)

    def _work(self) -> None:
        open_for_work = True
        while open_for_work:
            group = [self._queue.get()]
            while len(group) < GROUP_MAX:
                try:
                    group.append(self._queue.get_nowait())
                except queue.Empty:
                    break
            pending = [item for item in group if item is not None]
            open_for_work = len(pending) == len(group)
            if pending:
                outcomes = self._commit(pending)
                if self._since_checkpoint >= CHECKPOINT_AFTER:
                    self._checkpoint()
                with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
                    self._loop.call_soon_threadsafe(self._resolve, pending, outcomes)
        self._connection.close()

    def _commit(self, pending: list[_Pending]) -> list[Any]:
        try:
            return self._transaction(pending)
        except Exception as error:
            if len(pending) == 1:
                return [error]
        return [self._commit([each])[0] for each in pending]

    def _transaction(self, pending: list[_Pending]) -> list[Any]:
        synced = any(durable for *_, durable in pending)
        if synced != self._synced:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
            self._synced = synced
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            results = [operation(self._connection) for operation, *_ in pending]
            self._connection.execute("COMMIT")
            self._since_checkpoint += len(pending)
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return results

    def _checkpoint(self) -> None:
        with contextlib.suppress(sqlite3.OperationalError):  # a full disk: what is in the log is safe there
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        self._since_checkpoint = 0

    def _resolve(self, pending: list[_Pending], outcomes: list[Any]) -> None:
        self._under_way -= len(pending)
        for (_, future, then, _), outcome in zip(pending, outcomes, strict=True):
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
                continue
            if then is not None:
                then(outcome)
            future.set_result(outcome)
