"""SPDY/3.1 as kubectl speaks it: streams side by side on one connection, upgraded or in WebSocket messages.

Only what client-go's spdystream sends and understands: streams with headers, data, half-closed ends, pings. It has no
flow control, so neither has this. Source: SPDY protocol draft 3.1 (frames 2.2-2.6, header compression 2.6.10.1).
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

_WORDS: Final = """
    options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age
    allow authorization cache-control connection content-base content-encoding content-language content-length
    content-location content-md5 content-range content-type date etag expect expires from host if-match
    if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma
    proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding
    upgrade user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public
    set-cookie keep-alive origin
""".split()  # noqa: SIM905 - the list as the protocol has it
_REST: Final = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY: Final = (
    b"".join(struct.pack(">I", len(word)) + word.replace("_", " ").encode() for word in _WORDS) + _REST.encode()
)
"""What both ends know of headers before the first is sent: 1,423 bytes that the protocol fixes."""

_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING = 1, 2, 3, 6
_FIN: Final = 1
_VERSION: Final = 3
_HEAD: Final = struct.Struct(">II")
MAX_FRAME_BYTES: Final = 16 << 20
DATA_BYTES: Final = 16 * 1024
MAX_STREAMS: Final = 1000
WAITING_PIECES: Final = 256


class SpdyError(ValueError):
    """The other end does not speak SPDY/3.1."""


class Stream:
    """One stream; what arrives is read piece by piece, None at its end."""

    def __init__(self, session: SpdySession, number: int, headers: Mapping[str, str]) -> None:
        self._session, self.number, self.headers = session, number, headers
        self._received: asyncio.Queue[bytes | None] = asyncio.Queue(WAITING_PIECES)
        self._ended = self._closed = False

    async def read(self) -> bytes | None:
        """Return what has arrived, None once and for all at the end."""
        if self._ended and self._received.empty():
            return None
        return await self._received.get()

    async def write(self, data: bytes) -> None:
        """Send data."""
        for start in range(0, len(data), DATA_BYTES):
            await self._session.send_data(self.number, data[start : start + DATA_BYTES], last=False)

    async def close(self) -> None:
        """Say that nothing more is sent."""
        if not self._closed:
            self._closed = True
            await self._session.send_data(self.number, b"", last=True)

    async def received(self, data: bytes, *, last: bool) -> None:
        """Take what has arrived (for the session); wait while too much of it is not read."""
        if data and not self._ended:
            await self._received.put(data)
        if last and not self._ended:
            self._ended = True
            await self._received.put(None)

    def cut(self) -> None:
        """End it now, whatever has not been read."""
        self._ended = True
        while self._received.full():
            self._received.get_nowait()
        self._received.put_nowait(None)


class SpdySession:
    """The server's end of one connection: bytes in by `feed`, bytes out by `send`, new streams to `opened`."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]], opened: Callable[[Stream], None]) -> None:
        self._send, self._opened = send, opened
        self._streams: dict[int, Stream] = {}
        self._buffer = bytearray()
        self._inflate, self._deflate = zlib.decompressobj(zdict=DICTIONARY), zlib.compressobj(zdict=DICTIONARY)

    async def feed(self, data: bytes) -> None:
        """Take bytes of the other end; raise SpdyError when they make no sense."""
        self._buffer += data
        while len(self._buffer) >= _HEAD.size:
            first, second = _HEAD.unpack_from(self._buffer)
            flags, length = second >> 24, second & 0xFFFFFF
            if length > MAX_FRAME_BYTES:
                raise SpdyError(f"a frame of {length} bytes")
            if len(self._buffer) < _HEAD.size + length:
                return
            payload = bytes(self._buffer[_HEAD.size : _HEAD.size + length])
            del self._buffer[: _HEAD.size + length]
            if first >> 31:
                await self._control(first >> 16 & 0x7FFF, first & 0xFFFF, flags, payload)
            elif stream := self._streams.get(first):
                await stream.received(payload, last=bool(flags & _FIN))

    def end(self) -> None:
        """End all streams: the connection is gone."""
        for stream in self._streams.values():
            stream.cut()
        self._streams.clear()

    def forget(self, stream: Stream) -> None:
        """Take no more for a stream."""
        self._streams.pop(stream.number, None)

    async def send_data(self, number: int, data: bytes, *, last: bool) -> None:
        """Send a data frame."""
        await self._send(_HEAD.pack(number, (_FIN if last else 0) << 24 | len(data)) + data)

    async def _control(self, version: int, kind: int, flags: int, payload: bytes) -> None:
        if version != _VERSION:
            raise SpdyError(f"version {version}")
        if kind == _SYN_STREAM:
            await self._open(payload, flags)
        elif kind == _RST_STREAM:
            if (stream := self._streams.pop(_number(payload), None)) is not None:
                stream.cut()
        elif kind == _PING:
            await self._send_control(_PING, payload)
        # settings and window updates bind nobody here

    async def _open(self, payload: bytes, flags: int) -> None:
        if len(self._streams) >= MAX_STREAMS:
            raise SpdyError(f"more than {MAX_STREAMS} streams")
        number = _number(payload)
        stream = self._streams[number] = Stream(self, number, self._headers(payload[10:]))
        empty = self._deflate.compress(struct.pack(">I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        await self._send_control(_SYN_REPLY, struct.pack(">I", number) + empty)
        if flags & _FIN:
            await stream.received(b"", last=True)
        self._opened(stream)

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            plain = self._inflate.decompress(block)
            count, place = struct.unpack_from(">I", plain)[0], 4
            words = []
            for _ in range(2 * count):
                (length,) = struct.unpack_from(">I", plain, place)
                words.append(plain[place + 4 : place + 4 + length].decode())
                place += 4 + length
        except (zlib.error, struct.error, UnicodeDecodeError) as error:
            raise SpdyError(f"headers that cannot be read: {error}") from error
        return {name.lower(): value for name, value in zip(words[::2], words[1::2], strict=True)}

    async def _send_control(self, kind: int, payload: bytes) -> None:
        await self._send(_HEAD.pack(1 << 31 | _VERSION << 16 | kind, len(payload)) + payload)


def _number(payload: bytes) -> int:
    if len(payload) < 4:
        raise SpdyError("a frame without a stream")
    number: int = struct.unpack_from(">I", payload)[0] & 0x7FFFFFFF
    return number
