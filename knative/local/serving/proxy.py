"""One exchange with one pod: the request streamed in, the answer streamed out, within the revision's time limits.

A small request body is read first and sent with the head in one piece; a large or chunked one is streamed while the
answer may already be coming back. When the client goes away, or a limit is reached, the connection to the pod is cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from zeroflow.knative.local.serving.headers import request_head, response_headers
from zeroflow.knative.local.serving.upstream import Broken, Connection, Connections

SMALL_BODY_BYTES = 64 << 10
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_NO_CONTENT = frozenset({204, 304})


@dataclass(frozen=True)
class Limits:
    """The time limits of a revision in seconds; 0 = none."""

    total_s: float
    response_start_s: float = 0.0
    idle_s: float = 0.0


def limits_of(spec: Mapping[str, Any]) -> Limits:
    """Read the limits from a revision's spec."""
    return Limits(
        total_s=float(spec.get("timeoutSeconds") or 300),
        response_start_s=float(spec.get("responseStartTimeoutSeconds") or 0),
        idle_s=float(spec.get("idleTimeoutSeconds") or 0),
    )


class Outgoing:
    """A request on its way to a pod; can be sent again as long as its body has not been touched or is held."""

    def __init__(self, method: str, head: bytes, body: bytes | None, stream: AsyncIterator[bytes] | None) -> None:
        self.method, self.head, self.body = method, head, body
        self.stream = stream
        self.chunked = False
        self.touched = False

    @property
    def repeatable(self) -> bool:
        """Whether it can be sent once more from its beginning."""
        return self.stream is None or not self.touched

    async def send(self, connections: Connections) -> Connection:
        """Send it and return the connection when the head of the answer is there; raise NotSent or Broken."""
        connection = await connections.take()
        try:
            connection.exchange(self.head + (self.body or b""), head_only=self.method == "HEAD")
            if self.stream is None:
                await connection.read_head()
            else:
                await self._send_stream(connection)
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _send_stream(self, connection: Connection) -> None:
        """Send the body while waiting for the answer; what is left of it goes on in the background."""
        self.touched = True
        sending = asyncio.get_running_loop().create_task(self._pump(connection))
        try:
            await connection.read_head()
        except BaseException:
            sending.cancel()
            raise
        connection.sending = None if sending.done() else sending

    async def _pump(self, connection: Connection) -> None:
        assert self.stream is not None
        try:
            async for chunk in self.stream:
                if chunk:
                    await connection.send(b"%x\r\n%b\r\n" % (len(chunk), chunk) if self.chunked else chunk)
            if self.chunked:
                await connection.send(b"0\r\n\r\n")
        except Broken:
            return  # whoever reads the answer sees the same
        except Exception:
            connection.abort()  # the client broke off in the middle of the body: so does the answer


async def outgoing(request: web.Request, target: str) -> Outgoing:
    """Read what is needed of `request` to send it to a pod as `target` (path and query)."""
    length = request.content_length
    body: bytes | None = None
    stream: AsyncIterator[bytes] | None = None
    if request.can_read_body:
        if length is not None and length <= SMALL_BODY_BYTES:
            body = await request.read()
        else:
            stream = request.content.iter_any()
    head = request_head(
        request.method,
        target,
        request.raw_headers,
        client=request.remote or "127.0.0.1",
        scheme=request.scheme,
        length=length if stream is not None else len(body or b""),
    )
    made = Outgoing(request.method, head, body, stream)
    made.chunked = stream is not None and length is None
    return made


def compose(request: web.Request, connection: Connection) -> web.StreamResponse:
    """Return the answer to the client whose head the pod has sent."""
    response = web.StreamResponse(status=connection.status, reason=connection.reason.decode("latin-1"))
    for name, value in response_headers(connection.headers):
        response.headers.add(name, value)
    if not _bodiless(request, connection) and "Content-Length" not in response.headers and request.version >= (1, 1):
        response.enable_chunked_encoding()
    return response


def _bodiless(request: web.Request, connection: Connection) -> bool:
    return request.method == "HEAD" or connection.status in _NO_CONTENT


async def relay(request: web.Request, response: web.StreamResponse, connection: Connection, idle_s: float) -> None:
    """Pass the body of the answer on to the client; raise Broken when it is cut off."""
    chunk = b"" if _bodiless(request, connection) else await connection.read_chunk()
    await response.prepare(request)
    while chunk:
        if connection.complete and not connection.buffered:
            await response.write_eof(chunk)
            return
        await response.write(chunk)
        async with asyncio.timeout(idle_s or None):
            chunk = await connection.read_chunk()
    await response.write_eof()


async def finish(connection: Connection) -> None:
    """Let the rest of a request body that the pod answered early go or stop, before the connection is given back."""
    if connection.sending is not None:
        connection.sending.cancel()
        connection.abort()
        with suppress(asyncio.CancelledError, Exception):
            await connection.sending
        connection.sending = None
