"""Who asks by HTTP/1.1 with a small request: read whole by `http1`, the pod's answer written to the connection."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus

from zeroflow.knative.local.http1.connection import Client
from zeroflow.knative.local.http1.head import Head
from zeroflow.knative.local.serving.exchange import Exchange, Outgoing
from zeroflow.knative.local.serving.headers import from_pod, to_pod
from zeroflow.knative.local.serving.limits import within

logger = logging.getLogger(__name__)

TOGETHER_S = 0.005
"""How long the head of an answer waits for the beginning of its body: one write is cheaper than two."""
_NO_CONTENT = frozenset({204, 304})
_date: tuple[int, bytes] = (0, b"")


class PlainCaller:
    """One request."""

    def __init__(self, client: Client, head: Head, body: bytes) -> None:
        self.client, self.head, self._body = client, head, body
        self.begun = False
        """Whether the client has got a part of an answer."""
        self._chunked = False

    @property
    def keep(self) -> bool:
        """Whether another request may follow on the connection."""
        return self.head.keep and not self.client.closing

    def request(self, target: str) -> Outgoing:
        """Return the request to a pod as `target` (path and query)."""
        head = self.head
        headers = to_pod(head.fields, client=head.client, scheme=head.scheme, passport=head.passport)
        return Outgoing(head.method, target, headers, body=self._body, trailers=head.trailers)

    async def outgoing(self, target: str) -> Outgoing:
        """The same, as those do it who have to read the request first."""
        return self.request(target)

    def answer_whole(self, exchange: Exchange, body: bytes) -> None:
        """Pass an answer on that has arrived whole."""
        self.client.write(self._head_of(exchange, len(body)) + body)

    async def answer(self, exchange: Exchange, idle_s: float) -> None:
        """Pass the pod's answer on; raise Broken when it is cut off, ConnectionError when the client has gone."""
        if self._bodiless(exchange):
            self.answer_whole(exchange, b"")
            return
        if not exchange.buffered and not exchange.complete:
            with suppress(TimeoutError):
                async with asyncio.timeout(TOGETHER_S):
                    await exchange.arrived()
            if not exchange.buffered and not exchange.complete:
                self.begin(exchange)
        async with within(idle_s):
            chunk = await exchange.read_chunk()
        if not self.begun:
            if exchange.complete and not exchange.buffered:
                self.answer_whole(exchange, chunk)
                return
            self.begin(exchange)
        while chunk:
            self.client.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._chunked else chunk)
            await self.client.drain()
            async with within(idle_s):
                chunk = await exchange.read_chunk()
        if self._chunked:
            self.client.write(b"0\r\n\r\n")

    def begin(self, exchange: Exchange) -> None:
        """Pass the head of an answer on by itself."""
        self.client.write(self._head_of(exchange, None))

    async def refuse(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        """Answer by the host itself, or cut the connection when another answer has begun already."""
        self.refuse_now(status, text, headers)

    def refuse_now(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        """The same at once."""
        if self.begun:
            logger.info("%s %s: cut off in the middle of the answer: %s", self.head.method, self.head.target, text)
            self.client.abort()
            return
        body = text.encode()
        given = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body))} | dict(headers or {})
        fields = [(name.encode("latin-1"), value.encode("utf-8")) for name, value in given.items()]
        head = self._lines(status, HTTPStatus(status).phrase.encode(), [*fields, (b"Date", _now())])
        self.client.write(head if self.head.method == "HEAD" else head + body)

    def _bodiless(self, exchange: Exchange) -> bool:
        return self.head.method == "HEAD" or exchange.status in _NO_CONTENT

    def _head_of(self, exchange: Exchange, length: int | None) -> bytes:
        """Return the head of the answer to the client; `length` of its body, None when that is not known yet."""
        fields = from_pod(exchange.headers)
        framed = self._bodiless(exchange)
        dated = False
        for index, (name, _) in enumerate(fields):
            lower = name.lower()
            if lower == b"date":
                dated = True
            elif lower == b"content-length" and not framed:
                framed = True
                if length is not None:
                    fields[index] = (name, b"%d" % length)
        if not framed:
            self._chunked = length is None
            fields.append(
                (b"Content-Length", b"%d" % length) if length is not None else (b"Transfer-Encoding", b"chunked")
            )
        if not dated:
            fields.append((b"Date", _now()))
        return self._lines(exchange.status, exchange.reason, fields)

    def _lines(self, status: int, reason: bytes, fields: list[tuple[bytes, bytes]]) -> bytes:
        self.begun = True
        if not self.keep:
            fields.append((b"Connection", b"close"))
        lines = [b"HTTP/1.1 %d %b" % (status, reason), *[name + b": " + value for name, value in fields]]
        return b"\r\n".join(lines) + b"\r\n\r\n"


def _now() -> bytes:
    global _date  # noqa: PLW0603 - one for all answers of a second
    second = int(time.time())
    if _date[0] != second:
        _date = (second, formatdate(second, usegmt=True).encode())
    return _date[1]
