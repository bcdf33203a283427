"""The instances of a revision that exist: which is free, which are on their way out, what goes on with them.

An instance that is drained gets no further request and is stopped when its last one is over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from zeroflow.knative.local.serving.pod import Pod

logger = logging.getLogger(__name__)


class Fleet:
    """The instances and the tasks that look after them; `changed` is called when one begins to stop."""

    def __init__(self, revision: str, changed: Callable[[], None]) -> None:
        self._revision, self._changed = revision, changed
        self._tasks: set[asyncio.Task[None]] = set()
        self.pods: list[Pod] = []
        """Also those that are starting or draining."""

    @property
    def current(self) -> list[Pod]:
        """Those that are not on their way out."""
        return [pod for pod in self.pods if not pod.draining]

    @property
    def ready(self) -> int:
        """How many take requests."""
        return sum(pod.ready and not pod.draining for pod in self.pods)

    @property
    def starting(self) -> int:
        return sum(not pod.ready and not pod.draining for pod in self.pods)

    @property
    def at_rest(self) -> bool:
        """Whether none exists and nothing goes on."""
        return not self.pods and not self._tasks

    def free(self, limit: int) -> Pod | None:
        """Return the instance with the fewest requests that takes one more; at most `limit` (0: any number) each."""
        best: Pod | None = None
        for pod in self.pods:
            if pod.ready and not pod.draining and (best is None or pod.in_flight < best.in_flight):
                best = pod
        return None if best is not None and limit and best.in_flight >= limit else best

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Let `work` go on by itself."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def drain(self, pod: Pod) -> None:
        """Give it no further request and stop it after its last one."""
        if not pod.draining:
            pod.draining = True
            self.rest(pod)

    def rest(self, pod: Pod) -> None:
        """Note that a request is over: a draining instance without one is stopped."""
        if pod.draining and pod.in_flight == 0:
            self.run(self._stop(pod))

    async def end(self, grace_s: float) -> None:
        """Stop all; requests in progress have `grace_s` to end."""
        for pod in self.pods:
            self.drain(pod)
        if self._tasks and grace_s:
            await asyncio.wait(self._tasks, timeout=grace_s)
        for pod in self.pods:
            pod.kill()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _stop(self, pod: Pod) -> None:
        pod.record.remove()
        self._changed()
        await pod.stop()  # whoever waits for its end forgets it

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("revision %s: an instance was lost", self._revision, exc_info=error)
