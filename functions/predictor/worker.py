"""A gunicorn worker for small answers: one event loop parses with httptools and answers quick predictions itself.

gunicorn's own threaded worker hands every request from thread to thread and parses it in Python, which costs several
times what a compiled model does. Here a request that the application calls quick (see `FastPath.is_quick`) is
answered where it was read, health too; any other one goes to one of `--threads` threads, so that a slow model holds
up nobody.

Guarantees: answers of one connection come in the order of its requests; a stopping worker takes no new connection and
answers what it has, with `Connection: close`; a body beyond the application's limit is not read; when too many requests
wait for a thread, the next one is refused at once.

Used as `--worker-class=zeroflow.functions.predictor.worker.QuickWorker`. Sources: PEP 3333; RFC 9112; gunicorn's
Worker API (23 to 27).
"""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import Any

from gunicorn.workers.base import Worker

from zeroflow.functions.predictor.http.connection import Connection

HEARTBEAT_S = 1.0
LINGER_S = 2.0
"""How long a stopping worker keeps idle connections, for a request that is already on its way."""


class Threads:
    """A pool of threads that knows how many calls wait for one."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="request")
        self._lock = Lock()
        self.waiting = 0

    def submit(self, call: Callable[..., Any], *arguments: object) -> "Future[Any]":
        """Call in a thread, when one is free; until then the future can be cancelled."""
        with self._lock:
            self.waiting += 1
        future = self._pool.submit(self._begin, call, *arguments)
        future.add_done_callback(self._ended)
        return future

    def close(self) -> None:
        """Take no further calls."""
        self._pool.shutdown(wait=False)

    def _begin(self, call: Callable[..., Any], *arguments: object) -> Any:
        with self._lock:
            self.waiting -= 1
        try:
            return call(*arguments)
        except Exception:
            raise
        except BaseException as error:  # what ends a thread, or the loop that waits for it, is an error like others
            raise RuntimeError(f"{type(error).__name__} in a thread that answers requests") from error

    def _ended(self, future: "Future[Any]") -> None:
        if future.cancelled():  # its client went away before there was a thread
            with self._lock:
                self.waiting -= 1


class QuickWorker(Worker):  # type: ignore[misc]  # gunicorn has no types
    """One process: an event loop, and threads for what is not quick."""

    def init_process(self) -> None:
        """Make what belongs to this process, then run."""
        self.loop = asyncio.new_event_loop()
        self.connections: set[Connection] = set()
        self.http2: set[Any] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self.stopped_at: float | None = None
        super().init_process()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin to stop."""
        self.alive = False
        self.loop.call_soon_threadsafe(self._stop)

    def run(self) -> None:
        """Serve until told to stop."""
        application = self.wsgi
        self.threads = Threads(max(self.cfg.threads, application.config["THREADS"]))
        self.is_quick = application.wsgi_app.is_quick
        self.busy = application.wsgi_app.busy
        self.max_body_bytes = int(application.config["BODY_BYTES"])
        self.max_waiting = int(application.config["WAITING"])
        asyncio.set_event_loop(self.loop)
        application.begin()
        try:
            self.servers = [self.loop.run_until_complete(self._listen(each)) for each in self.sockets]
            self._beat()
            self.loop.run_forever()
        finally:
            self.threads.close()
            self.loop.close()
            application.wsgi_app.close()
        sys.exit(0)

    @property
    def is_full(self) -> bool:
        """Say whether so many requests wait for a thread that another one had better come later."""
        return self.threads.waiting >= self.max_waiting

    async def _listen(self, listener: Any) -> asyncio.Server:
        listener.sock.setblocking(False)
        return await self.loop.create_server(lambda: Connection(self), sock=listener.sock, backlog=self.cfg.backlog)

    def speak_http2(self, transport: asyncio.Transport, data: bytes) -> None:
        """Go on with a connection as HTTP/2, with what has arrived on it."""
        from zeroflow.functions.predictor.http import streams
        from zeroflow.http2.connection import Connection as Http2

        made = Http2(partial(streams.serve, self), self._gone)
        self.http2.add(made)
        transport.set_protocol(made)
        made.connection_made(transport)
        made.data_received(data)
        if self.stopped_at is not None:
            self._close_http2()

    def _gone(self, connection: Any) -> None:
        self.http2.discard(connection)
        self.end_if_done()

    def _close_http2(self) -> None:
        for each in list(self.http2):
            task = self.loop.create_task(each.close(self.cfg.graceful_timeout))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _beat(self) -> None:
        self.notify()
        now = time.monotonic()
        if self.ppid != os.getppid():
            self.log.info("Parent changed, shutting down: %s", self)
            self.alive = False
        if not self.alive:
            self._stop()
        for connection in list(self.connections):
            connection.close_if_stale(now, LINGER_S if self.stopped_at is not None else self.cfg.keepalive)
        if self.stopped_at is not None and now - self.stopped_at > self.cfg.graceful_timeout:
            self.loop.stop()
            return
        self.loop.call_later(HEARTBEAT_S, self._beat)

    def _stop(self) -> None:
        """Take no new connections; end when the last one is gone."""
        if self.stopped_at is not None:
            return
        self.stopped_at = time.monotonic()
        for server in self.servers:
            server.close()
        self.end_if_done()
        self._close_http2()
        self.loop.call_later(LINGER_S, self._beat)

    def end_if_done(self) -> None:
        """End the loop of a stopping worker that has no connection left."""
        if self.stopped_at is not None and not self.connections and not self.http2:
            self.loop.stop()
