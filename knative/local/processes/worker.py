"""gunicorn's threaded worker, which stays with a connection whose next request is near.

gunicorn hands a request from its main thread to another, and the connection back afterwards; in Python each hand-over
waits for the other thread to let go of the interpreter. What talks to a function here keeps its connections and often
has the next request as soon as it has the answer - the broker with the steps of a run, a client in a loop - so one
thread at a time waits a moment for it where it is.

Written against gunicorn's ThreadWorker (23 to 27).
"""

import select
import threading
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

LINGER_MS = 100


class LingeringWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """A worker of threads, of which one may wait for the next request of the connection that it has served."""

    def init_process(self) -> None:
        """Make what belongs to this process, then run."""
        self._lingering = threading.Lock()
        super().init_process()

    def handle(self, conn: Any) -> Any:
        """Answer a request of a connection, and those that follow on its heels; say what is to become of it."""
        kept = super().handle(conn)
        while kept is True and self._another_is_near(conn):
            kept = super().handle(conn)
        return kept

    def _another_is_near(self, conn: Any) -> bool:
        if self.cfg.threads < 2 or not self.alive or conn.is_http2 or conn.parser.unreader.buf.getvalue():
            return False
        if not self._lingering.acquire(blocking=False):
            return False
        try:
            poll = select.poll()
            poll.register(conn.sock, select.POLLIN)
            return bool(poll.poll(LINGER_MS)) and self.alive
        finally:
            self._lingering.release()
