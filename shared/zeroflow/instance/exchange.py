"""One HTTP request between gunicorn's thread and the function's event loop.

The request's thread does the blocking reads and writes that the function's coroutine asks for, one at a time: a body
streams in both directions, and a client that reads slowly slows the function down, not the worker's memory.

Guarantees: the head of an answer goes out with its first body message, so a failure before that still gets a whole
answer; one after it cuts the connection. What a function does after its last body message no longer concerns the
client. That a client has gone shows at the next write.

Source: ASGI 3.0, HTTP connection scope; PEP 3333.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from zeroflow.instance.loop import LoopThread

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

logger = logging.getLogger(__name__)

Message = dict[str, Any]
Scope = dict[str, Any]
Application = Callable[[Scope, "Exchange"], Awaitable[None]]

CHUNK_BYTES = 64 * 1024
DISCONNECT = {"type": "http.disconnect"}


class Incomplete(Exception):
    """The function ended in the middle of its answer."""


@dataclass(frozen=True)
class _Read:
    answer: "asyncio.Future[bytes | None]"


@dataclass(frozen=True)
class _Write:
    data: bytes
    more: bool
    written: "asyncio.Future[None]"


class Exchange:
    """One request and its answer; `receive` and `send` are for the loop, `respond` for the request's thread."""

    def __init__(self, environ: "WSGIEnvironment", thread: LoopThread) -> None:
        self._environ, self._thread = environ, thread
        self._asked: SimpleQueue[_Read | _Write | None] = SimpleQueue()
        self._head: tuple[int, list[tuple[str, str]]] | None = None
        self._begun = self._complete = self._read_all = False
        self._closed = asyncio.Event()
        self._unread = int(environ.get("CONTENT_LENGTH") or 0)

    async def receive(self) -> Message:
        """Return the next part of the request's body; after the last one, wait until the exchange is over."""
        if self._read_all or self._closed.is_set():
            await self._closed.wait()
            return dict(DISCONNECT)
        asked = _Read(self._thread.loop.create_future())
        self._asked.put(asked)
        data = await asked.answer
        if data is None:
            return dict(DISCONNECT)
        self._read_all = not data
        return {"type": "http.request", "body": data, "more_body": bool(data)}

    async def send(self, message: Message) -> None:
        """Take a message of the answer; raise RuntimeError when it may not come now."""
        if self._complete:
            raise RuntimeError(f"{message['type']} after the answer was complete")
        if message["type"] == "http.response.start" and self._head is None:
            headers = [
                (bytes(name).decode("latin-1"), bytes(value).decode("latin-1"))
                for name, value in message.get("headers", [])
            ]
            self._head = int(message["status"]), headers
        elif message["type"] == "http.response.body" and self._head is not None:
            data, more = bytes(memoryview(message.get("body", b""))), bool(message.get("more_body", False))
            self._begun, self._complete = True, not more
            if not self._closed.is_set():
                asked = _Write(data, more, self._thread.loop.create_future())
                self._asked.put(asked)
                await asked.written
        else:
            raise RuntimeError(
                f"{message['type']} may not come {'before' if self._head is None else 'after'} "
                "http.response.start, or is not supported"
            )

    def take_back(self) -> bool:
        """Forget a head that has not gone out; return False when it has."""
        if not self._begun:
            self._head = None
        return not self._begun

    def respond(self, application: Application, start_response: "StartResponse") -> Iterable[bytes]:
        """Run the application for this request; return the body of its answer."""
        scope = _scope(self._environ)
        self._thread.spawn(lambda: application(scope, self), lambda: self._asked.put(None))
        asked = self._next()
        if asked is None or self._head is None:
            self._over()
            start_response(_status(500), [("Content-Length", "0"), ("Connection", "close")])
            return ()
        status, headers = self._head
        start_response(_status(status), headers)
        bodiless = self._environ["REQUEST_METHOD"] == "HEAD" or status in (204, 304)
        if not asked.more:
            self._written(asked)
            self._over()
            return () if bodiless else (asked.data,)
        return self._stream(asked, bodiless)

    def _stream(self, asked: _Write | None, bodiless: bool) -> Iterator[bytes]:
        try:
            while asked is not None:
                if asked.data and not bodiless:
                    yield asked.data
                self._written(asked)
                if not asked.more:
                    return
                asked = self._next()
            raise Incomplete("the function ended without the last http.response.body")
        finally:
            self._over()

    def _next(self) -> _Write | None:
        """Do the reads that the function asks for; return its next write, or None when it has ended."""
        while isinstance(asked := self._asked.get(), _Read):
            self._thread.soon(_settle, asked.answer, self._read())
        return asked

    def _read(self) -> bytes | None:
        """Return the next bytes of the request's body, b"" at its end, None when the client went before the end."""
        try:
            data: bytes = self._environ["wsgi.input"].read(CHUNK_BYTES)
        except Exception as error:  # the server's own kinds: a broken chunk, a closed socket
            logger.info("the request's body cannot be read: %s", error)
            return None
        self._unread -= len(data)
        return data if data or self._unread <= 0 else None

    def _written(self, asked: _Write) -> None:
        self._thread.soon(_settle, asked.written, None)

    def _over(self) -> None:
        """Wake whatever the function still waits for: nobody answers any more."""
        self._thread.soon(self._close)

    def _close(self) -> None:
        self._closed.set()
        while not self._asked.empty():
            asked = self._asked.get()
            if isinstance(asked, _Read):
                _settle(asked.answer, None)
            elif asked is not None:
                _settle(asked.written, None)


def _settle(future: "asyncio.Future[Any]", result: object) -> None:
    if not future.done():
        future.set_result(result)


def _status(code: int) -> str:
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return f"{code} Unknown"


def _scope(environ: "WSGIEnvironment") -> Scope:
    target: str = environ["RAW_URI"]  # gunicorn's: the path as it was sent
    raw_path = target.partition("?")[0]
    headers = [
        (name[5:].replace("_", "-").lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in environ.items()
        if name.startswith("HTTP_")
    ]
    headers += [
        (name.encode(), environ[key].encode("latin-1"))
        for key, name in (("CONTENT_TYPE", "content-type"), ("CONTENT_LENGTH", "content-length"))
        if environ.get(key)
    ]
    port = str(environ.get("REMOTE_PORT", ""))
    return {
        "type": "http",
        "asgi": {"spec_version": "2.1", "version": "3.0"},
        "http_version": environ.get("SERVER_PROTOCOL", "HTTP/1.1").removeprefix("HTTP/"),
        "method": environ["REQUEST_METHOD"],
        "scheme": environ["wsgi.url_scheme"],
        "path": unquote(raw_path),
        "raw_path": raw_path.encode("latin-1"),
        "query_string": environ.get("QUERY_STRING", "").encode("latin-1"),
        "root_path": "",
        "headers": headers,
        "client": (environ.get("REMOTE_ADDR", ""), int(port) if port.isdecimal() else 0),
        "server": (environ["SERVER_NAME"], int(environ["SERVER_PORT"]) if environ["SERVER_PORT"] else None),
        "state": {},
        "extensions": {},
    }
