"""Serves unary gRPC methods over HTTP/2 without TLS on 127.0.0.1:$PORT, until SIGTERM.

Methods run in threads, so that one that waits for the database holds up no other; calls in progress end before the
process does. Source: gRPC over HTTP/2 (PROTOCOL-HTTP2.md), status codes.

Run by `python -m zeroflow.functions.trial.manager.server`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from zeroflow.errors import InvalidInput, ZeroflowError, unexpected
from zeroflow.functions.trial.manager.service import Method, methods
from zeroflow.http2.connection import Connection
from zeroflow.http2.stream import Headers, Stream, StreamReset
from zeroflow.settings import Settings

if TYPE_CHECKING:
    from zeroflow.functions.trial.manager.observations import Observations

logger = logging.getLogger(__name__)

MESSAGE_LIMIT = 4 << 20
THREADS = 8
GRACE_S = 10.0
PREFIX_BYTES = 5
CODES = {"InvalidInput": 3, "NotFound": 5, "Forbidden": 7, "Conflict": 9, "Unavailable": 14}
UNIMPLEMENTED, INTERNAL = 12, 13


class Server:
    """Answers calls by their path."""

    def __init__(self, served: Mapping[str, Method]) -> None:
        self._methods = served
        self._threads = ThreadPoolExecutor(THREADS)
        self.calls = 0
        """How many are in progress."""

    async def serve(self, stream: Stream) -> None:
        """Answer one call."""
        self.calls += 1
        try:
            await self._answer(stream)
        except StreamReset:
            return  # the caller has left
        finally:
            self.calls -= 1

    async def _answer(self, stream: Stream) -> None:
        path = dict(await stream.head()).get(b":path", b"").decode("latin-1")
        method = self._methods.get(path)
        if method is None:
            return _refuse(stream, UNIMPLEMENTED, f"there is no method {path}")
        try:
            message = await _message(stream)
            reply = await asyncio.get_running_loop().run_in_executor(self._threads, method, message)
        except ZeroflowError as error:
            return _refuse(stream, CODES.get(error.reason, INTERNAL), str(error))
        except StreamReset:
            raise
        except Exception as error:
            logger.exception("%s failed", path)
            return _refuse(stream, INTERNAL, unexpected(error))
        stream.send_head([(b":status", b"200"), (b"content-type", b"application/grpc")])
        await stream.send(b"\0" + len(reply).to_bytes(4, "big") + reply)
        await stream.finish([(b"grpc-status", b"0")])
        return None


async def _message(stream: Stream) -> bytes:
    """Return the one message of a unary call."""
    body = b""
    while chunk := await stream.read():
        body += chunk
        if len(body) > MESSAGE_LIMIT:
            raise InvalidInput(f"the message has more than {MESSAGE_LIMIT} bytes")
    if len(body) < PREFIX_BYTES or len(body) != PREFIX_BYTES + int.from_bytes(body[1:PREFIX_BYTES], "big"):
        raise InvalidInput("the call has not exactly one whole message")
    if body[0]:
        raise InvalidInput("compressed messages are not supported; send them with identity encoding")
    return body[PREFIX_BYTES:]


def _refuse(stream: Stream, code: int, said: str) -> None:
    message = quote(said[:1000], safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")
    headers: Headers = [
        (b":status", b"200"),
        (b"content-type", b"application/grpc"),
        (b"grpc-status", str(code).encode()),
        (b"grpc-message", message.encode()),
    ]
    stream.send_head(headers, end=True)


async def run(served: Mapping[str, Method], port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    loop, stop, server = asyncio.get_running_loop(), asyncio.Event(), Server(served)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    listener = await loop.create_server(lambda: Connection(server.serve), "127.0.0.1", port)
    await stop.wait()
    listener.close()
    deadline = loop.time() + GRACE_S
    while server.calls and loop.time() < deadline:
        await asyncio.sleep(0.02)


def main() -> None:
    """Serve the DB manager."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    settings = Settings.from_environment()

    @cache
    def observations() -> Observations:
        """Open the database when somebody calls: a process that is only started is to cost little."""
        from zeroflow.functions.trial.manager.observations import Observations
        from zeroflow.metadata import Database

        return Observations(Database(settings.database_url))

    asyncio.run(run(methods(observations), int(os.environ["PORT"])))


if __name__ == "__main__":
    main()
