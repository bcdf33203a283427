"""A thread that tells what has been counted, now and then, and a last time when the process ends."""

import threading
import time
from collections.abc import Callable

JOIN_S = 10.0


class Beat:
    """Calls `tell`, at first each `every_s`; after `young_s` each `later_every_s`. Nothing runs before `start`."""

    def __init__(
        self,
        name: str,
        tell: Callable[[], None],
        every_s: float,
        young_s: float = float("inf"),
        later_every_s: float = 0.0,
    ) -> None:
        self._name, self._tell = name, tell
        self._every_s, self._young_s, self._later_every_s = every_s, young_s, later_every_s
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, unless that was done or the end has come. One caller at a time.

        To be called by the process that serves: workers may have been forked from one parent, threads are not.
        """
        if self._thread is None and not self._closing.is_set():
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Tell a last time and end."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(JOIN_S)
        self._tell()

    def _run(self) -> None:
        young_until = time.monotonic() + self._young_s
        while not self._closing.wait(self._every_s if time.monotonic() < young_until else self._later_every_s):
            self._tell()
