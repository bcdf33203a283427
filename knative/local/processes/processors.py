"""Which processors a process may run on: those that the fewest others were given."""

from __future__ import annotations

import os
from collections import Counter


class Processors:
    """The processors of this machine that the host may use, and how many processes were given each."""

    def __init__(self) -> None:
        self._given = Counter(dict.fromkeys(sorted(os.sched_getaffinity(0)), 0))

    def give(self, count: int | None) -> tuple[int, ...]:
        """Return `count` processors; nothing where there is no limit, or not so many."""
        if count is None or count >= len(self._given):
            return ()
        chosen = tuple(sorted(self._given, key=lambda each: (self._given[each], each))[:count])
        self._given.update(chosen)
        return chosen

    def take_back(self, given: tuple[int, ...]) -> None:
        """Take note that the process which was given these has ended."""
        self._given.subtract(given)
