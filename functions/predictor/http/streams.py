"""HTTP/2 requests of a connection as WSGI requests; what gRPC calls trailers are headers named `grpc-...` here."""

import asyncio
import io
import logging
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from zeroflow.functions.predictor.http.connection import REQUEST_TIMEOUT_S, SLOWEST_BYTES_S, WSGI
from zeroflow.functions.predictor.telling.witness import ARRIVED
from zeroflow.http2.stream import NO_ERROR, Headers, Stream, StreamReset

if TYPE_CHECKING:
    from zeroflow.functions.predictor.worker import QuickWorker

logger = logging.getLogger(__name__)

HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "upgrade")
TOO_LARGE = b"8"  # gRPC's RESOURCE_EXHAUSTED


async def serve(worker: "QuickWorker", stream: Stream) -> None:
    """Read one request, have it answered as any other, and send the answer."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in await stream.head()}
    body, begun = bytearray(), time.monotonic()
    try:
        while chunk := await _read(stream, begun, len(body)):
            body += chunk
            if len(body) > worker.max_body_bytes:
                await _refuse(worker, stream, headers)
                return
    except TimeoutError:
        stream.reset()
        return
    environ = _environ(headers, bytes(body))
    head: list[Any] = []

    def start_response(status: str, given: list[tuple[str, str]], exc_info: Any = None) -> Any:
        head[:] = [status, given]

    try:
        if worker.is_quick(environ):
            parts = worker.wsgi(environ, start_response)
        elif worker.is_full:
            parts = worker.busy(environ, start_response)
        else:
            parts = await asyncio.wrap_future(worker.threads.submit(worker.wsgi, environ, start_response))
        await _send(worker, stream, head, parts, environ["REQUEST_METHOD"] == "HEAD")
    except StreamReset:
        raise
    except Exception:
        logger.exception("%s %s failed", environ["REQUEST_METHOD"], environ["PATH_INFO"])


async def _read(stream: Stream, begun: float, size: int) -> bytes:
    """Return the next part of a body; raise TimeoutError when it comes no sooner than in HTTP/1.1 (connection.py)."""
    if stream.got_all:
        return await stream.read()
    left_s = begun + REQUEST_TIMEOUT_S + size / SLOWEST_BYTES_S - time.monotonic()
    return await asyncio.wait_for(stream.read(), min(left_s, REQUEST_TIMEOUT_S))


async def _send(worker: "QuickWorker", stream: Stream, head: list[Any], parts: Iterable[bytes], empty: bool) -> None:
    try:
        status, given = head
        named = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in given]
        trailers = [each for each in named if each[0].startswith(b"grpc-")]
        plain = [each for each in named if not each[0].startswith(b"grpc-") and each[0].decode() not in HOP_BY_HOP]
        stream.send_head([(b":status", status[:3].encode()), *plain])
        if not empty:
            if isinstance(parts, tuple | list):
                await stream.send(b"".join(parts))
            else:  # made piece by piece, by a model that takes its time
                pieces = iter(parts)
                while (part := await asyncio.wrap_future(worker.threads.submit(next, pieces, None))) is not None:
                    await stream.send(part)
        await stream.finish(trailers)
    finally:
        if hasattr(parts, "close"):
            parts.close()


async def _refuse(worker: "QuickWorker", stream: Stream, headers: dict[str, str]) -> None:
    said = f"the body is larger than {worker.max_body_bytes} bytes".encode()
    if headers.get("content-type", "").startswith("application/grpc"):
        answer: Headers = [(b":status", b"200"), (b"content-type", b"application/grpc")]
        stream.send_head([*answer, (b"grpc-status", TOO_LARGE), (b"grpc-message", said)], end=True)
    else:
        stream.send_head([(b":status", b"413"), (b"content-type", b"application/json")])
        await stream.send(b'{"error":"%s"}' % said, end=True)
    stream.reset(NO_ERROR)


def _environ(headers: dict[str, str], body: bytes) -> dict[str, Any]:
    path, _, query = headers.get(":path", "/").partition("?")
    environ: dict[str, Any] = {
        **WSGI,
        "wsgi.errors": sys.stderr,
        "wsgi.input": io.BytesIO(body),
        "REQUEST_METHOD": headers.get(":method", "GET"),
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": "HTTP/2",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "0",
        "HTTP_HOST": headers.get(":authority", "localhost"),
        "CONTENT_LENGTH": str(len(body)),
        ARRIVED: time.perf_counter(),
    }
    for name, value in headers.items():
        if name == "content-type":
            environ["CONTENT_TYPE"] = value
        elif not name.startswith(":") and name != "content-length" and "_" not in name:
            environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
    return environ
