"""WebSockets through the activator: one to the client, one to the pod, messages passed on in both directions.

The pod's handshake comes first, so that the client gets the subprotocol that the function chose, or its refusal.
Pings and closing codes pass through. Source: RFC 6455.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import aiohttp
from aiohttp import web

from zeroflow.knative.local.serving.caller_http1 import PASSPORT
from zeroflow.knative.local.serving.headers import HOP_BY_HOP, NO_PASSPORT, to_pod

_OWN = HOP_BY_HOP | {
    b"sec-websocket-key",
    b"sec-websocket-version",
    b"sec-websocket-extensions",
    b"sec-websocket-protocol",
    b"content-length",
}


def wanted(request: web.Request) -> bool:
    """Return whether the client asks for a WebSocket."""
    return request.method == "GET" and request.headers.get("Upgrade", "").lower() == "websocket"


async def relay(request: web.Request, session: aiohttp.ClientSession, port: int, target: str) -> web.StreamResponse:
    """Connect both sides and pass messages until one of them closes."""
    protocols = [word.strip() for word in request.headers.get("Sec-WebSocket-Protocol", "").split(",") if word.strip()]
    passed = to_pod(
        request.raw_headers,
        client=request.remote or "127.0.0.1",
        scheme=request.scheme,
        passport=request.get(PASSPORT, NO_PASSPORT),
    )
    headers = [
        (name.decode("latin-1"), value.decode("utf-8", "surrogateescape"))
        for name, value in passed
        if name.lower() not in _OWN
    ]
    url = f"http://127.0.0.1:{port}{target}"
    try:
        pod = await session.ws_connect(
            url, protocols=protocols, headers=headers, autoping=False, autoclose=False, max_msg_size=0, compress=0
        )
    except aiohttp.WSServerHandshakeError as refusal:
        return web.Response(status=refusal.status if refusal.status >= 400 else 502, text=refusal.message)
    async with pod:
        client = web.WebSocketResponse(
            protocols=[pod.protocol] if pod.protocol else (), autoping=False, autoclose=False, max_msg_size=0
        )
        await client.prepare(request)
        tasks = [asyncio.ensure_future(_pass(client, pod)), asyncio.ensure_future(_pass(pod, client))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(Exception):
                await client.close(code=pod.close_code or 1000)
    return client


_Side = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def _pass(source: _Side, sink: _Side) -> None:
    """Pass on what `source` sends until it closes."""
    while True:
        message = await source.receive()
        match message.type:
            case aiohttp.WSMsgType.TEXT:
                await sink.send_str(message.data)
            case aiohttp.WSMsgType.BINARY:
                await sink.send_bytes(message.data)
            case aiohttp.WSMsgType.PING:
                await sink.ping(message.data)
            case aiohttp.WSMsgType.PONG:
                await sink.pong(message.data)
            case aiohttp.WSMsgType.CLOSE:
                await sink.close(code=message.data or 1000, message=(message.extra or "").encode())
                return
            case _:
                return
