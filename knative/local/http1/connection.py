"""One client's connection, a request at a time: reads it, lets it be answered, and writes what it is told to write.

Whatever is not plain (see `head`) or not for a Service makes the connection aiohttp's, with the bytes that were read;
it never comes back. What has a head that is longer than anybody reads is refused here. A connection has one timer,
which is moved only when it fires: a request schedules nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Protocol, cast

from zeroflow.knative.local.http1.head import END, MOST_HEAD_BYTES, Head, HeadReader

KEEP_ALIVE_S = 75.0
_MOST_AHEAD_BYTES = 64 << 10
_LINGER_S = 2.0
"""How long a client that was refused may go on sending: cut off meanwhile, it would not see why."""


class Answering(Protocol):
    """What answers a request; it calls `Client.done` once it has."""

    due_s: float
    """When its time is up, on the loop's clock."""

    def expire(self) -> None:
        """Say that the time is up."""

    def cancel(self) -> None:
        """Give up: the client has gone."""


Begin = Callable[["Client", Head, bytes], Answering]
"""Begins to answer a request with this body."""
Find = Callable[[Head], Begin | None]


class Client(asyncio.Protocol):
    """A connection. `find` says what answers a plain request, None when that is for `otherwise`, which takes over."""

    def __init__(self, find: Find, otherwise: Callable[[], asyncio.Protocol], everybody: set[Client]) -> None:
        self._find, self._otherwise, self._everybody = find, otherwise, everybody
        self._loop = asyncio.get_running_loop()
        self._data = b""
        self._head: Head | None = None  # whose body has not arrived yet
        self._head_bytes = 0
        self._begin: Begin | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._woken_s = 0.0
        self._busy = self._beginning = False
        self._answering: Answering | None = None
        self._writable: asyncio.Future[None] | None = None
        self._paused_reading = self._paused_writing = self._refused = False
        self.closing = False
        """Whether the connection ends with the answer in progress."""
        self.gone = self._loop.create_future()
        """Done when the connection is over, or somebody else's."""

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport | None = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        scheme = "https" if transport.get_extra_info("sslcontext") is not None else "http"
        self._reader = HeadReader(str(peer[0]) if peer else "127.0.0.1", scheme)
        self._idle_since_s = self._loop.time()
        self._wake_at(self._idle_since_s + KEEP_ALIVE_S)
        self._everybody.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        if self._writable is not None and not self._writable.done():
            self._writable.set_exception(ConnectionResetError("the client has gone"))
        if self._answering is not None:
            self._answering.cancel()

    def pause_writing(self) -> None:
        self._paused_writing = True

    def resume_writing(self) -> None:
        self._paused_writing = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        if not self._busy:
            self._next()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._data = self._data + data if self._data else data
        if not self._busy:
            self._next()
        elif len(self._data) > _MOST_AHEAD_BYTES and not self._paused_reading and self._transport is not None:
            self._paused_reading = True
            self._transport.pause_reading()

    # what whoever answers calls

    def write(self, data: bytes) -> None:
        """Send a part of the answer."""
        if self._transport is not None:
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until more may be written; raise ConnectionError when the client has gone."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the client has gone")
        if self._paused_writing:
            self._writable = self._loop.create_future()
            await self._writable

    def done(self, *, keep: bool) -> None:
        """Go on with the next request; without `keep` end the connection."""
        self._busy, self._answering = False, None
        if self._transport is None:
            return
        if self.closing or not keep:
            self._transport.close()
            return
        self._idle_since_s = self._loop.time()
        if self._data and not self._beginning:
            self._next()

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """End the connection after the answer in progress."""
        self.closing = True
        if not self._busy and self._transport is not None:
            self._transport.close()

    # requests

    def _next(self) -> None:
        """Begin the next request if all of it has arrived, and those after it for as long as they are over at once."""
        while not (self._busy or self._paused_writing or self.closing) and self._data and self._arrived():
            head, begin = self._head, self._begin
            assert head is not None
            assert begin is not None
            body, rest = b"", self._data[self._head_bytes :]
            if head.length:
                body, rest = rest[: head.length], rest[head.length :]
            self._data, self._head = rest, None
            self._busy = self._beginning = True
            answering = begin(self, head, body)
            self._beginning = False
            if self._busy:
                self._answering = answering
                if answering.due_s < self._woken_s:
                    self._wake_at(answering.due_s)
        if self._paused_reading and not self._busy and self._transport is not None:
            self._paused_reading = False
            self._transport.resume_reading()

    def _arrived(self) -> bool:
        """Return whether a whole request is there; who cannot be answered here is handed over."""
        if self._head is None:
            end = self._data.find(END)
            if end < 0 and len(self._data) <= MOST_HEAD_BYTES:
                return False
            if not 0 <= end <= MOST_HEAD_BYTES:
                self._refuse()
                return False
            size = end + len(END)
            head = self._reader.read(self._data[:size])
            begin = self._find(head) if head is not None else None
            if head is None or begin is None:
                self._hand_over()
                return False
            self._head, self._head_bytes, self._begin = head, size, begin
        return len(self._data) >= self._head_bytes + self._head.length

    def _refuse(self) -> None:
        """Say that the head is too long, in JSON as the APIs behind this port do, and let the connection end."""
        transport = self._transport
        assert transport is not None
        line = self._data.find(b"\r\n", 0, MOST_HEAD_BYTES)
        status, phrase, what = (
            (414, "URI Too Long", "the request line")
            if line < 0
            else (431, "Request Header Fields Too Large", "the head")
        )
        message = f"{what} has more than {MOST_HEAD_BYTES} bytes, which is the most that is read; shorten it"
        body = json.dumps({"code": phrase, "message": message}).encode()
        head = f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self._data, self._refused, self.closing = b"", True, True
        transport.write(f"{head}Connection: close\r\n\r\n".encode() + body)
        if transport.can_write_eof():
            transport.write_eof()
            self._wake_at(self._loop.time() + _LINGER_S)
        else:
            transport.close()

    def _hand_over(self) -> None:
        transport, data = self._transport, self._data
        assert transport is not None
        self._leave()
        protocol = self._otherwise()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if self._paused_reading:
            self._paused_reading = False
            transport.resume_reading()
        protocol.data_received(data)

    def _leave(self) -> None:
        self._transport, self._data = None, b""
        if self._timer is not None:
            self._timer.cancel()
        self._everybody.discard(self)
        if not self.gone.done():
            self.gone.set_result(None)

    # time

    def _wake_at(self, when_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._woken_s = when_s
        self._timer = self._loop.call_at(when_s, self._woken)

    def _woken(self) -> None:
        now_s = self._loop.time()
        if self._refused:
            if self._transport is not None:
                self._transport.close()
            return
        due_s = now_s + KEEP_ALIVE_S
        if self._answering is not None:
            if self._answering.due_s <= now_s:
                self._answering.expire()
            else:
                due_s = min(due_s, self._answering.due_s)
        elif not self._busy:
            due_s = self._idle_since_s + KEEP_ALIVE_S
            if due_s <= now_s and self._transport is not None:
                self._transport.close()
        if self._transport is not None and not self._transport.is_closing():
            self._wake_at(max(due_s, now_s + 0.001))
