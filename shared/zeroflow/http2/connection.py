"""An HTTP/2 connection on asyncio: h2 knows the protocol, this moves bytes, keeps the windows and wakes who waits.

Memory is bounded: a stream may send `STREAM_WINDOW_BYTES` that nobody has read, `MAX_STREAMS` are open at a time, and
whoever reads no answer gets at most `MAX_UNREAD` of what no window bounds (PING, SETTINGS, heads). The connection's own
window is given back at once, so that one slow stream holds up no other. Source: RFC 9113.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import cast

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from zeroflow.http2.frames import PREFACE, Frames, goaway
from zeroflow.http2.stream import (
    INTERNAL_ERROR,
    NO_ERROR,
    REFUSED_STREAM,
    Headers,
    Stream,
    StreamReset,
)

STREAM_WINDOW_BYTES = 128 << 10
CONNECTION_WINDOW_BYTES = 4 << 20
MAX_STREAMS = 250
MAX_HEADER_BYTES = 64 << 10
MAX_UNREAD = 10_000
"""So many frames that ask for an answer are taken from a side that reads none."""
_DEFAULT_WINDOW_BYTES = 65535

Serve = Callable[[Stream], Awaitable[None]]


class Connection(asyncio.Protocol):
    """Either side. With `serve` it is the server's: each stream that the client opens is a task of its own."""

    def __init__(self, serve: Serve | None = None, ended: Callable[[Connection], None] | None = None) -> None:
        self._serve, self._ended = serve, ended
        self._loop = asyncio.get_running_loop()
        client = serve is None
        self._h2 = H2Connection(H2Configuration(client_side=client, header_encoding=None))
        limits = {
            SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
            SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
            SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_BYTES,
            SettingCodes.ENABLE_PUSH: 0,
        }
        self._h2.local_settings = Settings(client=client, initial_values=limits)
        self._frames = Frames(0 if client else len(PREFACE))
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, Stream] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._newest = 0
        self._taken = 0  # of the connection's window
        self._room: dict[int, asyncio.Future[None]] = {}  # streams that wait for the other side's window
        self._drained: asyncio.Future[None] | None = None  # while the transport's buffer is full
        self._unread = 0  # frames that came while that buffer was full
        self._flushing = self._closing = False
        self._heard = False

    # for whoever asks or serves

    @property
    def usable(self) -> bool:
        """Whether another stream can be opened."""
        if self._transport is None or self._transport.is_closing() or self._closing or self._hung_up():
            return False
        return self._frames.last_stream is None and len(self._streams) < self._h2.remote_settings.max_concurrent_streams

    @property
    def idle(self) -> bool:
        """Whether no stream is open."""
        return not self._streams

    def open(self, headers: Headers, *, end: bool) -> Stream:
        """Begin a stream (client's side) with a request's head; raise StreamReset with `untouched`."""
        if not self.usable:
            raise StreamReset(REFUSED_STREAM, untouched=True)
        stream = Stream(self, self._h2.get_next_available_stream_id())
        self._streams[stream.number] = stream
        stream.send_head(headers, end=end)
        return stream

    async def close(self, grace_s: float = 0.0) -> None:
        """Take no further stream; those that are open have `grace_s` to end."""
        self._closing = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(self._h2.data_to_send() + goaway(self._newest))
        if self._tasks and grace_s:
            await asyncio.wait(list(self._tasks.values()), timeout=grace_s)
        if self._streams:
            self.abort()
        else:
            self._hang_up()

    def abort(self) -> None:
        """End the connection now."""
        if self._transport is not None:
            self._transport.abort()

    # for streams

    def put_headers(self, stream: Stream, headers: Headers, *, end: bool) -> None:
        try:
            self._h2.send_headers(stream.number, headers, end_stream=end)
        except ProtocolError as error:
            raise self._lost(stream) from error
        self._sent(stream, end=end)

    async def put_data(self, stream: Stream, data: bytes, *, end: bool) -> None:
        at = 0
        try:
            while at < len(data):
                if self._drained is not None:
                    await asyncio.shield(self._drained)
                size = min(self._h2.local_flow_control_window(stream.number), self._h2.max_outbound_frame_size)
                if size <= 0:
                    await self._wait_for_room(stream)
                    continue
                part, at = data[at : at + size], at + size
                self._h2.send_data(stream.number, part, end_stream=end and at >= len(data))
                self._flush_soon()
            if end and not data:
                self._h2.end_stream(stream.number)
        except ProtocolError as error:
            raise self._lost(stream) from error
        self._sent(stream, end=end)

    def put_reset(self, stream: Stream, code: int) -> None:
        with suppress(ProtocolError):
            self._h2.reset_stream(stream.number, code)
        self._forget(stream)
        self._flush_soon()

    def consumed(self, stream: Stream, size: int) -> None:
        if size and not stream.got_all and stream.lost is None:
            with suppress(ProtocolError):
                self._h2.increment_flow_control_window(size, stream.number)
            self._flush_soon()

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(CONNECTION_WINDOW_BYTES - _DEFAULT_WINDOW_BYTES)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.resume_writing()
        # Who has not even sent its settings has not looked at a request: a killed process accepts for a moment more.
        for stream in list(self._streams.values()):
            self._lose(stream, StreamReset(INTERNAL_ERROR, untouched=not self._heard))
        if self._ended is not None:
            self._ended(self)

    def pause_writing(self) -> None:
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        self._unread = 0
        if self._drained is not None:
            self._drained.set_result(None)
            self._drained = None

    def data_received(self, data: bytes) -> None:
        self._heard = True
        self._read(data)
        if self._frames.behind and self._transport is not None:
            self._transport.pause_reading()
            self._loop.call_soon(self._catch_up)

    def _catch_up(self) -> None:
        """Read on where a turn of the loop has ended, before anything else of this connection."""
        if self._transport is None or self._transport.is_closing():
            return
        self._read(b"")
        if self._frames.behind:
            self._loop.call_soon(self._catch_up)
        elif self._transport is not None:
            self._transport.resume_reading()

    def _read(self, data: bytes) -> None:
        try:
            for event in self._h2.receive_data(self._frames.take(data)):
                self._handle(event)
        except ProtocolError:
            self._flush()  # h2 has written why
            if self._transport is not None:
                self._transport.close()
            return
        if self._frames.last_stream is not None:
            self._drain(self._frames.last_stream)
        self._flush_soon()

    def _handle(self, event: events.Event) -> None:
        if self._drained is not None and not isinstance(event, events.DataReceived | events.WindowUpdated):
            self._unread += 1
            if self._unread > MAX_UNREAD:
                self.abort()
                return
        if isinstance(event, events.RequestReceived):
            self._begin(event.stream_id, event.headers)
        elif isinstance(event, events.RemoteSettingsChanged):
            self._make_room(0)
        elif isinstance(event, events.WindowUpdated):
            self._make_room(event.stream_id)
        else:
            stream = self._streams.get(getattr(event, "stream_id", None) or 0)
            if isinstance(event, events.DataReceived):
                self._give_back(event.flow_controlled_length)
            if stream is not None:
                self._tell(stream, event)

    def _tell(self, stream: Stream, event: events.Event) -> None:
        if isinstance(event, events.ResponseReceived):
            stream.got_head(event.headers)
        elif isinstance(event, events.DataReceived):
            stream.got_data(event.data, event.flow_controlled_length)
        elif isinstance(event, events.TrailersReceived):
            stream.trailers = event.headers
        elif isinstance(event, events.StreamEnded):
            stream.got_end()
            self._forget_ended(stream)
        elif isinstance(event, events.StreamReset):
            code = int(event.error_code or 0)
            if code == NO_ERROR and stream.got_all:  # an answer that did not need the whole request
                self._forget(stream)
                stream.sent_all = True
            self._lose(stream, StreamReset(code, untouched=code == REFUSED_STREAM))

    def _begin(self, number: int, headers: Headers) -> None:
        assert self._serve is not None
        stream = Stream(self, number)
        if self._closing:
            self.put_reset(stream, REFUSED_STREAM)
            return
        self._newest = max(self._newest, number)
        self._streams[number] = stream
        stream.got_head(headers)
        task = self._loop.create_task(self._answer(stream))
        self._tasks[number] = task
        task.add_done_callback(lambda _: self._tasks.pop(number, None))

    async def _answer(self, stream: Stream) -> None:
        """Serve a stream and leave none half done."""
        assert self._serve is not None
        try:
            with suppress(StreamReset):
                await self._serve(stream)
        finally:
            stream.reset(NO_ERROR if stream.sent_all else INTERNAL_ERROR)

    # windows and ends

    async def _wait_for_room(self, stream: Stream) -> None:
        if stream.lost is not None:
            raise stream.lost
        waiter = self._room[stream.number] = self._loop.create_future()
        self._flush()
        try:
            await waiter
        finally:
            self._room.pop(stream.number, None)
        if stream.lost is not None:
            raise stream.lost

    def _make_room(self, number: int) -> None:
        """Wake a stream that waits for the other side's window; 0 is the connection's: all."""
        for waiter in [self._room.get(number)] if number else list(self._room.values()):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

    def _give_back(self, size: int) -> None:
        self._taken += size
        if self._taken >= CONNECTION_WINDOW_BYTES // 4:
            self._h2.increment_flow_control_window(self._taken)
            self._taken = 0

    def _drain(self, last_stream: int) -> None:
        """Note the other side's GOAWAY: it has not looked at streams after `last_stream` and takes no more."""
        if self._serve is not None:  # streams that a server opens, of which there are none
            return
        for stream in [stream for number, stream in self._streams.items() if number > last_stream]:
            self._lose(stream, StreamReset(REFUSED_STREAM, untouched=True))
        if not self._streams:
            self._hang_up()

    def _lost(self, stream: Stream) -> StreamReset:
        return stream.lost or StreamReset(INTERNAL_ERROR)

    def _sent(self, stream: Stream, *, end: bool) -> None:
        if end:
            stream.sent_all = True
            self._forget_ended(stream)
        self._flush_soon()

    def _lose(self, stream: Stream, why: StreamReset) -> None:
        self._forget(stream)
        stream.lose(why)
        self._make_room(stream.number)
        if (task := self._tasks.get(stream.number)) is not None:
            task.cancel()

    def _forget_ended(self, stream: Stream) -> None:
        if stream.sent_all and stream.got_all:
            self._forget(stream)

    def _forget(self, stream: Stream) -> None:
        self._streams.pop(stream.number, None)
        if not self._streams and (self._closing or self._frames.last_stream is not None):
            self._flush()
            self._hang_up()

    def _hung_up(self) -> bool:
        """Return whether the other side has closed the connection just now, before the loop has told of it."""
        assert self._transport is not None
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLRDHUP)
        return bool(poll.poll(0))

    def _hang_up(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _flush_soon(self) -> None:
        """Write what is due in one piece when this turn of the loop is over."""
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._transport is not None and (data := self._h2.data_to_send()):
            self._transport.write(data)
