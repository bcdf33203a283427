"""The wall clock as controllers see it: one that tests can set."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

LONGEST_WAIT_S = 60.0
"""A suspended laptop stops the clock of timers; a look at the wall clock this often bounds how late a tick is."""


class Handle(Protocol):
    """A timer that can be cancelled."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """The wall clock; a timer may fire early, never forgets."""

    def now(self) -> datetime: ...
    def call_at(self, moment: datetime, callback: Callable[[], None]) -> Handle: ...


class WallClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the present time in UTC."""
        return datetime.now(UTC)

    def call_at(self, moment: datetime, callback: Callable[[], None]) -> Handle:
        """Call back at the moment or a little earlier, at most LONGEST_WAIT_S from now."""
        delay = (moment - self.now()).total_seconds()
        return asyncio.get_running_loop().call_later(min(max(delay, 0.0), LONGEST_WAIT_S), callback)
