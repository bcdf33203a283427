"""Which requests of a model are answered where they are read: those that such requests have taken little time for.

Handing a request to a thread costs more than many models do, and in Python most of the work waits for its turn anyway.
Learned by size of the body, from the times of requests that threads have answered (the least of a few, since threads
hold each other up); what then proves slow on the event loop, more than now and then as on any busy machine, goes back
to the threads, for longer each time. A model that always sleeps or waits for a device never comes to the loop.
"""

from dataclasses import dataclass

QUICK_S = 2e-3
"""The loop may be held up for so long; health answers a little later, nothing else happens."""
SLOW_S, MUCH_TOO_SLOW_S = 10e-3, 0.25
LOOKED_AT, FORGIVEN, ENOUGH = 8, 0.1, 2.5
"""After so many times the loop is left: each slow answer counts 1, each other one takes back 0.1."""
FIRST_PAUSE, LONGEST_PAUSE = 64, 65_536
MAX_BYTES = 1 << 20


@dataclass
class _Class:
    """Requests of one order of size."""

    quick: bool = False
    seen: int = 0
    least_s: float = float("inf")
    slow: float = 0.0
    pause: int = FIRST_PAUSE
    waits: int = 0
    """So many requests go to threads before the next look."""


class Pace:
    """Times of one model. Counts may be off by a few when threads race; nothing depends on them being exact."""

    def __init__(self) -> None:
        self._classes: dict[int, _Class] = {}

    def is_quick(self, size_bytes: int) -> bool:
        """Say whether a request of this size is to be answered on the event loop."""
        if size_bytes > MAX_BYTES:
            return False
        known = self._classes.get(size_bytes.bit_length())
        return known is not None and known.quick

    def took(self, size_bytes: int, seconds: float, on_loop: bool) -> None:
        """Learn from an answered request."""
        known = self._classes.setdefault(size_bytes.bit_length(), _Class())
        if on_loop:
            known.slow = known.slow + 1 if seconds > SLOW_S else max(0.0, known.slow - FORGIVEN)
            if known.slow > ENOUGH or seconds > MUCH_TOO_SLOW_S:
                known.quick, known.seen, known.least_s, known.slow = False, 0, float("inf"), 0.0
                known.waits, known.pause = known.pause, min(2 * known.pause, LONGEST_PAUSE)
            return
        if known.waits:
            known.waits -= 1
            return
        known.seen += 1
        known.least_s = min(known.least_s, seconds)
        if known.seen >= LOOKED_AT:
            known.quick, known.seen, known.least_s = known.least_s <= QUICK_S, 0, float("inf")
