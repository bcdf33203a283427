"""exec and attach: a command's standard streams on one connection, as channels of a WebSocket or streams of SPDY.

Guarantees: the command ends with the connection; its exit code is told when all its output is. Source: Kubernetes
remotecommand protocol, v4 and v5 (channel numbers, Status of the error channel), core/v1 PodExecOptions.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import struct
import termios
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import orjson
from aiohttp import web

from zeroflow.knative.local.api.errors import BadRequest
from zeroflow.knative.local.api.objects import Object
from zeroflow.knative.local.api.rest import parameters
from zeroflow.knative.local.api.rest.streams.carriers import Upgraded, WebSocket, upgrade
from zeroflow.knative.local.api.rest.streams.pods import Pods, Running, Stdio
from zeroflow.knative.local.api.rest.streams.spdy import SpdyError, SpdySession, Stream

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
WEBSOCKET: Final = ("v5.channel.k8s.io", "v4.channel.k8s.io")
SPDY: Final = ("v4.channel.k8s.io",)
_PIECE_BYTES: Final = 32 * 1024
_STREAMS_WITHIN_S: Final = 30.0
_REST_WITHIN_S: Final = 5.0  # of the output, once the command has ended
_NAMES: Final = {STDIN: "stdin", STDOUT: "stdout", STDERR: "stderr", ERROR: "error", RESIZE: "resize"}


class Channels(Protocol):
    """The channels of one connection."""

    response: web.StreamResponse

    async def receive(self) -> tuple[int, bytes | None] | None:
        """Return a channel and what came on it (None: its end); None when the client has gone."""
        ...

    async def send(self, channel: int, data: bytes) -> None:
        """Send on a channel."""
        ...

    async def finish(self, status: Object) -> None:
        """Say how it ended and close the connection."""
        ...


class WebSocketChannels:
    """The first byte of a message is its channel."""

    def __init__(self, carrier: WebSocket) -> None:
        self._carrier, self.response = carrier, carrier.response

    async def receive(self) -> tuple[int, bytes | None] | None:
        message = await self._carrier.read()
        if not message:
            return None
        if message[0] == CLOSE and len(message) > 1:  # v5: one channel has ended, the connection has not
            return message[1], None
        return message[0], message[1:]

    async def send(self, channel: int, data: bytes) -> None:
        await self._carrier.write(bytes([channel]) + data)

    async def finish(self, status: Object) -> None:
        await self.send(ERROR, orjson.dumps(status))
        await self._carrier.close()


class SpdyChannels:
    """Each channel is a stream that the client opens before the command starts."""

    def __init__(self, carrier: Upgraded, wanted: set[int]) -> None:
        self._carrier, self.response, self._wanted = carrier, carrier.response, wanted
        self._session = SpdySession(carrier.write, self._opened)
        self._streams: dict[int, Stream] = {}
        self._complete = asyncio.Event()
        self._received: asyncio.Queue[tuple[int, bytes | None] | None] = asyncio.Queue(64)
        self._readers: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Wait for the streams; raise TimeoutError."""
        self._readers.append(asyncio.get_running_loop().create_task(self._feed()))
        async with asyncio.timeout(_STREAMS_WITHIN_S):
            await self._complete.wait()

    async def receive(self) -> tuple[int, bytes | None] | None:
        return await self._received.get()

    async def send(self, channel: int, data: bytes) -> None:
        if (stream := self._streams.get(channel)) is not None:
            await stream.write(data)

    async def finish(self, status: Object) -> None:
        for channel in (STDOUT, STDERR):
            if channel in self._streams:
                await self._streams[channel].close()
        await self.send(ERROR, orjson.dumps(status))
        await self._streams[ERROR].close()
        for reader in self._readers:
            reader.cancel()
        await self._carrier.close()

    def _opened(self, stream: Stream) -> None:
        names = {name: channel for channel, name in _NAMES.items()}
        channel = names.get(stream.headers.get("streamtype", ""))
        if channel is None:
            return
        self._streams[channel] = stream
        if channel in (STDIN, RESIZE):
            self._readers.append(asyncio.get_running_loop().create_task(self._pass_on(channel, stream)))
        if self._wanted <= set(self._streams):
            self._complete.set()

    async def _feed(self) -> None:
        with contextlib.suppress(SpdyError, ConnectionError):
            while (data := await self._carrier.read()) is not None:
                await self._session.feed(data)
        self._session.end()
        await self._received.put(None)

    async def _pass_on(self, channel: int, stream: Stream) -> None:
        while (data := await stream.read()) is not None:
            await self._received.put((channel, data))
        await self._received.put((channel, None))


async def execute(
    request: web.Request, pods: Pods, namespace: str, pod: str, container: str, *, attach: bool
) -> web.StreamResponse:
    """Serve exec, or attach to what runs."""
    argv = request.query.getall("command", [])
    if not argv and not attach:
        raise BadRequest("you must specify at least one command for the container")
    tty = parameters.flag(request, "tty") and not attach
    wanted = {ERROR}
    for channel, name in ((STDIN, "stdin"), (STDOUT, "stdout"), (STDERR, "stderr")):
        if parameters.flag(request, name) and not (tty and channel == STDERR):
            wanted.add(channel)
    if wanted == {ERROR}:
        raise BadRequest("you must specify at least 1 of stdin, stdout, stderr")
    pods.check(namespace, pod, container)
    carrier = await upgrade(request, WEBSOCKET, SPDY)
    channels: Channels
    if isinstance(carrier, WebSocket):
        channels = WebSocketChannels(carrier)
    else:
        channels = spdy = SpdyChannels(carrier, wanted | ({RESIZE} if tty else set()))
        await spdy.open()
    if attach:
        await _attach(channels, pods, namespace, pod, container)
    else:
        start = lambda stdio: pods.execute(namespace, pod, container, argv, stdio)  # noqa: E731
        await (_on_terminal(channels, start) if tty else _on_pipes(channels, start, wanted))
    return channels.response


Start = Callable[[Stdio], Awaitable[Running]]


async def _on_pipes(channels: Channels, start: Start, wanted: set[int]) -> None:
    pipes = {channel: os.pipe() for channel in (STDIN, STDOUT, STDERR)}
    inside = (pipes[STDIN][0], pipes[STDOUT][1], pipes[STDERR][1])
    outside = {STDIN: pipes[STDIN][1], STDOUT: pipes[STDOUT][0], STDERR: pipes[STDERR][0]}
    try:
        running = await start(Stdio(inside, terminal=False))
    except BaseException:
        for fd in outside.values():
            os.close(fd)
        raise
    finally:
        for fd in inside:
            os.close(fd)
    stdin = await _writer(outside[STDIN])
    if STDIN not in wanted:
        stdin.close()
    outputs = [_copy(await _reader(outside[each]), channels, each) for each in (STDOUT, STDERR)]
    await _serve(channels, running, stdin, outputs, None)


async def _on_terminal(channels: Channels, start: Start) -> None:
    master, slave = pty.openpty()
    try:
        running = await start(Stdio((slave, slave, slave), terminal=True))
    except BaseException:
        os.close(master)
        raise
    finally:
        os.close(slave)
    stdin = await _writer(os.dup(master))
    await _serve(channels, running, stdin, [_copy(await _reader(master), channels, STDOUT)], master)


async def _serve(
    channels: Channels,
    running: Running,
    stdin: asyncio.WriteTransport,
    outputs: Sequence[Awaitable[None]],
    terminal: int | None,
) -> None:
    """Carry the streams until the command has ended or the client has gone."""
    loop = asyncio.get_running_loop()
    copying = [asyncio.ensure_future(each) for each in outputs]
    listening = loop.create_task(_listen(channels, stdin, terminal))
    ending = loop.create_task(running.wait())
    try:
        await asyncio.wait((listening, ending), return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            return
        # What a process left behind may hold the streams open: it is killed with the command's group.
        running.kill()
        await asyncio.wait(copying, timeout=_REST_WITHIN_S)
        with contextlib.suppress(ConnectionError):
            await channels.finish(status_of(ending.result()))
    finally:
        running.kill()
        if not stdin.is_closing():
            stdin.abort()
        for task in (listening, ending, *copying):
            task.cancel()


async def _listen(channels: Channels, stdin: asyncio.WriteTransport, terminal: int | None) -> None:
    while (received := await channels.receive()) is not None:
        channel, data = received
        if channel == STDIN and data is None:
            if terminal is None:
                stdin.close()
        elif channel == STDIN and data:
            if not stdin.is_closing():
                stdin.write(data)
                while stdin.get_write_buffer_size() > _PIECE_BYTES and not stdin.is_closing():
                    await asyncio.sleep(0.005)  # the command reads more slowly than the client sends
        elif channel == RESIZE and data and terminal is not None:
            with contextlib.suppress(ValueError, KeyError, TypeError, struct.error, OSError):
                size = orjson.loads(data)
                rows, columns = int(size["Height"]), int(size["Width"])
                fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


async def _copy(reader: asyncio.StreamReader, channels: Channels, channel: int) -> None:
    with contextlib.suppress(OSError):  # a terminal ends with EIO
        while data := await reader.read(_PIECE_BYTES):
            await channels.send(channel, data)


async def _attach(channels: Channels, pods: Pods, namespace: str, pod: str, container: str) -> None:
    """Send what a container writes from now on; its standard input is empty on this host."""

    async def output() -> None:
        async for data in pods.output(namespace, pod, container):
            await channels.send(STDOUT, data)

    async def until_gone() -> None:
        while await channels.receive() is not None:
            pass

    loop = asyncio.get_running_loop()
    tasks = (loop.create_task(output()), loop.create_task(until_gone()))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        with contextlib.suppress(ConnectionError):
            await channels.finish(status_of(0))
    finally:
        for task in tasks:
            task.cancel()


def status_of(code: int) -> Object:
    """Return the Status that tells of an exit code, as the kubelet does."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    shown = 128 - code if code < 0 else code
    return {
        "metadata": {},
        "status": "Failure",
        "reason": "NonZeroExitCode",
        "message": f"command terminated with non-zero exit code: exit status {shown}",
        "details": {"causes": [{"reason": "ExitCode", "message": str(shown)}]},
    }


async def _reader(fd: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=_PIECE_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(fd, "rb", buffering=0))
    return reader


async def _writer(fd: int) -> asyncio.WriteTransport:
    transport, _ = await asyncio.get_running_loop().connect_write_pipe(
        asyncio.BaseProtocol, os.fdopen(fd, "wb", buffering=0)
    )
    return transport
