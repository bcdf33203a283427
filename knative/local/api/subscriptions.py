"""Committed changes, delivered in order to whoever listens inside the process.

Guarantees: a subscription sees current objects first (as ADDED, unless told otherwise) and then each later change
exactly once, in commit order. Every subscriber gets copies of its own, unless it only reads. A bounded subscription
that falls behind ends with `Expired`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable

from zeroflow.knative.local.api.errors import Expired
from zeroflow.knative.local.api.objects import copy
from zeroflow.knative.local.api.state import Change


class Subscription:
    """An async iterator of changes; `close()` ends it."""

    def __init__(
        self,
        kinds: Iterable[str],
        replayed: Iterable[Change],
        on_close: Callable[[Subscription], None],
        limit: int | None = None,
        copies: bool = True,
    ) -> None:
        self.kinds = frozenset(kinds)
        self._pending: deque[Change] = deque(replayed)
        self._on_close = on_close
        self._limit = limit
        self._copies = copies
        self._overflowed = False
        self._closed = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def pending(self) -> int:
        """How many changes wait to be taken."""
        return len(self._pending)

    def push(self, change: Change) -> None:
        """Deliver one change (called by the store)."""
        if self._limit is not None and len(self._pending) >= self._limit:
            self._overflowed = True
            self._pending.clear()
        if not self._overflowed:
            self._pending.append(change)
        self._wake()

    def close(self) -> None:
        """Stop listening; an iteration in progress ends."""
        self._closed = True
        self._pending.clear()
        self._on_close(self)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Change:
        while not self._pending:
            if self._overflowed:
                raise Expired("the watcher fell too far behind: list again")
            if self._closed:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        change = self._pending.popleft()
        if not self._copies:
            return change
        return Change(change.type, change.kind, copy(change.object), copy(change.old) if change.old else None)

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class Following:
    """Hands the changes of a subscription to `handle`, one after the other: those since it was made, from `go` on."""

    def __init__(self, subscription: Subscription, handle: Callable[[Change], Awaitable[None]]) -> None:
        self._subscription, self._handle = subscription, handle
        self._task: asyncio.Task[None] | None = None

    def go(self) -> None:
        """Begin with what waits."""
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def close(self) -> None:
        """Listen no more, and end a change that is being handled."""
        self._subscription.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _follow(self) -> None:
        async for change in self._subscription:
            await self._handle(change)
