"""Hands waiting deliveries to their subscribers: one independent queue per subscription.

Guarantees: every delivery in the log is tried until it is settled, after a restart too; at most `in_flight` of a
subscription are under way, and memory holds at most a window of its queue (the rest stays on disk); a slow or dead
subscriber delays no other. A delivery that is under way is never handed out a second time by the same process.
Nothing runs while nothing is due.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from zeroflow.knative.local.eventing.delivery import DeliveryPolicy
from zeroflow.knative.local.eventing.destinations import Destination
from zeroflow.knative.local.eventing.log import Delivery, EventLog
from zeroflow.knative.local.eventing.settings import EventingSettings

logger = logging.getLogger(__name__)
LONGEST_TIMER_S = 3600.0
STORAGE_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Subscriber:
    """Whom a subscription delivers to, and how.

    `replies`: an answer may carry an event, for the broker, or for `reply_to` where there is one; `strict`: other bytes
    in an answer are a fault; `parallelism`: deliveries under way at once, when it is not the host's default.
    """

    destination: Destination
    policy: DeliveryPolicy
    namespace: str
    dead_letter: Destination | None = None
    replies: bool = True
    reply_to: Destination | None = None
    strict: bool = True
    parallelism: int | None = None


class Deliver(Protocol):
    """Make one attempt and settle it; return when a retry is due, None when there is nothing more to do."""

    async def __call__(self, delivery: Delivery, subscriber: Subscriber) -> float | None: ...


class Dispatcher:
    """All queues; a subscription without a subscriber (it is not resolved yet) waits."""

    def __init__(self, log: EventLog, deliver: Deliver, settings: EventingSettings) -> None:
        self._log, self._deliver, self._settings = log, deliver, settings
        self._queues: dict[str, _Queue] = {}
        self._closed = False
        log.on_deliveries = self.offer

    def subscribe(self, subscription: str, subscriber: Subscriber | None) -> None:
        """Deliver to this subscriber from now on, starting with what waits on disk; None pauses."""
        queue = self._queues.get(subscription)
        if queue is None:
            queue = self._queues[subscription] = _Queue(subscription, self._log, self._deliver, self._settings)
        queue.subscriber = subscriber
        queue.pump()

    def unsubscribe(self, subscription: str) -> None:
        """Forget a subscription; what waits for it stays in the log until it is dropped there."""
        queue = self._queues.pop(subscription, None)
        if queue is not None:
            queue.close()

    def offer(self, deliveries: list[Delivery]) -> None:
        """Take deliveries that were just committed."""
        for delivery in deliveries:
            queue = self._queues.get(delivery.subscription)
            if queue is not None:
                queue.offer(delivery)

    @property
    def subscriptions(self) -> set[str]:
        """The subscriptions that exist."""
        return set(self._queues)

    @property
    def under_way(self) -> int:
        """How many attempts run now."""
        return sum(len(queue.tasks) for queue in self._queues.values())

    async def close(self, grace_s: float = 0.0) -> None:
        """Start nothing more, give attempts under way some time, then leave them for the next start."""
        queues = list(self._queues.values())
        for queue in queues:
            queue.stop()
        tasks = [task for queue in queues for task in queue.tasks]
        if tasks and grace_s > 0:
            await asyncio.wait(tasks, timeout=grace_s)
        for queue in queues:
            queue.close()
        tasks = [task for queue in queues for task in (*queue.tasks, *queue.reads)]
        if tasks:
            await asyncio.wait(tasks)


class _Queue:
    """One subscription. `behind`: the log may hold due deliveries that are not in `ready`."""

    def __init__(self, subscription: str, log: EventLog, deliver: Deliver, settings: EventingSettings) -> None:
        self._subscription, self._log, self._deliver, self._settings = subscription, log, deliver, settings
        self.subscriber: Subscriber | None = None
        self.tasks: dict[asyncio.Task[None], int] = {}
        self.reads: set[asyncio.Task[None]] = set()
        self._ready: deque[Delivery] = deque()
        self._behind = True
        self._settled_while_reading: set[int] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    def offer(self, delivery: Delivery) -> None:
        if self._behind or self.reads or len(self._ready) >= self._settings.window:
            self._behind = True  # it is on disk and will be read in its turn
        else:
            self._ready.append(delivery)
        self.pump()

    def pump(self) -> None:
        """Start what may start; read the next page when memory runs low."""
        if self._stopped or self.subscriber is None:
            return
        limit = self.subscriber.parallelism or self._settings.in_flight
        while self._ready and len(self.tasks) < limit:
            delivery = self._ready.popleft()
            task = asyncio.get_running_loop().create_task(self._attempt(delivery, self.subscriber))
            self.tasks[task] = delivery.seq
            task.add_done_callback(self._attempted)
        if self._behind and not self.reads and len(self._ready) <= self._settings.window // 2:
            self._start_reading()

    def stop(self) -> None:
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def close(self) -> None:
        self.stop()
        self._ready.clear()
        for task in (*self.tasks, *self.reads):
            task.cancel()

    async def _attempt(self, delivery: Delivery, subscriber: Subscriber) -> None:
        try:
            due = await self._deliver(delivery, subscriber)
        except asyncio.CancelledError:
            raise
        except Exception:
            # What became of the delivery could not be written (a full disk): it still waits in the log.
            logger.exception("delivery could not be settled: subscription=%s", self._subscription)
            due = time.time() + STORAGE_PAUSE_S
        if due is not None:
            self._wake_at(due)

    def _attempted(self, task: asyncio.Task[None]) -> None:
        seq = self.tasks.pop(task)
        if self.reads:
            self._settled_while_reading.add(seq)
        self.pump()

    def _start_reading(self) -> None:
        self._behind = False
        self._settled_while_reading.clear()
        task = asyncio.get_running_loop().create_task(self._read())
        self.reads.add(task)
        task.add_done_callback(self._have_read)

    async def _read(self) -> None:
        held = len(self._ready) + len(self.tasks)
        limit = self._settings.window + held
        try:
            page, following = await self._log.waiting(self._subscription, limit)
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.exception("the event log could not be read: subscription=%s", self._subscription)
            self._wake_at(time.time() + STORAGE_PAUSE_S)
            return
        # A row may have been read before it was settled: what was or is in hands is not taken again.
        known = {delivery.seq for delivery in self._ready}.union(self.tasks.values(), self._settled_while_reading)
        self._ready.extend(delivery for delivery in page if delivery.seq not in known)
        # One that was left out as settled may have failed before it was read, and be due again.
        if len(page) == limit or any(delivery.seq in self._settled_while_reading for delivery in page):
            self._behind = True
        if following is not None:
            self._wake_at(following)

    def _have_read(self, task: asyncio.Task[None]) -> None:
        self.reads.discard(task)
        self.pump()

    def _wake_at(self, due: float) -> None:
        if self._stopped:
            return
        loop = asyncio.get_running_loop()
        at = loop.time() + min(max(due - time.time(), 0.0), LONGEST_TIMER_S)
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = loop.call_at(at, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._behind = True
        self.pump()
