"""HTTP/1.1 to one pod: kept-alive connections, one exchange at a time on each, bodies streamed with back pressure.

httptools (llhttp) reads the answers. Source: RFC 9112.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import httptools

from zeroflow.knative.local.serving.exchange import Broken, Exchange, NotSent, Outgoing, RawHeaders
from zeroflow.knative.local.serving.headers import http1_head

IDLE_S = 60.0  # for gunicorn, which is told to keep connections longer: it is this side that closes first
IDLE_UNKNOWN_S = 1.0  # for other servers, which close idle connections after a time of their own
_HIGH_WATER_BYTES = 256 << 10
_NO_BODY = frozenset({204, 304})


class Connection(asyncio.Protocol):
    """One connection to a pod. `exchange` starts an answer; its head and body are then read in order."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._writable: asyncio.Future[None] | None = None
        self._paused_writing = False
        self._waiter: asyncio.Future[None] | None = None
        self.listener: Callable[[], None] | None = None
        """What is called when something has come, or the connection is lost."""
        self._poll: select.poll | None = None
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._paused_reading = False
        self._head_only = False
        self._reset()
        self.trailers: RawHeaders = []  # they stay behind: nobody can be told of them in HTTP/1.1
        self.idle_since = 0.0
        self._sending: asyncio.Task[None] | None = None  # what is left of a request body

    def _reset(self) -> None:
        self.status = 0
        self.reason = b""
        self.headers: RawHeaders = []
        self.head_done = self.complete = False
        self._keep = False

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.complete and self.head_done and self._until_close():
            self.complete = True
        self._wake()
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def pause_writing(self) -> None:
        self._paused_writing = True

    def resume_writing(self) -> None:
        self._paused_writing = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._parser is None:  # bytes that nobody asked for
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()
        self._wake()

    # what the parser calls

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if 100 <= self.status < 200:
            return
        self.head_done = True
        if self._head_only or self.status in _NO_BODY:
            self._finish()

    def on_body(self, body: bytes) -> None:
        if self.complete:
            return
        self._chunks.append(body)
        self._buffered += len(body)
        if self._buffered > _HIGH_WATER_BYTES and not self._paused_reading and self._transport is not None:
            self._paused_reading = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if 100 <= self.status < 200:  # an interim answer: the real one follows
            self.reason, self.headers = b"", []
            return
        if not self.complete:
            self._finish()

    def _finish(self) -> None:
        self.complete = True
        self._keep = bool(self._parser.should_keep_alive()) and not self._until_close()

    def _until_close(self) -> bool:
        """Return whether the end of the connection is the end of the body."""
        if self._head_only or self.status in _NO_BODY:
            return False
        names = {name.lower() for name, _ in self.headers}
        return b"content-length" not in names and b"transfer-encoding" not in names

    # what the proxy calls

    @property
    def open(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def quiet(self) -> bool:
        """Return whether the pod has neither closed nor said anything, also not just now (one system call)."""
        if self._transport is None or self._transport.is_closing():
            return False
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not self._poll.poll(0)

    @property
    def reusable(self) -> bool:
        """Whether the exchange is over and another may follow on this connection."""
        return self.complete and self._keep and not self._chunks and self.open

    @property
    def buffered(self) -> bool:
        """Whether there is a part of the body that nobody has read."""
        return bool(self._chunks)

    async def ask(self, request: Outgoing) -> None:
        """Send a request and return when the head of the answer is there; raise NotSent or Broken."""
        self.tell(request)
        if request.stream is None:
            await self.read_head()
            return
        request.touched = True
        self._sending = self._loop.create_task(self._pump(request))
        await self.read_head()

    async def finish(self) -> None:
        """Let the rest of a request body that the pod answered early stop, before another request follows."""
        sending, self._sending = self._sending, None
        if sending is not None and not sending.done():
            sending.cancel()
            self.abort()
            with suppress(asyncio.CancelledError, Exception):
                await sending

    async def _pump(self, request: Outgoing) -> None:
        """Send the body while waiting for the answer; what is left of it goes on while the answer comes."""
        assert request.stream is not None
        chunked = request.length is None
        try:
            async for chunk in request.stream:
                if chunk:
                    await self._send(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
            if chunked:
                await self._send(b"0\r\n\r\n")
        except Broken:
            return  # whoever reads the answer sees the same
        except Exception:
            self.abort()  # the client broke off in the middle of the body: so does the answer

    def tell(self, request: Outgoing, listener: Callable[[], None] | None = None) -> None:
        """Send a request, without a body that is still coming; raise NotSent."""
        if self._transport is None or self._transport.is_closing():
            raise NotSent("the pod has closed the connection")
        self._reset()
        self.listener = listener
        self._head_only = request.method == "HEAD"
        self._parser = httptools.HttpResponseParser(self)
        head = http1_head(request.method, request.target, request.headers, request.length)
        self._transport.write(head + request.body if request.body else head)

    async def _send(self, data: bytes) -> None:
        if self._transport is None:
            raise Broken("the pod has closed the connection")
        self._transport.write(data)
        if self._paused_writing:
            self._writable = self._loop.create_future()
            await self._writable

    async def read_head(self) -> None:
        """Wait for status and headers; raise Broken when they do not come."""
        while not self.head_done:
            await self._more()

    async def arrived(self) -> None:
        """Wait for a part of the body, or its end; raise Broken when it is cut off."""
        while not self._chunks and not self.complete:
            await self._more()

    async def read_chunk(self) -> bytes:
        """Return what has arrived of the body, b"" at its end; raise Broken when it is cut off."""
        await self.arrived()
        return self.take()

    def take(self) -> bytes:
        """Return what has arrived of the body."""
        if not self._chunks:
            return b""
        data = self._chunks.popleft() if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        if self._paused_reading and self._transport is not None:
            self._paused_reading = False
            self._transport.resume_reading()
        return data

    def abort(self) -> None:
        """Close without waiting; the pod sees that nobody listens."""
        if self._sending is not None:
            self._sending.cancel()
        if self._transport is not None:
            self._transport.abort()

    async def _more(self) -> None:
        if self._transport is None:
            raise Broken("the pod closed the connection before it had answered")
        self._waiter = self._loop.create_future()
        await self._waiter

    def _wake(self) -> None:
        if self.listener is not None:
            self.listener()
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Connections:
    """The idle connections to one pod."""

    def __init__(self, port: int, idle_s: float = IDLE_UNKNOWN_S) -> None:
        self._idle_s = idle_s
        self.port = port
        self._loop = asyncio.get_running_loop()
        self._idle: deque[Connection] = deque()
        self._closed = False

    async def send(self, request: Outgoing) -> Connection:
        """Send a request and return when the head of the answer is there; raise NotSent or Broken."""
        connection = self.kept() or await self._connect()
        try:
            await connection.ask(request)
        except BaseException:
            connection.abort()
            raise
        return connection

    async def connects(self) -> bool:
        """Return whether the pod accepts a connection."""
        try:
            (self.kept() or await self._connect()).abort()
        except NotSent:
            return False
        return True

    def kept(self) -> Connection | None:
        """Return an open connection on which nothing goes on, taken out; None when none is kept."""
        oldest = self._loop.time() - self._idle_s
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_since >= oldest and connection.quiet():
                return connection
            connection.abort()
        return None

    async def _connect(self) -> Connection:
        """Return a new connection; raise NotSent when none can be made."""
        try:
            _, connection = await self._loop.create_connection(Connection, "127.0.0.1", self.port)
        except OSError as error:
            raise NotSent(f"the pod does not listen on port {self.port}: {error.strerror}") from error
        return connection

    def give(self, exchange: Exchange) -> None:
        """Keep a connection whose exchange is over, or close it."""
        connection = cast(Connection, exchange)
        if connection.reusable and not self._closed:
            connection.idle_since = self._loop.time()
            self._idle.append(connection)
        else:
            connection.abort()

    def close(self) -> None:
        """Close the idle connections; those in use are closed when they are given back."""
        self._closed = True
        while self._idle:
            self._idle.popleft().abort()
