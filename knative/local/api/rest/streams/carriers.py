"""The connections below: a WebSocket, or an HTTP connection that was upgraded to SPDY; bytes in, bytes out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from aiohttp import WSMsgType, web

from zeroflow.knative.local.api.errors import BadRequest

PROTOCOL_HEADER: Final = "X-Stream-Protocol-Version"
_READ_BYTES: Final = 64 * 1024


class WebSocket:
    """A WebSocket whose binary messages are the bytes."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self.response: web.StreamResponse = socket
        self._socket = socket
        self.protocol = socket.ws_protocol or ""

    async def read(self) -> bytes | None:
        """Return the next message, None when the client has gone."""
        while True:
            message = await self._socket.receive()
            if message.type is WSMsgType.BINARY:
                return bytes(message.data)
            if message.type is WSMsgType.TEXT:
                return str(message.data).encode()
            if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                return None

    async def write(self, data: bytes) -> None:
        """Send one message."""
        await self._socket.send_bytes(data)

    async def close(self) -> None:
        """Say goodbye."""
        await self._socket.close()


class Upgraded:
    """An HTTP/1.1 connection that carries another protocol from now on. aiohttp feeds it as one of its parsers."""

    def __init__(self, request: web.Request, response: web.StreamResponse, protocol: str) -> None:
        self.response, self.protocol = response, protocol
        self._reader = asyncio.StreamReader(limit=_READ_BYTES)
        self._transport = request.transport
        assert self._transport is not None
        self._reader.set_transport(self._transport)

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take bytes (for aiohttp)."""
        self._reader.feed_data(data)
        return False, b""

    def feed_eof(self) -> None:
        """Take the end (for aiohttp)."""
        self._reader.feed_eof()

    async def read(self) -> bytes | None:
        """Return what has arrived, None when the client has gone."""
        return await self._reader.read(_READ_BYTES) or None

    async def write(self, data: bytes) -> None:
        """Send bytes."""
        await self.response.write(data)

    async def close(self) -> None:
        """Close the connection once everything is sent."""
        if self._transport is not None:
            self._transport.close()


Carrier = WebSocket | Upgraded


def is_websocket(request: web.Request) -> bool:
    """Say whether a client asks for a WebSocket."""
    return request.headers.get("Upgrade", "").lower() == "websocket"


async def upgrade(request: web.Request, websocket: Sequence[str], spdy: Sequence[str]) -> Carrier:
    """Take the connection over with the first protocol that both ends know; raise BadRequest without one."""
    if is_websocket(request):
        asked = [each.strip() for each in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
        chosen = [each for each in websocket if each in asked]
        if not chosen:
            raise BadRequest(f"unable to upgrade: none of the protocols {asked} is served here: {list(websocket)}")
        socket = web.WebSocketResponse(protocols=chosen[:1], max_msg_size=0, heartbeat=30)
        await socket.prepare(request)
        return WebSocket(socket)
    if request.headers.get("Upgrade", "").lower() != "spdy/3.1":
        raise BadRequest("Upgrade request required")
    given = [part for value in request.headers.getall(PROTOCOL_HEADER, []) for part in value.split(",")]
    offered = {each.strip() for each in given}
    chosen = [each for each in spdy if each in offered]
    if not chosen:
        raise BadRequest(f"unable to upgrade: none of the protocols {sorted(offered)} is served here: {list(spdy)}")
    headers = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", PROTOCOL_HEADER: chosen[0]}
    response = web.StreamResponse(status=101, headers=headers)
    carrier = Upgraded(request, response, chosen[0])
    request.protocol.set_parser(carrier)  # type: ignore[arg-type]  # it needs feed_data and feed_eof alone
    await response.prepare(request)
    return carrier
