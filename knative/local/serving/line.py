"""The line of requests that wait for an instance of a revision: first come, first served, and a bounded length.

Who leaves (its client has gone, its time is up) leaves the line at once; an instance that was given to it in that very
moment goes back. Source: Knative activator, pending requests.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from zeroflow.errors import Unavailable, ZeroflowError
from zeroflow.knative.local.serving.pod import Pod

QUEUE_LENGTH = 10_000
QUEUE_PER_PLACE = 10
"""How many wait beside an instance for each place in it, where no activator holds them back."""


class QueueFull(Unavailable):
    """As many requests wait for this revision as may."""

    def __init__(self) -> None:
        super().__init__("pending request queue full")


class Line:
    """Those who wait. `give_back` gets an instance that its receiver no longer wants."""

    def __init__(self, give_back: Callable[[Pod], None]) -> None:
        self._give_back = give_back
        self._waiting: deque[asyncio.Future[Pod]] = deque()
        self.length = 0
        """How many wait, also those whose instance is on its way to them."""

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def join(self, most: int = QUEUE_LENGTH) -> asyncio.Future[Pod]:
        """Stand at the end; raise QueueFull when as many as may do so already."""
        if self.length >= most:
            raise QueueFull
        waiter: asyncio.Future[Pod] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self.length += 1
        return waiter

    async def wait(self, waiter: asyncio.Future[Pod], timeout_s: float, left: Callable[[], None]) -> Pod:
        """Return the instance; raise TimeoutError or what those who wait are refused with, and call `left` then."""
        try:
            async with asyncio.timeout(timeout_s):
                return await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._give_back(waiter.result())
            else:
                left()
                if waiter in self._waiting:
                    self._waiting.remove(waiter)
            raise
        finally:
            self.length -= 1

    def serve(self, free: Callable[[], Pod | None]) -> None:
        """Give instances to those in front for as long as there are any."""
        while self._waiting:
            pod = free()
            if pod is None:
                return
            waiter = self._waiting.popleft()
            if not waiter.done():
                pod.in_flight += 1
                waiter.set_result(pod)

    def refuse(self, error: ZeroflowError) -> None:
        """Send everybody away."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(error)
