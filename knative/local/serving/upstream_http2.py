"""HTTP/2 to one pod whose port is named `h2c`: many requests at a time on one connection. Source: RFC 9113."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import cast

from zeroflow.http2.connection import Connection
from zeroflow.http2.stream import CANCEL, Headers, Stream, StreamReset
from zeroflow.knative.local.serving.exchange import Broken, Exchange, NotSent, Outgoing, RawHeaders
from zeroflow.knative.local.serving.headers import http2_head
from zeroflow.knative.local.serving.upstream_http1 import Connection as Http1Connection
from zeroflow.knative.local.serving.upstream_http1 import Connections


class StreamExchange:
    """One request and its answer."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.status = 0
        self.reason = b""
        self.headers: RawHeaders = []
        self._sending: asyncio.Task[None] | None = None

    @property
    def complete(self) -> bool:
        return self.stream.got_all

    @property
    def buffered(self) -> bool:
        return self.stream.buffered

    @property
    def trailers(self) -> RawHeaders:
        return self.stream.trailers

    async def read_head(self) -> None:
        """Wait for status and headers; raise NotSent or Broken."""
        try:
            head = await self.stream.head()
        except StreamReset as error:
            raise _told(error) from error
        for name, value in head:
            if name == b":status":
                self.status = int(value)
            elif not name.startswith(b":"):
                self.headers.append((bytes(name), bytes(value)))

    async def arrived(self) -> None:
        try:
            await self.stream.arrived()
        except StreamReset as error:
            raise _told(error) from error

    async def read_chunk(self) -> bytes:
        try:
            return await self.stream.read()
        except StreamReset as error:
            raise _told(error) from error

    def send_body(self, request: Outgoing) -> None:
        """Send the body while the answer may already be coming back."""
        self._sending = asyncio.get_running_loop().create_task(self._pump(request))

    async def finish(self) -> None:
        sending, self._sending = self._sending, None
        if sending is not None and not sending.done():
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending
        self.stream.reset(CANCEL)

    def abort(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
        self.stream.reset(CANCEL)

    async def _pump(self, request: Outgoing) -> None:
        try:
            if request.stream is None:
                await self.stream.send(request.body, end=True)
                return
            request.touched = True
            async for chunk in request.stream:
                await self.stream.send(chunk)
            await self.stream.finish()
        except StreamReset:
            return  # whoever reads the answer sees the same
        except Exception:
            self.stream.reset(CANCEL)  # the client broke off in the middle of the body: so does the answer


class Http2Connections:
    """The connections to one pod: one, and another when it has as many streams as it takes."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._connections: list[Connection] = []
        self._connecting: asyncio.Lock = asyncio.Lock()
        self._closed = False

    async def send(self, request: Outgoing) -> StreamExchange:
        """Send a request and return when the head of the answer is there; raise NotSent or Broken."""
        head = http2_head(request.method, request.target, request.headers, request.length, trailers=request.trailers)
        exchange = StreamExchange(await self._open(head, end=request.stream is None and not request.body))
        try:
            if request.stream is not None or request.body:
                exchange.send_body(request)
            await exchange.read_head()
        except BaseException:
            exchange.abort()
            raise
        return exchange

    def give(self, exchange: Exchange) -> None:
        cast(StreamExchange, exchange).abort()
        if self._closed:
            self.close()

    def kept(self) -> None:
        return None

    async def connects(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    def close(self) -> None:
        self._closed = True
        for connection in [connection for connection in self._connections if connection.idle]:
            connection.abort()

    async def _open(self, head: Headers, *, end: bool) -> Stream:
        async with self._connecting:
            connection = next((one for one in self._connections if one.usable), None)
            if connection is None:
                connection = await self._connect()
        try:
            return connection.open(head, end=end)
        except StreamReset as error:
            raise _told(error) from error

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(ended=self._connections.remove), "127.0.0.1", self.port
            )
        except OSError as error:
            raise NotSent(f"the pod does not listen on port {self.port}: {error.strerror}") from error
        self._connections.append(connection)
        return connection


class EitherConnections:
    """The connections to a pod that tells HTTP's versions apart itself: gRPC goes by HTTP/2, the rest by HTTP/1.1."""

    def __init__(self, http1: Connections) -> None:
        self.port = http1.port
        self._http1, self._http2 = http1, Http2Connections(http1.port)

    async def send(self, request: Outgoing) -> Exchange:
        """Send a request and return when the head of the answer is there; raise NotSent or Broken."""
        return await (self._http2 if request.grpc else self._http1).send(request)

    def give(self, exchange: Exchange) -> None:
        (self._http2 if isinstance(exchange, StreamExchange) else self._http1).give(exchange)

    def kept(self) -> Http1Connection | None:
        return self._http1.kept()

    async def connects(self) -> bool:
        return await self._http2.connects()

    def close(self) -> None:
        self._http1.close()
        self._http2.close()


def _told(error: StreamReset) -> NotSent | Broken:
    if error.untouched:
        return NotSent(f"the pod has refused the request: {error}")
    return Broken(f"the pod broke off: {error}")
