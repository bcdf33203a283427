"""Who asks by HTTP/1.1: the request read from aiohttp, the pod's answer streamed back through it.

A small request body is read first and sent with the head in one piece; a large or chunked one is streamed while the
answer may already be coming back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress

from aiohttp import web

from zeroflow.knative.local.serving.exchange import Exchange, Outgoing
from zeroflow.knative.local.serving.headers import NO_PASSPORT, decoded, from_pod, to_pod
from zeroflow.knative.local.serving.limits import within

logger = logging.getLogger(__name__)

SMALL_BODY_BYTES = 64 << 10
PASSPORT = "zeroflow.passport"
"""Where the front puts what is told of who asks."""
_NO_CONTENT = frozenset({204, 304})
_CLIENT_GONE = 499
_TOGETHER_S = 0.005


class Http1Caller:
    """One request; `response` is what aiohttp is given in the end."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self.response: web.StreamResponse = web.Response(status=_CLIENT_GONE)

    async def outgoing(self, target: str) -> Outgoing:
        """Read what is needed of the request to send it to a pod as `target` (path and query)."""
        request = self._request
        headers = to_pod(
            request.raw_headers,
            client=request.remote or "127.0.0.1",
            scheme=request.scheme,
            passport=request.get(PASSPORT, NO_PASSPORT),
        )
        trailers = "trailers" in request.headers.get("TE", "")
        length = request.content_length
        if not request.can_read_body:
            return Outgoing(request.method, target, headers, trailers=trailers)
        if length is not None and length <= SMALL_BODY_BYTES:
            return Outgoing(request.method, target, headers, body=await request.read(), trailers=trailers)
        body = request.content.iter_any()
        return Outgoing(request.method, target, headers, stream=body, length=length, trailers=trailers)

    async def answer(self, exchange: Exchange, idle_s: float) -> None:
        """Pass the pod's answer on; raise Broken when it is cut off, ConnectionError when the client has gone."""
        request = self._request
        self.response = response = self._compose(exchange)
        chunk = b""
        if not self._bodiless(exchange):
            if not exchange.buffered and not exchange.complete:
                await self._wait_for_body(exchange, response)
            async with within(idle_s):
                chunk = await exchange.read_chunk()
        await response.prepare(request)
        while chunk:
            if exchange.complete and not exchange.buffered:
                await response.write_eof(chunk)
                return
            await response.write(chunk)
            async with within(idle_s):
                chunk = await exchange.read_chunk()
        await response.write_eof()

    async def _wait_for_body(self, exchange: Exchange, response: web.StreamResponse) -> None:
        """Send the head by itself when the body does not follow at once; one write is cheaper than two."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_TOGETHER_S):
                await exchange.arrived()
                return
        await response.prepare(self._request)

    async def refuse(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        """Answer by the host itself, or cut the connection when another answer has begun already."""
        if not self.response.prepared:
            self.response = web.Response(status=status, text=text, headers=headers)
            return
        request = self._request
        logger.info("%s %s: cut off in the middle of the answer: %s", request.method, request.path, text)
        if request.transport is not None:
            request.transport.abort()

    def _compose(self, exchange: Exchange) -> web.StreamResponse:
        """Return the answer to the client whose head the pod has sent."""
        response = web.StreamResponse(status=exchange.status, reason=exchange.reason.decode("latin-1") or None)
        for name, value in decoded(from_pod(exchange.headers)):
            response.headers.add(name, value)
        framed = self._bodiless(exchange) or "Content-Length" in response.headers
        if not framed and self._request.version >= (1, 1):
            response.enable_chunked_encoding()
        return response

    def _bodiless(self, exchange: Exchange) -> bool:
        return self._request.method == "HEAD" or exchange.status in _NO_CONTENT
