"""A wall clock that moves when a test tells it to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

START = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)


@dataclass
class Timer:
    at: datetime
    callback: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class FakeClock:
    """A wall clock that moves when it is told to."""

    time: datetime = START
    timers: list[Timer] = field(default_factory=list)

    def now(self) -> datetime:
        return self.time

    def call_at(self, moment: datetime, callback: Callable[[], None]) -> Timer:
        self.timers.append(Timer(moment, callback))
        return self.timers[-1]

    @property
    def armed(self) -> list[Timer]:
        return [timer for timer in self.timers if not timer.cancelled]

    def jump(self, moment: datetime) -> None:
        """Set the clock; whatever is due fires."""
        self.time = moment
        for timer in list(self.timers):
            if timer.at <= moment:
                self.timers.remove(timer)
                if not timer.cancelled:
                    timer.callback()
