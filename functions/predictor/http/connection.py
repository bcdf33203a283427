"""One client's connection: bytes to WSGI requests, and answers back in their order."""

import asyncio
import io
import logging
import sys
import time
from collections import deque
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import httptools

from zeroflow.functions.predictor.telling.witness import ARRIVED
from zeroflow.http2.frames import PREFACE

if TYPE_CHECKING:
    from zeroflow.functions.predictor.worker import QuickWorker

logger = logging.getLogger(__name__)

MAX_HEAD_BYTES = 64 << 10
REQUEST_TIMEOUT_S = 60.0
"""A request of which nothing has come for so long never arrives in full; nor does one that comes more slowly than that,
and SLOWEST_BYTES_S beyond it: a byte now and then would keep a place for ever."""
SLOWEST_BYTES_S = 32 << 10
DISCARD_S = 2.0
NO_BODY = ("204", "304")
STREAM = "text/event-stream"
MAX_KEYS = 256
DROPPED = "-"
_date: tuple[int, str] = (0, "")
_keys: dict[bytes, str] = {}
"""WSGI's names of the headers that were seen, as they were spelled."""


WSGI = {
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.multithread": True,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
    "wsgi.input_terminated": True,
    "SCRIPT_NAME": "",
}
"""What every request's environment says, by HTTP/1.1 and HTTP/2."""


class Connection(asyncio.Protocol):
    """Callbacks of the event loop and of the parser; `environ` is the request that is being read."""

    def __init__(self, worker: "QuickWorker") -> None:
        self._worker = worker
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[dict[str, Any], bool]] = deque()
        self._busy = self._ended = self._unread = False
        self._first, self._first_bytes = True, b""
        self._since = self._begun = time.monotonic()
        self._begin()

    def connection_made(self, transport: Any) -> None:
        """Keep the connection until it is lost."""
        self._transport = transport
        self._worker.connections.add(self)
        peer = transport.get_extra_info("peername") or ("", 0)
        server = transport.get_extra_info("sockname") or ("", 0)
        self._base = {
            **WSGI,
            "wsgi.errors": sys.stderr,
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_NAME": str(server[0]),
            "SERVER_PORT": str(server[1]),
            "REMOTE_ADDR": str(peer[0]),
            "REMOTE_PORT": str(peer[1]),
        }

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection; what it still waits for is answered to nobody."""
        self._ended = True
        self._worker.connections.discard(self)
        self._worker.end_if_done()

    def data_received(self, data: bytes) -> None:
        """Read what has arrived."""
        self._since = time.monotonic()
        if self._ended:
            return
        if self._first:
            data, self._first = self._first_bytes + data, False
            if PREFACE.startswith(data[: len(PREFACE)]) and len(data) < len(PREFACE):
                self._first_bytes, self._first = data, True
                return
            if data.startswith(PREFACE):
                self._worker.connections.discard(self)
                self._worker.speak_http2(self._transport, data)
                return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._ended = True  # no other protocol is spoken; its request is answered as any other one
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if not isinstance(cause, _Refused):
                logger.error("a request failed while it was read", exc_info=cause)
                self._ended = True
                self._transport.close()
                return
            self._refuse(cause)
        except httptools.HttpParserError as error:
            self._refuse(_Refused(HTTPStatus.BAD_REQUEST, f"this is no HTTP request: {_fault(error)}"))

    def close_if_stale(self, now: float, keepalive_s: float) -> None:
        """Close when nothing is being answered and nothing has come for too long, or too little."""
        if self._busy:
            return
        if not self._head_bytes:
            if now - self._since > keepalive_s:
                self._transport.close()
        elif not self._ended and (
            now - self._since > REQUEST_TIMEOUT_S
            or now - self._begun > REQUEST_TIMEOUT_S + self._size / SLOWEST_BYTES_S
        ):
            self._refuse(_Refused(HTTPStatus.REQUEST_TIMEOUT, "the request did not arrive in time"))

    # What the parser calls, in this order.

    def on_url(self, url: bytes) -> None:
        if not self._head_bytes:
            self._begun = self._since
        self._head_bytes += len(url)
        if self._head_bytes > MAX_HEAD_BYTES:
            raise _Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEAD_BYTES:
            raise _Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        key = _keys.get(name) or _key(name)
        headers, text = self._headers, value.decode("latin-1")
        if key in headers:
            text = f"{headers[key]},{text}"
        if key != DROPPED:
            headers[key] = text

    def on_headers_complete(self) -> None:
        length = self._headers.get("CONTENT_LENGTH", "0")
        if length.isdecimal() and int(length) > self._worker.max_body_bytes:
            self._unread = self._ended = True
            self._dispatch(False)  # the application says so; the body is not read
        elif self._headers.get("HTTP_EXPECT", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        if self._ended:
            return
        self._size += len(data)
        if self._size > self._worker.max_body_bytes:
            limit = self._worker.max_body_bytes
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {limit} bytes")
        self._body.append(data)

    def on_message_complete(self) -> None:
        if not self._ended:
            self._dispatch(self._parser.should_keep_alive())
        self._begin()

    def _begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._head_bytes = self._size = 0

    def _dispatch(self, keep: bool) -> None:
        path, _, query = self._url.partition(b"?")
        if not path.startswith(b"/"):
            path = httptools.parse_url(self._url).path or b"/"
        if self._headers.pop("HTTP_TRANSFER_ENCODING", None):  # it has been undone
            self._headers["CONTENT_LENGTH"] = str(self._size)
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        environ = {
            **self._base,
            **self._headers,
            "REQUEST_METHOD": self._parser.get_method().decode(),
            "PATH_INFO": (unquote_to_bytes(path) if b"%" in path else path).decode("latin-1"),
            "QUERY_STRING": query.decode("latin-1"),
            "RAW_URI": self._url.decode("latin-1"),
            "wsgi.input": io.BytesIO(body),
            ARRIVED: time.perf_counter(),
        }
        self._waiting.append((environ, keep))
        if not self._busy:
            self._next()
        else:
            self._transport.pause_reading()

    def _next(self) -> None:
        """Answer the next request: here when it is quick, else in a thread."""
        environ, keep = self._waiting.popleft()
        self._busy = True
        if self._worker.is_quick(environ):
            self._answered(*self._answer(self._worker.wsgi, environ, keep))
            return
        if self._worker.is_full:
            self._answered(*self._answer(self._worker.busy, environ, keep))
            return
        future = self._worker.threads.submit(self._answer, self._worker.wsgi, environ, keep)
        loop = self._worker.loop
        future.add_done_callback(lambda done: loop.call_soon_threadsafe(self._answered, *done.result()))

    def _answer(self, application: Any, environ: dict[str, Any], keep: bool) -> tuple[bytes, bool]:
        head: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            head[:] = [status, headers]

        try:
            parts = application(environ, start_response)
            status, headers = head
            given = {name.lower(): value for name, value in headers}
            if given.get("content-type", "").startswith(STREAM):
                return self._stream(status, headers, parts, keep)
            try:
                body = b"".join(parts)
            finally:
                if hasattr(parts, "close"):
                    parts.close()
        except BaseException:  # a request that gets no answer holds up its connection for ever
            logger.exception("%s %s failed", environ["REQUEST_METHOD"], environ["PATH_INFO"])
            return _plain(_Refused(HTTPStatus.INTERNAL_SERVER_ERROR)), False
        keep = keep and self._worker.alive and "connection" not in given
        lines = [f"HTTP/1.1 {status}", f"Date: {_now()}", *[f"{name}: {value}" for name, value in headers]]
        bodiless = status[:3] in NO_BODY
        if "content-length" not in given and not bodiless:
            lines.append(f"Content-Length: {len(body)}")
        lines.append("Connection: keep-alive\r\n\r\n" if keep else "Connection: close\r\n\r\n")
        if bodiless or environ["REQUEST_METHOD"] == "HEAD":
            body = b""
        return "\r\n".join(lines).encode("latin-1") + body, keep

    def _stream(self, status: str, headers: list[tuple[str, str]], parts: Any, keep: bool) -> tuple[bytes, bool]:
        """Send an answer piece by piece, as it is made, from the thread that makes it; return its end."""
        keep = keep and self._worker.alive
        given = [f"{name}: {value}" for name, value in headers if name.lower() != "connection"]
        lines = [f"HTTP/1.1 {status}", f"Date: {_now()}", *given, "Transfer-Encoding: chunked"]
        lines.append("Connection: keep-alive" if keep else "Connection: close")
        write = self._worker.loop.call_soon_threadsafe
        write(self._transport.write, "\r\n".join([*lines, "", ""]).encode("latin-1"))
        try:
            for part in parts:
                if self._transport.is_closing():  # nobody listens any more
                    break
                write(self._transport.write, b"%x\r\n%b\r\n" % (len(part), part))
        except BaseException:
            logger.exception("a streamed answer ends early")
            return b"", False  # without its end, so that the client sees that it is cut
        finally:
            if hasattr(parts, "close"):
                parts.close()
        return b"0\r\n\r\n", keep

    def _answered(self, answer: bytes, keep: bool) -> None:
        self._busy = False
        self._since = time.monotonic()
        if self._transport.is_closing():
            return
        self._transport.write(answer)
        if self._waiting and keep:
            self._worker.loop.call_soon(self._next_waiting)
        elif not keep or self._ended:
            self._close()
        else:
            self._transport.resume_reading()

    def _close(self) -> None:
        """Close; first let a client that still sends read its answer, which a reset would take from it."""
        self._ended = True
        if self._unread and self._transport.can_write_eof():
            self._transport.write_eof()
            self._worker.loop.call_later(DISCARD_S, self._transport.close)
        else:
            self._transport.close()

    def _next_waiting(self) -> None:
        if self._waiting and not self._busy and not self._transport.is_closing():
            self._next()

    def _refuse(self, refused: "_Refused") -> None:
        """Answer what is no request, and close."""
        self._ended = True
        if not self._busy:
            self._unread = True
            self._transport.write(_plain(refused))
            self._close()


class _Refused(Exception):
    """Raised inside the parser's callbacks, which wraps it."""

    def __init__(self, status: HTTPStatus, why: str | None = None) -> None:
        super().__init__(why or status.phrase)
        self.status = status


def _key(name: bytes) -> str:
    key = name.decode("latin-1").upper().replace("-", "_")
    if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        key = f"HTTP_{key}"
    if b"_" in name:  # it could pass for another header
        key = DROPPED
    if len(_keys) < MAX_KEYS:
        _keys[name] = key
    return key


def _fault(error: Exception) -> str:
    """Return the parser's reason, as text that stands in JSON as it is."""
    said = str(error.args[0]) if error.args else type(error).__name__
    return "".join(each for each in said if each.isascii() and each.isprintable() and each not in '"\\\\')


def _plain(refused: _Refused) -> bytes:
    status, body = refused.status, f'{{"error":"{refused}"}}'
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\nConnection: close\r\n\r\n{body}".encode()


def _now() -> str:
    """Return the date of answers, made once a second."""
    global _date  # noqa: PLW0603 - a cache of one value
    second = int(time.time())
    if _date[0] != second:
        _date = second, formatdate(second, usegmt=True)
    return _date[1]
