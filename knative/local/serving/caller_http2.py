"""Who asks by HTTP/2: a stream of the client's connection, its answer with trailers, gRPC among them.

A gRPC client is told what the host itself has to say as a gRPC status, since it never shows an HTTP body to anybody.
Source: RFC 9113 section 8; gRPC over HTTP/2 (PROTOCOL-HTTP2.md, http-grpc-status-mapping.md).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from urllib.parse import quote

from multidict import CIMultiDict

from zeroflow.http2.stream import INTERNAL_ERROR, Headers, Stream
from zeroflow.knative.local.serving.exchange import Exchange, Outgoing
from zeroflow.knative.local.serving.headers import NO_PASSPORT, from_pod, to_pod
from zeroflow.knative.local.serving.limits import within

_GRPC_STATUS = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
_GRPC_UNKNOWN = 2


class Asked:
    """The head of a request on an HTTP/2 stream, read once."""

    def __init__(self, stream: Stream, client: str) -> None:
        self.stream, self.client = stream, client
        self.passport = NO_PASSPORT
        self.method = self.target = self.host = ""
        self.fields: Headers = []
        length = None
        cookies: list[bytes] = []
        for name, value in stream.headers or ():
            match name:
                case b":method":
                    self.method = value.decode("latin-1")
                case b":path":
                    self.target = value.decode("latin-1")
                case b":authority" | b"host":
                    self.host = self.host or value.decode("latin-1")
                case b"content-length":
                    length = int(value)  # h2 has checked it
                case b"cookie":
                    cookies.append(value)
                case _ if not name.startswith(b":"):
                    self.fields.append((bytes(name), bytes(value)))
        if cookies:  # RFC 9113 section 8.2.3
            self.fields.append((b"cookie", b"; ".join(cookies)))
        self.length = length
        self.headers = CIMultiDict(
            (name.decode("latin-1"), value.decode("utf-8", "surrogateescape")) for name, value in self.fields
        )

    @property
    def grpc(self) -> bool:
        """Whether it is a gRPC call."""
        return self.headers.get("content-type", "").startswith("application/grpc")


class Http2Caller:
    """One request on a stream."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._stream = asked.stream
        self._answering = False

    async def outgoing(self, target: str) -> Outgoing:
        """Return the request to a pod as `target` (path and query)."""
        asked = self._asked
        given = [(b"host", asked.host.encode()), *asked.fields]
        headers = to_pod(given, client=asked.client, scheme="http", passport=asked.passport)
        trailers = "trailers" in asked.headers.get("te", "")
        if self._stream.got_all:  # at most one window: held, so that it can be sent again
            body = await self._stream.read()
            return Outgoing(asked.method, target, headers, body=body, trailers=trailers, grpc=asked.grpc)
        return Outgoing(
            asked.method,
            target,
            headers,
            stream=self._body(),
            length=asked.length,
            trailers=trailers,
            grpc=asked.grpc,
        )

    async def answer(self, exchange: Exchange, idle_s: float) -> None:
        """Pass the pod's answer on; raise Broken when it is cut off, ConnectionError when the client has gone."""
        status = (b":status", b"%d" % exchange.status)
        ended = exchange.complete and not exchange.buffered
        self._answering = True
        self._stream.send_head([status, *_fields(exchange.headers)], end=ended and not exchange.trailers)
        while not ended:
            async with within(idle_s):
                chunk = await exchange.read_chunk()
            if not chunk:
                break
            ended = exchange.complete and not exchange.buffered
            await self._stream.send(chunk, end=ended and not exchange.trailers)
        if not self._stream.sent_all:
            await self._stream.finish(_fields(exchange.trailers))

    async def refuse(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        """Answer by the host itself, or reset the stream when another answer has begun already."""
        if self._answering:
            self._stream.reset(INTERNAL_ERROR)
            return
        if self._asked.grpc:
            code, message = _GRPC_STATUS.get(status, _GRPC_UNKNOWN), quote(text.strip(), safe=" ,;:/'()\"=")
            told = [(b"content-type", b"application/grpc"), (b"grpc-status", b"%d" % code)]
            self._stream.send_head([(b":status", b"200"), *told, (b"grpc-message", message.encode())], end=True)
            return
        body = text.encode()
        given = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(body))} | dict(headers or {})
        fields = [(name.lower().encode(), value.encode()) for name, value in given.items()]
        self._stream.send_head([(b":status", b"%d" % status), *fields])
        await self._stream.send(body, end=True)

    async def _body(self) -> AsyncIterator[bytes]:
        while chunk := await self._stream.read():
            yield chunk


def _fields(headers: Headers) -> Headers:
    return [(name.lower(), value) for name, value in from_pod(headers)]
