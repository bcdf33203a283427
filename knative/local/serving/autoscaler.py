"""When a pool decides how many instances it has: measures its requests and asks `Demand` at every tick.

Requests in flight and waiting are integrated over the tick (concurrency), or those that came are counted (rps).
Nothing is scheduled while a pool is at rest until its next request.
Source: Knative Pod Autoscaler; its tick and windows.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from zeroflow.knative.local.serving.failures import Pace
from zeroflow.knative.local.serving.scaling import Demand, ScaleSettings, bounded

_CLOCK_S = 0.001  # timers may fire this much early


class Scaled(Protocol):
    """What is scaled."""

    @property
    def ready(self) -> int: ...
    @property
    def starting(self) -> int: ...
    @property
    def present(self) -> bool:
        """Whether an instance exists or a request waits."""
        ...

    @property
    def reachable(self) -> bool: ...
    @property
    def blocked(self) -> bool: ...
    def scale_to(self, wanted: int) -> None: ...
    def expect_zero(self) -> None:
        """Hear, a few times, that the last instance will go within two ticks if no request comes."""
        ...


class Autoscaler:
    """The clock and the measurements of one pool."""

    def __init__(self, pool: Scaled, settings: ScaleSettings, pace: Pace) -> None:
        self._pool, self._settings, self._pace = pool, settings, pace
        self._loop = asyncio.get_running_loop()
        self._demand = Demand(settings, pace.tick_s)
        self._timer: asyncio.TimerHandle | None = None
        self._load = 0  # requests in flight and waiting
        self._came = 0  # requests since the last tick
        self._integral = 0.0
        self._measured_s = self._ticked_s = self._busy_s = self._loop.time()

    @property
    def load(self) -> int:
        """How many requests are in flight or wait."""
        return self._load

    def arrived(self) -> None:
        """Count a request that has come."""
        self._measure()
        self._load += 1
        self._came += 1
        if self._timer is None:
            self.schedule()

    def left(self) -> None:
        """Count a request that is over, or has stopped waiting."""
        self._measure()
        self._load -= 1
        self._busy_s = self._loop.time()

    def busy(self) -> None:
        """Begin the time until zero anew."""
        self._busy_s = self._loop.time()

    def schedule(self) -> None:
        """Arrange for the next decision; none when all is at rest until the next request."""
        if self._timer is not None or not self._pool.present:
            return
        now_s = self._loop.time()
        next_s = now_s + self._pace.tick_s
        if not (self._load or self._pool.starting):
            if now_s + _CLOCK_S >= self._zero_s():
                return
            next_s = min(next_s, self._zero_s())
            if self._zero_s() - now_s <= 2 * self._pace.tick_s and not bounded(self._settings, 0):
                self._pool.expect_zero()
        self._timer = self._loop.call_at(next_s, self._tick)

    def adopt(self, settings: ScaleSettings) -> None:
        """Decide by other settings from now on."""
        self._settings, self._demand = settings, Demand(settings, self._pace.tick_s)
        self.schedule()

    def stop(self) -> None:
        """Decide nothing more until `schedule` is called."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _measure(self) -> None:
        now_s = self._loop.time()
        self._integral += self._load * (now_s - self._measured_s)
        self._measured_s = now_s

    def _zero_s(self) -> float:
        """Return when the last instance may go if no request comes."""
        return self._busy_s + self._settings.window_s + self._settings.retention_s

    def _tick(self) -> None:
        self._timer = None
        self._measure()
        now_s = self._loop.time()
        elapsed_s = now_s - self._ticked_s
        measured = self._integral if self._settings.metric == "concurrency" else float(self._came)
        average = measured / elapsed_s if elapsed_s > 0 else 0.0
        self._integral, self._came, self._ticked_s = 0.0, 0, now_s
        if not self._load and not self._pool.starting and now_s + _CLOCK_S >= self._zero_s():
            wanted = bounded(self._settings, 0) if self._pool.reachable else 0
            self._demand = Demand(self._settings, self._pace.tick_s)
        else:
            wanted = max(1, self._demand.desired(average, self._pool.ready, now_s))
        if not self._pool.blocked and wanted != self._pool.ready + self._pool.starting:
            self._pool.scale_to(wanted)
        self.schedule()
