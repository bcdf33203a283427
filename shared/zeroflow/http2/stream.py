"""One request and its answer on an HTTP/2 connection: head, body with back pressure both ways, trailers."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

Headers = list[tuple[bytes, bytes]]

NO_ERROR, INTERNAL_ERROR, REFUSED_STREAM, CANCEL = 0x0, 0x2, 0x7, 0x8


class StreamReset(ConnectionError):
    """The other side has given the stream up, or its connection has ended."""

    def __init__(self, code: int, *, untouched: bool = False) -> None:
        super().__init__(f"HTTP/2 stream reset (error code {code})")
        self.code = code
        self.untouched = untouched
        """Whether the other side has done nothing about the request, so that it may be sent again."""


class Wire(Protocol):
    """What a stream needs of its connection."""

    def put_headers(self, stream: Stream, headers: Headers, *, end: bool) -> None: ...
    async def put_data(self, stream: Stream, data: bytes, *, end: bool) -> None: ...
    def put_reset(self, stream: Stream, code: int) -> None: ...
    def consumed(self, stream: Stream, size: int) -> None: ...


class Stream:
    """What `Connection` fills and whoever asks or answers uses."""

    def __init__(self, wire: Wire, number: int) -> None:
        self._wire, self.number = wire, number
        self._chunks: deque[bytes] = deque()
        self._unread = 0  # bytes of flow control that have not been given back
        self._waiter: asyncio.Future[None] | None = None
        self.headers: Headers | None = None
        """What the other side has sent as its head."""
        self.trailers: Headers = []
        self.sent_all = self.got_all = False
        self.lost: StreamReset | None = None

    # what whoever asks or answers calls

    async def head(self) -> Headers:
        """Wait for the other side's head; raise StreamReset."""
        while self.headers is None:
            await self._more()
        return self.headers

    async def arrived(self) -> None:
        """Wait for a part of the body, or its end; raise StreamReset."""
        while not self._chunks and not self.got_all:
            await self._more()

    async def read(self) -> bytes:
        """Return what has arrived of the body, b"" at its end (then there may be trailers); raise StreamReset."""
        await self.arrived()
        if not self._chunks:
            return b""
        data = self._chunks.popleft() if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        size, self._unread = self._unread, 0
        self._wire.consumed(self, size)
        return data

    @property
    def buffered(self) -> bool:
        """Whether there is a part of the body that nobody has read."""
        return bool(self._chunks)

    def send_head(self, headers: Headers, *, end: bool = False) -> None:
        """Send the head; raise StreamReset."""
        self._check()
        self._wire.put_headers(self, headers, end=end)

    async def send(self, data: bytes, *, end: bool = False) -> None:
        """Send a part of the body as the other side has room for it; raise StreamReset."""
        self._check()
        await self._wire.put_data(self, data, end=end)

    async def finish(self, trailers: Headers | None = None) -> None:
        """End what is sent here; raise StreamReset."""
        self._check()
        if trailers:
            self._wire.put_headers(self, trailers, end=True)
        else:
            await self._wire.put_data(self, b"", end=True)

    def reset(self, code: int = CANCEL) -> None:
        """Give the stream up, whatever state it is in."""
        if self.lost is None and not (self.sent_all and self.got_all):
            self._wire.put_reset(self, code)
            self.lose(StreamReset(code))

    # what the connection calls

    def got_head(self, headers: Headers) -> None:
        """Take the head."""
        self.headers = headers
        self._wake()

    def got_data(self, data: bytes, size: int) -> None:
        """Take a part of the body; `size` is what it counts for flow control."""
        self._unread += size
        if data:
            self._chunks.append(data)
        self._wake()

    def got_end(self) -> None:
        """Note that nothing more comes."""
        self.got_all = True
        self._wake()

    def lose(self, why: StreamReset) -> None:
        """Note that the stream has been given up."""
        if self.lost is None:
            self.lost = why
        self._wake()

    def _check(self) -> None:
        if self.lost is not None:
            raise self.lost

    async def _more(self) -> None:
        self._check()
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
