"""How often a revision's instances have failed, why, and when the next one may be started.

The first failure is answered at once with another instance, later ones after a delay that doubles. After a few in a
row those who wait are told instead of kept waiting. An instance that was taken away has not failed: it was ready and
somebody has killed it, or its fork server. Nobody is refused for that; the next one starts at once, and after
`backoff_s` when the one before was taken away as early. Source: Kubernetes' CrashLoopBackOff; Knative's activator.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from zeroflow.errors import Unavailable

TOLD_AFTER = 3  # failures in a row after which requests are refused instead of kept waiting


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

    @property
    def headline(self) -> str:
        """The reason and the first line of the message."""
        return f"{self.reason}: {first_line(self.message)}"


class NoInstance(Unavailable):
    """The revision cannot be started now; the message says why."""


class Failures:
    """The failures in a row of one revision."""

    def __init__(self, revision: str, pace: Pace) -> None:
        self._revision, self._pace = revision, pace
        self._loop = asyncio.get_running_loop()
        self.last: Failure | None = None
        self.in_a_row = 0
        self.blocked_until_s = 0.0
        self._taken_early = False

    @property
    def blocked(self) -> bool:
        """Whether the next instance has to wait."""
        return self._loop.time() < self.blocked_until_s

    @property
    def final(self) -> bool:
        """Whether whoever waits had better be told."""
        return self.last is not None and (self.last.permanent or self.in_a_row >= TOLD_AFTER)

    @property
    def hopeless(self) -> bool:
        """Whether a request that comes now had better be told at once."""
        return self.last is not None and (self.last.permanent or (self.in_a_row >= TOLD_AFTER and self.blocked))

    def note(self, failure: Failure) -> None:
        """Count a failure and set when the next instance may be started."""
        self.in_a_row += 1
        delay_s = 0.0
        if self.in_a_row > 1:
            delay_s = min(self._pace.backoff_max_s, self._pace.backoff_s * 2.0 ** (self.in_a_row - 2))
        self.last, self.blocked_until_s = failure, self._loop.time() + delay_s

    def became_ready(self) -> None:
        """Note that an instance is ready; only one that lives on ends the row."""
        self.last, self.blocked_until_s = None, 0.0

    def lived(self, seconds: float, *, answered: bool) -> None:
        """Note how long an instance was ready; one that has answered a request did not die of its start."""
        if answered or seconds >= self._pace.steady_s:
            self.in_a_row = 0
            self._taken_early = False

    def taken_away(self, *, ready: bool) -> None:
        """Note that an instance was ended from outside, and whether it had been ready."""
        if ready:
            self.in_a_row = 0
        if self._taken_early:
            self.blocked_until_s = max(self.blocked_until_s, self._loop.time() + self._pace.backoff_s)
        self._taken_early = True

    def refusal(self) -> NoInstance:
        """Return what those who wait are told."""
        assert self.last is not None
        return NoInstance(f"revision {self._revision} does not start: {self.last.headline}")


def first_line(message: str) -> str:
    """Return the first line of a message, "" for an empty one."""
    lines = message.strip().splitlines()
    return lines[0] if lines else ""
