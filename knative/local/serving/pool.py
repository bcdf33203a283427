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
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from zeroflow.errors import Unavailable, ZeroflowError
from zeroflow.knative.local.processes.container import NotRunnable
from zeroflow.knative.local.processes.logs import prune_logs, tail
from zeroflow.knative.local.processes.pods import PodContext
from zeroflow.knative.local.processes.process import Interrupted
from zeroflow.knative.local.serving import labels
from zeroflow.knative.local.serving.autoscaler import Autoscaler
from zeroflow.knative.local.serving.failures import Failure, Failures, NoInstance, Pace
from zeroflow.knative.local.serving.fleet import Fleet
from zeroflow.knative.local.serving.limits import limits_of
from zeroflow.knative.local.serving.line import QUEUE_LENGTH, QUEUE_PER_PLACE, Line
from zeroflow.knative.local.serving.observing import OBSERVE
from zeroflow.knative.local.serving.pod import ContainerFailed, Pod
from zeroflow.knative.local.serving.scaling import ScaleSettings, bounded
from zeroflow.knative.local.serving.upstream_http1 import Connection

Object = dict[str, Any]
logger = logging.getLogger(__name__)


class Pool:
    """All instances of one revision."""

    def __init__(
        self,
        context: PodContext,
        revision: Object,
        settings: ScaleSettings,
        deadline_s: float,
        pace: Pace,
        changed: Callable[[], None],
        *,
        proven: bool,
    ) -> None:
        self.revision = revision
        self.settings = settings
        self.proven = proven  # an instance has been ready once
        self.desired = 0
        self.reachable = True  # traffic leads here
        self._deploying = False  # it is the newest revision and has to show that it works
        self._context, self._changed = context, changed
        annotations = revision["metadata"].get("annotations") or {}
        self.limits = limits_of(revision["spec"])
        self.replayable = annotations.get(labels.REPLAY) == "safe"
        """Whether any request may be asked again, not only a GET."""
        self.observed = OBSERVE in annotations
        """Whether the activator tells how it answers."""
        self._deadline_s = deadline_s
        self._loop = asyncio.get_running_loop()
        self._fleet = Fleet(str(revision["metadata"]["name"]), changed)
        self._line = Line(self.release)
        self._retry: asyncio.TimerHandle | None = None
        self._failures = Failures(str(revision["metadata"]["name"]), pace)
        self._scaler = Autoscaler(self, settings, pace)
        self._created_s = self._loop.time()
        self._ended_logs: list[Path] = []
        self._closed = False

    # what the reconciler asks

    @property
    def name(self) -> str:
        return str(self.revision["metadata"]["name"])

    @property
    def ready(self) -> int:
        """How many instances take requests."""
        return self._fleet.ready

    @property
    def starting(self) -> int:
        return self._fleet.starting

    @property
    def crash_looping(self) -> bool:
        """Whether instances end by themselves again and again."""
        return self.failure is not None and (self.failure.permanent or self._failures.in_a_row > 1 or not self.proven)

    @property
    def failure(self) -> Failure | None:
        """Why the last instance ended by itself; None while one is ready."""
        return self._failures.last

    @property
    def blocked(self) -> bool:
        """Whether the next instance has to wait after a failure."""
        return self._failures.blocked

    @property
    def present(self) -> bool:
        """Whether an instance exists or a request waits."""
        return not self._closed and bool(self._fleet.pods or self._line)

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return self._fleet.at_rest and not self._line.length

    @property
    def pods(self) -> list[Pod]:
        """The instances, also those that are starting or draining."""
        return list(self._fleet.pods)

    def deploy(self) -> None:
        """Start the first instances of a new revision, to see that it works."""
        self._deploying = True
        if not self.proven and not self._fleet.pods and self.failure is None:
            first = max(self.settings.initial_scale, self.settings.min_scale)
            if first:
                self.scale_to(first)
            else:  # nothing is asked of it before its first request
                self.proven = True

    def retire(self) -> None:
        """Stop trying: there is a newer revision."""
        if self._deploying and not self.proven:
            if self._retry is not None:
                self._retry.cancel()
                self._retry = None
            self.scale_to(0)
        self._deploying = False

    def adopt(self, settings: ScaleSettings, deadline_s: float) -> None:
        """Scale by other settings from now on."""
        self._deadline_s = deadline_s
        if settings != self.settings:
            self.settings = settings
            self._scaler.adopt(settings)
            self.set_reachable(self.reachable)

    def set_reachable(self, reachable: bool) -> None:
        """Say whether traffic leads here; min-scale counts only then."""
        if self.reachable and not reachable:  # what min-scale has kept may go after the window
            self._scaler.busy()
        self.reachable = reachable
        if reachable and self.proven and self.settings.min_scale > self.ready + self.starting and self._retry is None:
            self.scale_to(self.settings.min_scale)
        self._scaler.schedule()

    # what the activator asks

    @property
    def closed(self) -> bool:
        """Whether its revision is being deleted, so that another one has to be picked."""
        return self._closed

    def acquire_now(self) -> Pod | None:
        """Return an instance that takes one more request, None when the request has to wait for one."""
        pod = self._free()
        if pod is None or self._line:
            return None
        pod.in_flight += 1
        self._scaler.arrived()
        return pod

    def acquire_connected(self) -> tuple[Pod, Connection] | None:
        """Like `acquire_now`, with a connection that is kept to it; None as well when there is none."""
        pod = self._free()
        if pod is None or self._line or (connection := pod.connections.kept()) is None:
            return None
        pod.in_flight += 1
        self._scaler.arrived()
        return pod, cast(Connection, connection)

    async def acquire(self, timeout_s: float) -> Pod:
        """Wait for an instance that takes one more request; raise QueueFull, NoInstance, or TimeoutError."""
        if self._closed:
            raise NoInstance(f"revision {self.name} is being deleted")
        if not self.ready and self._failures.hopeless:
            raise self._failures.refusal()
        waiter = self._line.join(self._most_waiting())
        self._scaler.arrived()
        self._want_more()
        return await self._line.wait(waiter, timeout_s, self._scaler.left)

    def turn_away(self, error: ZeroflowError) -> None:
        """Refuse those who wait."""
        self._line.refuse(error)

    def release(self, pod: Pod) -> None:
        """Give an instance back after a request."""
        pod.in_flight -= 1
        self._scaler.left()
        if pod.draining:
            self._fleet.rest(pod)
        elif self._line:
            self._line.serve(self._free)

    def found_dead(self, pod: Pod) -> None:
        """Take an instance out at once because it does not accept connections; its process is ended."""
        if pod in self._fleet.pods and pod.ready:
            pod.kill()

    # scaling

    def scale_to(self, wanted: int) -> None:
        """Start or drain instances until there are `wanted`."""
        self.desired = wanted
        current = self._fleet.current
        if wanted > len(current) and not self._closed:
            room = max(1, (os.cpu_count() or 1) * 2) - self.starting  # more at a time only slow each other down
            for _ in range(min(wanted - len(current), room)):
                self._fleet.run(self._run(self._add()))
        for pod in sorted(current, key=lambda pod: (pod.ready, pod.in_flight))[: max(0, len(current) - wanted)]:
            self._fleet.drain(pod)
        self._scaler.schedule()

    def expect_zero(self) -> None:
        """Have ready what the next instance needs: who asks just after the last one has gone waits for less."""
        for pod in self._fleet.current:
            pod.expect_end()

    def remove_pod(self, name: str) -> None:
        """Drain the instance whose Pod object a user has deleted; the scale decides whether there is another."""
        for pod in self._fleet.pods:
            if pod.name == name and not pod.record.removed:
                self._fleet.drain(pod)
                if self.settings.min_scale and self.reachable:
                    self.scale_to(max(self.desired, self.settings.min_scale))

    async def close(self, grace_s: float = 0.0) -> None:
        """Stop everything; requests in progress have `grace_s` to end."""
        self._closed = True
        self._scaler.stop()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._line.refuse(NoInstance(f"revision {self.name} is being stopped"))
        await self._fleet.end(grace_s)

    def _free(self) -> Pod | None:
        return self._fleet.free(self.settings.hard_limit)

    def _most_waiting(self) -> int:
        """Return how many requests may wait: the activator's queue, or one beside each instance."""
        if self.settings.buffers(self.ready, self._scaler.load):
            return QUEUE_LENGTH
        return QUEUE_PER_PLACE * self.settings.hard_limit * self.ready

    def _want_more(self) -> None:
        """Start what those who wait need now, without waiting for the next tick."""
        if self._failures.blocked:
            self._retry_later()
            return
        present = self.ready + self.starting
        wanted = math.ceil(self._scaler.load / self.settings.share) if self.settings.hard_limit else 1
        wanted = bounded(self.settings, max(1, wanted, self.settings.activation_scale if not present else 1))
        if wanted > present:
            self.scale_to(wanted)

    # the life of an instance

    def _add(self) -> Pod:
        pod = Pod(self._context, self.revision, self._readiness_changed)
        self._fleet.pods.append(pod)
        return pod

    def _readiness_changed(self) -> None:
        """Heed an instance that has become ready again, or is so no longer."""
        self._line.serve(self._free)
        self._changed()
        self._scaler.schedule()

    async def _run(self, pod: Pod) -> None:
        """Start an instance and stay with it until it has ended by itself or is drained."""
        try:
            await pod.start(self._deadline_s)
        except (ZeroflowError, OSError) as error:
            self._fleet.pods.remove(pod)
            await self._over(pod, error if isinstance(error, ZeroflowError) else Unavailable(str(error)))
            return
        if pod.draining:
            await pod.stop()
        started_s = self._loop.time()
        self._scaler.busy()
        self.proven = True
        self._failures.became_ready()
        self._line.serve(self._free)
        if self._line:
            self._want_more()
        self._changed()
        self._scaler.schedule()
        code = await pod.wait()
        self._fleet.pods.remove(pod)
        self._failures.lived(self._loop.time() - started_s, answered=pod.answered)
        await self._over(pod, ContainerFailed(code, tail(pod.log)), code)

    async def _over(self, pod: Pod, error: ZeroflowError, code: int | None = None) -> None:
        """Note that an instance has ended, with `code` when it had been ready, and decide when there is another."""
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
        failure = Failure(error.reason, str(error), permanent=isinstance(error, NotRunnable))
        logger.warning("revision %s: instance %s: %s", self.name, pod.name, failure.headline)
        if isinstance(error, Interrupted) or (code is not None and pod.taken_away(code)):
            self._failures.taken_away(ready=code is not None)
        else:
            self._failures.note(failure)
        overdue = not self.proven and self._loop.time() - self._created_s > self._deadline_s
        if not self.ready and self._failures.final:
            self._line.refuse(self._failures.refusal())
        if self._needed() and not failure.permanent and not overdue:
            self._retry_later()
        self._changed()

    def _needed(self) -> bool:
        """Return whether an instance is wanted although no request is in one."""
        kept = self.reachable and self.settings.min_scale > self.ready + self.starting
        return bool(self._line) or kept or (self._deploying and not self.proven)

    def _retry_later(self) -> None:
        if self._retry is None and not self._closed:
            self._retry = self._loop.call_at(self._failures.blocked_until_s, self._again)

    def _again(self) -> None:
        self._retry = None
        if self._needed():
            self.scale_to(max(1, self.settings.min_scale if self.reachable else 1))
