"""The instances of one revision: who gets the next request, how many there are, what happens when one dies.

A request asks for an instance with `acquire` and gives it back with `release`. While none is ready the request waits,
at most `QUEUE_LENGTH` of them; while there is nothing to do nothing is scheduled. An instance that is no longer
wanted gets no further request and is stopped when its last one is over. One that dies is forgotten at once and
replaced when it is needed; after repeated deaths only after a growing delay, and those who wait are told. Source:
Knative activator and autoscaler behaviour.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zeroflow.errors import Unavailable, ZeroflowError
from zeroflow.knative.local.processes.container import NotRunnable
from zeroflow.knative.local.processes.pods import PodContext, log_tail, prune_logs
from zeroflow.knative.local.serving.pod import ContainerFailed, Pod
from zeroflow.knative.local.serving.scaling import Demand, ScaleSettings, bounded, progress_deadline_s

Object = dict[str, Any]
logger = logging.getLogger(__name__)

QUEUE_LENGTH = 10_000
_CLOCK_S = 0.001  # timers may fire this much early
TOLD_AFTER = 3  # failures in a row after which requests are refused instead of kept waiting


class QueueFull(Unavailable):
    """As many requests wait for this revision as may."""

    def __init__(self) -> None:
        super().__init__("pending request queue full")


class NoInstance(Unavailable):
    """The revision cannot be started now; the message says why."""


@dataclass(frozen=True)
class Pace:
    """The times of a pool; shorter in tests."""

    tick_s: float = 2.0
    backoff_s: float = 1.0
    backoff_max_s: float = 60.0
    progress_deadline_s: float = 600.0
    steady_s: float = 10.0  # an instance that lived this long did not die of its start


@dataclass(frozen=True)
class Failure:
    """Why the last instance ended by itself."""

    reason: str
    message: str
    permanent: bool = False


class Pool:
    """All instances of one revision."""

    def __init__(
        self,
        context: PodContext,
        revision: Object,
        settings: ScaleSettings,
        pace: Pace,
        changed: Callable[[], None],
        *,
        proven: bool,
    ) -> None:
        self.revision = revision
        self.settings = settings
        self.proven = proven  # an instance has been ready once
        self.failure: Failure | None = None
        self.desired = 0
        self._reachable = True
        self._deploying = False  # it is the newest revision and has to show that it works
        self._context, self._pace, self._changed = context, pace, changed
        annotations = revision["metadata"].get("annotations") or {}
        self._deadline_s = progress_deadline_s(annotations, pace.progress_deadline_s)
        self._loop = asyncio.get_running_loop()
        self._pods: list[Pod] = []
        self._waiting: deque[asyncio.Future[Pod]] = deque()
        self._queued = 0
        self._in_flight = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._demand = Demand(settings, pace.tick_s)
        self._timer: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._failures = 0
        self._blocked_until_s = 0.0
        self._integral = 0.0
        self._measured_s = self._ticked_s = self._busy_s = self._created_s = self._loop.time()
        self._ended_logs: list[Path] = []
        self._closed = False

    # what the reconciler asks

    @property
    def name(self) -> str:
        return str(self.revision["metadata"]["name"])

    @property
    def ready(self) -> int:
        """How many instances take requests."""
        return sum(pod.ready and not pod.draining for pod in self._pods)

    @property
    def starting(self) -> int:
        return sum(not pod.ready and not pod.draining for pod in self._pods)

    @property
    def crash_looping(self) -> bool:
        """Whether instances end by themselves again and again."""
        return self.failure is not None and (self.failure.permanent or self._failures > 1 or not self.proven)

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return not self._pods and not self._queued and not self._tasks

    @property
    def pods(self) -> list[Pod]:
        """The instances, also those that are starting or draining."""
        return list(self._pods)

    def deploy(self) -> None:
        """Start the first instances of a new revision, to see that it works."""
        self._deploying = True
        if not self.proven and not self._pods and self.failure is None:
            self.scale_to(max(self.settings.initial_scale, self.settings.min_scale))

    def retire(self) -> None:
        """Stop trying: there is a newer revision."""
        if self._deploying and not self.proven:
            if self._retry is not None:
                self._retry.cancel()
                self._retry = None
            self.scale_to(0)
        self._deploying = False

    def set_reachable(self, reachable: bool) -> None:
        """Say whether traffic leads here; min-scale counts only then."""
        if self._reachable and not reachable:  # what min-scale has kept may go after the window
            self._busy_s = self._loop.time()
        self._reachable = reachable
        if reachable and self.proven and self.settings.min_scale > self.ready + self.starting and self._retry is None:
            self.scale_to(self.settings.min_scale)
        self._schedule()

    # what the activator asks

    def acquire_now(self) -> Pod | None:
        """Return an instance that takes one more request, None when the request has to wait for one."""
        pod = self._free()
        if pod is None or self._waiting:
            return None
        self._measure()
        pod.in_flight += 1
        self._in_flight += 1
        if self._timer is None:
            self._schedule()
        return pod

    async def acquire(self, timeout_s: float) -> Pod:
        """Wait for an instance that takes one more request; raise QueueFull, NoInstance, or TimeoutError."""
        if self._queued >= QUEUE_LENGTH:
            raise QueueFull
        if self._closed:
            raise NoInstance(f"revision {self.name} is being deleted")
        if not self.ready and self._hopeless():
            raise NoInstance(self._why())
        self._measure()
        waiter: asyncio.Future[Pod] = self._loop.create_future()
        self._waiting.append(waiter)
        self._queued += 1
        self._want_more()
        try:
            async with asyncio.timeout(timeout_s):
                return await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.release(waiter.result())
            raise
        finally:
            self._measure()
            self._queued -= 1
            self._busy_s = self._loop.time()

    def release(self, pod: Pod) -> None:
        """Give an instance back after a request."""
        self._measure()
        pod.in_flight -= 1
        self._in_flight -= 1
        self._busy_s = self._loop.time()
        if pod.draining:
            if pod.in_flight == 0:
                self._spawn(self._stop(pod))
        elif self._waiting:
            self._dispatch()

    def found_dead(self, pod: Pod) -> None:
        """Take an instance out at once because it does not accept connections; its process is ended."""
        if pod in self._pods and pod.ready:
            pod.kill()

    # scaling

    def scale_to(self, wanted: int) -> None:
        """Start or drain instances until there are `wanted`."""
        self.desired = wanted
        current = [pod for pod in self._pods if not pod.draining]
        if wanted > len(current) and not self._closed:
            room = max(1, (os.cpu_count() or 1) * 2) - self.starting  # more at a time only slow each other down
            for _ in range(min(wanted - len(current), room)):
                self._spawn(self._run(self._add()))
        for pod in sorted(current, key=lambda pod: (pod.ready, pod.in_flight))[: max(0, len(current) - wanted)]:
            self._drain(pod)
        self._schedule()

    def remove_pod(self, name: str) -> None:
        """Drain the instance whose Pod object a user has deleted; the scale decides whether there is another."""
        for pod in self._pods:
            if pod.name == name and not pod.record.removed:
                self._drain(pod)
                if self.settings.min_scale and self._reachable:
                    self.scale_to(max(self.desired, self.settings.min_scale))

    async def close(self, grace_s: float = 0.0) -> None:
        """Stop everything; requests in progress have `grace_s` to end."""
        self._closed = True
        for handle in (self._timer, self._retry):
            if handle is not None:
                handle.cancel()
        self._timer = self._retry = None
        self._refuse(NoInstance(f"revision {self.name} is being stopped"))
        for pod in self._pods:
            self._drain(pod)
        if self._tasks and grace_s:
            await asyncio.wait(self._tasks, timeout=grace_s)
        for pod in self._pods:
            pod.kill()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _free(self) -> Pod | None:
        """Return the instance with the fewest requests that takes one more."""
        best: Pod | None = None
        for pod in self._pods:
            if pod.ready and not pod.draining and (best is None or pod.in_flight < best.in_flight):
                best = pod
        limit = self.settings.hard_limit
        return None if best is not None and limit and best.in_flight >= limit else best

    def _dispatch(self) -> None:
        while self._waiting:
            pod = self._free()
            if pod is None:
                return
            waiter = self._waiting.popleft()
            if not waiter.done():
                pod.in_flight += 1
                self._in_flight += 1
                waiter.set_result(pod)

    def _refuse(self, error: ZeroflowError) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(error)

    def _want_more(self) -> None:
        """Start what those who wait need now, without waiting for the next tick."""
        if self._loop.time() < self._blocked_until_s:
            self._retry_later()
            return
        present = self.ready + self.starting
        wanted = math.ceil((self._in_flight + self._queued) / self.settings.target) if self.settings.hard_limit else 1
        wanted = bounded(self.settings, max(1, wanted, self.settings.activation_scale if not present else 1))
        if wanted > present:
            self.scale_to(wanted)

    def _measure(self) -> None:
        now_s = self._loop.time()
        self._integral += (self._in_flight + self._queued) * (now_s - self._measured_s)
        self._measured_s = now_s

    def _schedule(self) -> None:
        """Arrange for the next decision; none when all is at rest until the next request."""
        if self._timer is not None or self._closed or not (self._pods or self._waiting):
            return
        now_s = self._loop.time()
        next_s = now_s + self._pace.tick_s
        if not (self._in_flight or self._queued or self.starting):
            if now_s + _CLOCK_S >= self._zero_s():
                return
            next_s = min(next_s, self._zero_s())
        self._timer = self._loop.call_at(next_s, self._tick)

    def _zero_s(self) -> float:
        """Return when the last instance may go if no request comes."""
        return self._busy_s + self.settings.window_s + self.settings.retention_s

    def _tick(self) -> None:
        self._timer = None
        self._measure()
        now_s = self._loop.time()
        elapsed_s = now_s - self._ticked_s
        average = self._integral / elapsed_s if elapsed_s > 0 else 0.0
        self._integral, self._ticked_s = 0.0, now_s
        if not self._in_flight and not self._queued and not self.starting and now_s + _CLOCK_S >= self._zero_s():
            wanted = bounded(self.settings, 0) if self._reachable else 0
            self._demand = Demand(self.settings, self._pace.tick_s)
        else:
            wanted = max(1, self._demand.desired(average, self.ready, now_s))
        if now_s >= self._blocked_until_s and wanted != self.ready + self.starting:
            self.scale_to(wanted)
        self._schedule()

    # the life of an instance

    def _add(self) -> Pod:
        pod = Pod(self._context, self.revision)
        self._pods.append(pod)
        return pod

    async def _run(self, pod: Pod) -> None:
        """Start an instance and stay with it until it has ended by itself or is drained."""
        try:
            await pod.start(self._deadline_s)
        except (ZeroflowError, OSError) as error:
            self._pods.remove(pod)
            await self._failed(pod, error if isinstance(error, ZeroflowError) else Unavailable(str(error)))
            return
        if pod.draining:
            await pod.stop()
        started_s = self._busy_s = self._loop.time()
        self.proven, self.failure = True, None
        self._blocked_until_s = 0.0
        self._dispatch()
        if self._waiting:
            self._want_more()
        self._changed()
        self._schedule()
        code = await pod.wait()
        self._pods.remove(pod)
        if pod.answered or self._loop.time() - started_s >= self._pace.steady_s:
            self._failures = 0
        await self._failed(pod, ContainerFailed(code, log_tail(pod.log)), code)

    async def _failed(self, pod: Pod, error: ZeroflowError, code: int | None = None) -> None:
        """Note that an instance has ended by itself and decide when there is another."""
        ended = code
        if ended is None and isinstance(error, ContainerFailed):
            ended = await pod.wait()
        if ended is not None:
            pod.died(ended)
        await pod.stop(0)
        pod.record.remove()
        self._ended_logs = prune_logs([*self._ended_logs, pod.log])
        if pod.draining or self._closed:
            self._changed()
            return
        self._failures += 1
        self._blocked_until_s = self._loop.time() + self._delay_s()
        self.failure = Failure(error.reason, str(error), permanent=isinstance(error, NotRunnable))
        logger.warning("revision %s: instance %s: %s: %s", self.name, pod.name, error.reason, _first_line(str(error)))
        overdue = not self.proven and self._loop.time() - self._created_s > self._deadline_s
        if not self.ready and (self.failure.permanent or self._failures >= TOLD_AFTER):
            self._refuse(NoInstance(self._why()))
        if self._needed() and not self.failure.permanent and not overdue:
            self._retry_later()
        self._changed()

    def _needed(self) -> bool:
        """Return whether an instance is wanted although no request is in one."""
        kept = self._reachable and self.settings.min_scale > self.ready + self.starting
        return bool(self._waiting) or kept or (self._deploying and not self.proven)

    def _delay_s(self) -> float:
        if self._failures <= 1:
            return 0.0
        return min(self._pace.backoff_max_s, self._pace.backoff_s * 2.0 ** (self._failures - 2))

    def _retry_later(self) -> None:
        if self._retry is None and not self._closed:
            self._retry = self._loop.call_at(self._blocked_until_s, self._again)

    def _again(self) -> None:
        self._retry = None
        if self._needed():
            self.scale_to(max(1, self.settings.min_scale if self._reachable else 1))

    def _drain(self, pod: Pod) -> None:
        if pod.draining:
            return
        pod.draining = True
        if pod.in_flight == 0:
            self._spawn(self._stop(pod))

    async def _stop(self, pod: Pod) -> None:
        pod.record.remove()
        self._changed()
        await pod.stop()  # _run, which waits for its end, forgets it

    def _hopeless(self) -> bool:
        """Return whether a request had better be told now than kept waiting."""
        if self.failure is None:
            return False
        return self.failure.permanent or (self._failures >= TOLD_AFTER and self._loop.time() < self._blocked_until_s)

    def _why(self) -> str:
        assert self.failure is not None
        return f"revision {self.name} does not start: {self.failure.reason}: {_first_line(self.failure.message)}"

    def _spawn(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("revision %s: an instance was lost", self.name, exc_info=error)


def _first_line(message: str) -> str:
    lines = message.strip().splitlines()
    return lines[0] if lines else ""
