"""port-forward: TCP connections to a Pod's ports, over one connection of the client.

kubectl speaks SPDY (upgraded, or in WebSocket messages): for each connection an error stream and a data stream. The
official Python client speaks WebSocket channels: two for each port. Source: Kubernetes portforward protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import Final

from aiohttp import web

from zeroflow.errors import ZeroflowError
from zeroflow.knative.local.api.errors import BadRequest
from zeroflow.knative.local.api.rest.streams.carriers import Carrier, WebSocket, upgrade
from zeroflow.knative.local.api.rest.streams.pods import Pods
from zeroflow.knative.local.api.rest.streams.spdy import SpdyError, SpdySession, Stream

TUNNELLED: Final = "SPDY/3.1+portforward.k8s.io"
CHANNELS: Final = "v4.channel.k8s.io"
_PIECE_BYTES: Final = 32 * 1024


async def forward(request: web.Request, pods: Pods, namespace: str, pod: str) -> web.StreamResponse:
    """Serve port-forward."""
    pods.check(namespace, pod, "")
    ports = [_port(each) for value in request.query.getall("ports", []) for each in value.split(",")]
    carrier = await upgrade(request, (TUNNELLED, CHANNELS), ("portforward.k8s.io",))
    if isinstance(carrier, WebSocket) and carrier.protocol == CHANNELS:
        await _channels(carrier, pods, namespace, pod, ports)
    else:
        await Forwarding(carrier, pods, namespace, pod).serve()
    return carrier.response


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 1 << 16:
        raise BadRequest(f"ports: {text!r} is not a port")
    return int(text)


class Forwarding:
    """The connections of one SPDY session."""

    def __init__(self, carrier: Carrier, pods: Pods, namespace: str, pod: str) -> None:
        self._carrier, self._pods, self._namespace, self._pod = carrier, pods, namespace, pod
        self._session = SpdySession(carrier.write, self._opened)
        self._errors: dict[str, Stream] = {}
        self._connections: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Carry connections until the client has gone."""
        try:
            with contextlib.suppress(SpdyError, ConnectionError):
                while (data := await self._carrier.read()) is not None:
                    await self._session.feed(data)
        finally:
            self._session.end()
            for connection in self._connections:
                connection.cancel()
            await self._carrier.close()

    def _opened(self, stream: Stream) -> None:
        number = stream.headers.get("requestid", "")
        if stream.headers.get("streamtype") == "error":
            self._errors[number] = stream
        elif stream.headers.get("streamtype") == "data":
            task = asyncio.get_running_loop().create_task(self._connect(stream, self._errors.pop(number, None)))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

    async def _connect(self, stream: Stream, error: Stream | None) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                port = stream.headers.get("port", "")
                problem = await _joined(self._pods, self._namespace, self._pod, port, stream)
                if problem and error is not None:
                    await error.write(problem.encode())
                for each in filter(None, (stream, error)):
                    await each.close()
        finally:
            for each in filter(None, (stream, error)):
                self._session.forget(each)


async def _joined(pods: Pods, namespace: str, pod: str, port: str, stream: Stream) -> str:
    """Join a stream and a connection to a port until both have ended; return what went wrong, "" for nothing."""
    try:
        number = await pods.port(namespace, pod, _port(port))
        reader, writer = await asyncio.open_connection("127.0.0.1", number)
    except (ZeroflowError, OSError) as error:
        return f"error forwarding port {port} to pod {pod}: {error}"
    try:

        async def inwards() -> None:
            while (data := await stream.read()) is not None:
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()

        sending = asyncio.get_running_loop().create_task(inwards())
        try:
            while data := await reader.read(_PIECE_BYTES):
                await stream.write(data)
        finally:
            sending.cancel()
    except OSError as error:
        return f"error forwarding port {port} to pod {pod}: {error}"
    finally:
        writer.close()
    return ""


async def _channels(carrier: WebSocket, pods: Pods, namespace: str, pod: str, ports: list[int]) -> None:
    """Serve the Python client: channel 2n is the n-th port's data, 2n + 1 its errors; each first names the port."""
    if not ports:
        raise BadRequest("ports: missing")
    writers: dict[int, asyncio.StreamWriter] = {}
    tasks: list[asyncio.Task[None]] = []

    async def outwards(channel: int, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_PIECE_BYTES):
                await carrier.write(bytes([channel]) + data)
        if all(task.done() or task is asyncio.current_task() for task in tasks):
            await carrier.close()

    try:
        for index, port in enumerate(ports):
            for channel in (2 * index, 2 * index + 1):
                await carrier.write(bytes([channel]) + struct.pack("<H", port))
            try:
                reader, writers[2 * index] = await asyncio.open_connection(
                    "127.0.0.1", await pods.port(namespace, pod, port)
                )
                tasks.append(asyncio.get_running_loop().create_task(outwards(2 * index, reader)))
            except (ZeroflowError, OSError) as error:
                await carrier.write(bytes([2 * index + 1]) + str(error).encode())
        while (message := await carrier.read()) is not None:
            if len(message) > 1 and (writer := writers.get(message[0])) is not None:
                with contextlib.suppress(OSError):
                    writer.write(message[1:])
                    await writer.drain()
    finally:
        for task in tasks:
            task.cancel()
        for writer in writers.values():
            writer.close()
