"""The one port: HTTP/1.1, and HTTP/2 without TLS for clients that know it is spoken here (h2c, prior knowledge).

HTTP/1.1 is read by `http1` for as long as a client asks Services alone, by aiohttp from the first other request on.
The first bytes of a connection decide. What an HTTP/2 stream asks of a Service goes to its pod as it is; whatever else
(the host's own APIs, the broker) is asked again by HTTP/1.1 at this same port, so that there is one way to answer it.
`Upgrade: h2c` is not taken, as RFC 9113 has done away with it: such a client is answered by HTTP/1.1.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from aiohttp import web

from zeroflow.errors import Unavailable
from zeroflow.http2.frames import PREFACE
from zeroflow.knative.local.acceptor import Acceptor
from zeroflow.knative.local.front import Front
from zeroflow.knative.local.http1.connection import Client
from zeroflow.knative.local.serving.caller_http2 import Asked, Http2Caller
from zeroflow.knative.local.serving.upstream_http1 import Connections

if TYPE_CHECKING:
    from zeroflow.http2.connection import Connection
    from zeroflow.http2.stream import Stream

BACKLOG = 1024
_KEPT_IDLE_S = 60.0

_Http1 = Callable[[], asyncio.Protocol]
_Factory = Callable[[], asyncio.BaseProtocol]
_Http2 = Callable[[asyncio.Transport], asyncio.Protocol]


class Door:
    """Opens the port; `close` lets HTTP/2 streams in progress end. `runner` is that of the HTTP/1.1 application.

    With `encryption` the listeners are beyond loopback too, where TLS is spoken.
    """

    def __init__(
        self,
        front: Front,
        runner: web.AppRunner,
        listeners: Sequence[socket.socket],
        encryption: ssl.SSLContext | None = None,
    ) -> None:
        self._front, self._runner, self._listeners, self._encryption = front, runner, listeners, encryption
        self._acceptors: list[Acceptor] = []
        self._http1: set[Client] = set()
        self._http2: set[Connection] = set()
        self._own = Connections(listeners[0].getsockname()[1], _KEPT_IDLE_S)

    async def open(self) -> None:
        """Accept connections."""
        for listener in self._listeners:
            if self._encryption is None:
                await _Site(self._runner, listener, self._connected).start()
            else:
                self._acceptors.append(Acceptor(listener, self._connected, self._encryption))
                self._acceptors[-1].start()

    async def close(self, grace_s: float) -> None:
        """End connections after the requests in progress; the runner ends those that it has."""
        await asyncio.gather(*(acceptor.close() for acceptor in self._acceptors))
        await asyncio.gather(
            self._close_http1(grace_s), *(connection.close(grace_s) for connection in list(self._http2))
        )
        self._own.close()

    async def _close_http1(self, grace_s: float) -> None:
        clients = list(self._http1)
        for client in clients:
            client.close()
        if clients:
            await asyncio.wait([client.gone for client in clients], timeout=grace_s)
        for client in clients:
            client.abort()

    def _connected(self) -> asyncio.BaseProtocol:
        assert self._runner.server is not None
        server = self._runner.server
        return _Peek(lambda: Client(self._front.find, server, self._http1), self._speak_http2)

    def _speak_http2(self, transport: asyncio.Transport) -> asyncio.Protocol:
        from zeroflow.http2.connection import Connection  # 40 ms that nobody else pays

        peer = transport.get_extra_info("peername")
        client = str(peer[0]) if peer else "127.0.0.1"

        async def serve(stream: Stream) -> None:
            asked = Asked(stream, client)
            if not await self._front.handle_http2(asked):
                await self._ask_own(asked)

        connection = Connection(serve, ended=self._http2.discard)
        self._http2.add(connection)
        return connection

    async def _ask_own(self, asked: Asked) -> None:
        """Ask this host's HTTP/1.1 side and pass its answer on."""
        caller = Http2Caller(asked)
        try:
            exchange = await self._own.send(await caller.outgoing(asked.target or "/"))
            try:
                await caller.answer(exchange, idle_s=0.0)
            finally:
                await exchange.finish()
                self._own.give(exchange)
        except Unavailable as error:
            await caller.refuse(502, f"{error}\n")


class _Peek(asyncio.Protocol):
    """Waits for the first bytes and hands the connection to the protocol that they belong to."""

    def __init__(self, http1: _Http1, http2: _Http2) -> None:
        self._http1, self._http2 = http1, http2
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._seen += data
        beginning = self._seen[: len(PREFACE)]
        if not PREFACE.startswith(beginning):
            self._become(self._http1())
        elif len(beginning) == len(PREFACE):
            self._become(self._http2(self._transport))

    def _become(self, protocol: asyncio.Protocol) -> None:
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(self._seen)


class _Site(web.BaseSite):
    def __init__(self, runner: web.AppRunner, listener: socket.socket, factory: _Factory) -> None:
        super().__init__(runner, backlog=BACKLOG)
        self._sock, self._factory = listener, factory

    @property
    def name(self) -> str:
        host, port, *_ = self._sock.getsockname()
        return f"http://{host}:{port}"

    async def start(self) -> None:
        await super().start()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._factory, sock=self._sock, backlog=BACKLOG)
