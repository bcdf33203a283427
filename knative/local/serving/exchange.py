"""What passes between the one who asks and a pod, whichever version of HTTP either of them speaks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from zeroflow.errors import Unavailable

RawHeaders = list[tuple[bytes, bytes]]


class NotSent(Unavailable):
    """The pod has seen nothing of the request: any request may be tried elsewhere."""


class Broken(Unavailable):
    """The exchange ended before the answer did: the pod may have been at work on it."""


class Outgoing:
    """A request on its way to a pod; can be sent again as long as its body has not been touched or is held."""

    def __init__(
        self,
        method: str,
        target: str,
        headers: RawHeaders,
        *,
        body: bytes = b"",
        stream: AsyncIterator[bytes] | None = None,
        length: int | None = None,
        trailers: bool = False,
        grpc: bool = False,
    ) -> None:
        self.method, self.target, self.headers = method, target, headers
        self.body = body
        """The whole body, when there is no stream."""
        self.stream = stream
        self.length = length if stream is not None else len(body)
        """Of the body in bytes; None when nobody knows it."""
        self.trailers = trailers
        """Whether whoever asks can take trailers."""
        self.grpc = grpc
        """Whether it is a gRPC call, which only HTTP/2 can carry."""
        self.touched = False
        self.began: float | None = None
        """When an instance got it last, by `time.perf_counter`."""

    @property
    def repeatable(self) -> bool:
        """Whether it can be sent once more from its beginning."""
        return self.stream is None or not self.touched


class Exchange(Protocol):
    """One request to a pod whose answer has begun."""

    status: int
    reason: bytes
    headers: RawHeaders

    @property
    def complete(self) -> bool:
        """Whether the whole answer has arrived."""
        ...

    @property
    def buffered(self) -> bool:
        """Whether there is a part of the body that nobody has read."""
        ...

    @property
    def trailers(self) -> RawHeaders:
        """What came after the body."""
        ...

    async def arrived(self) -> None:
        """Wait for a part of the body, or its end; raise Broken when it is cut off."""
        ...

    async def read_chunk(self) -> bytes:
        """Return what has arrived of the body, b"" at its end; raise Broken when it is cut off."""
        ...

    async def finish(self) -> None:
        """Stop what is left of the request's body: the pod has answered without it."""
        ...

    def abort(self) -> None:
        """Give up; the pod sees that nobody listens."""
        ...


class Upstream(Protocol):
    """The connections to one pod."""

    port: int

    async def send(self, request: Outgoing) -> Exchange:
        """Send a request and return when the head of the answer is there; raise NotSent or Broken."""
        ...

    def give(self, exchange: Exchange) -> None:
        """Take back an exchange that is over."""
        ...

    def kept(self) -> Exchange | None:
        """Return an open connection for HTTP/1.1 on which nothing goes on, taken out; None when none is kept."""
        ...

    async def connects(self) -> bool:
        """Return whether the pod accepts a connection."""
        ...

    def close(self) -> None:
        """Close what is idle; what is in use is closed when it is given back."""
        ...
