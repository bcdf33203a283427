"""A plain request's way to an instance and back.

While an instance is ready and a connection to it is kept, the request is written to the one connection and the answer
to the other as they come, by the connections' own events: no task, no timer. Whatever else there is to it - nothing
runs yet, limits between parts of an answer, an answer that comes in parts, an instance that breaks off - is a task's.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine
from typing import Any

from zeroflow.knative.local.serving.caller_plain import TOGETHER_S, PlainCaller
from zeroflow.knative.local.serving.exchange import Broken
from zeroflow.knative.local.serving.limits import TIMED_OUT
from zeroflow.knative.local.serving.pod import Pod
from zeroflow.knative.local.serving.pool import Pool
from zeroflow.knative.local.serving.upstream_http1 import Connection

logger = logging.getLogger(__name__)

BROKEN_OFF = "the pod closed the connection before it had answered"


class Passage:
    """One request that is being answered (`http1.connection.Answering`)."""

    def __init__(self, caller: PlainCaller) -> None:
        self._caller = caller
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self.due_s = math.inf

    def expire(self) -> None:
        raise AssertionError("a task has a clock of its own")

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def in_task(self, work: Coroutine[Any, Any, None]) -> None:
        """Let `work` answer."""
        self._task = self._loop.create_task(work)
        self._task.add_done_callback(self._worked)

    def _worked(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s %s", self._caller.head.method, self._caller.head.target, exc_info=error)
            self._caller.refuse_now(500, "internal error\n")
        self._caller.client.done(keep=self._caller.keep)


class DirectPassage(Passage):
    """One request at an instance that was taken for it; `again` answers it elsewhere when that one breaks off."""

    def __init__(
        self,
        caller: PlainCaller,
        pool: Pool,
        pod: Pod,
        connection: Connection,
        again: Callable[[Pod, float], Coroutine[Any, Any, None]] | None,
    ) -> None:
        super().__init__(caller)
        self._pool, self._pod, self._connection, self._again = pool, pod, connection, again
        self._patience: asyncio.TimerHandle | None = None
        self._held = True
        self.due_s = self._loop.time() + pool.limits.total_s

    def start(self, target: str) -> None:
        """Send the request."""
        self._connection.tell(self._caller.request(target), self._heard)

    def expire(self) -> None:
        """Answer 504; the function sees that nobody listens any more."""
        if self._task is not None:
            self._task.cancel()
        self._refuse(504, TIMED_OUT)

    def cancel(self) -> None:
        self._give_back(broken=True)
        super().cancel()

    def _heard(self) -> None:
        """Look at what has come from the instance, or that it has closed the connection."""
        connection = self._connection
        if connection.complete:
            self._caller.answer_whole(connection, connection.take())
            self._pod.answered = True
            self._give_back()
            self._caller.client.done(keep=self._caller.keep)
        elif not connection.open:
            self._break_off()
        elif connection.head_done and self._patience is None:
            self._pod.answered = True
            self._patience = self._loop.call_later(TOGETHER_S, self._stream)

    def _stream(self) -> None:
        """Pass the answer on in parts."""
        self._connection.listener = None
        self._task = self._loop.create_task(self._caller.answer(self._connection, 0.0))
        self._task.add_done_callback(self._streamed)

    def _streamed(self, task: asyncio.Task[None]) -> None:
        if not self._held:  # expired, or the client has gone
            return
        error = None if task.cancelled() else task.exception()
        if error is None:
            self._give_back()
            self._caller.client.done(keep=self._caller.keep)
        elif isinstance(error, Broken):
            self._refuse(502, str(error))
        else:
            if not isinstance(error, ConnectionError):
                logger.error("%s %s", self._caller.head.method, self._caller.head.target, exc_info=error)
            self._give_back(broken=True)
            self._caller.client.abort()

    def _break_off(self) -> None:
        if self._again is None or self._connection.head_done:
            self._refuse(502, BROKEN_OFF)
            return
        left_s = self.due_s - self._loop.time()
        self._give_back(broken=True)
        self.due_s = math.inf
        self.in_task(self._again(self._pod, left_s))

    def _refuse(self, status: int, text: str) -> None:
        self._give_back(broken=True)
        self._caller.refuse_now(status, text)
        self._caller.client.done(keep=self._caller.keep)

    def _give_back(self, *, broken: bool = False) -> None:
        """Give the instance back, and the connection to it."""
        if not self._held:
            return
        self._held = False
        if self._patience is not None:
            self._patience.cancel()
        self._connection.listener = None
        if broken:
            self._connection.abort()
        self._pod.connections.give(self._connection)
        self._pool.release(self._pod)
