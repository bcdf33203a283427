"""Connections from beyond loopback: TLS for everybody, plain HTTP for this machine's own processes alone.

The first byte of a connection decides, so that one port serves both. Who comes from elsewhere without TLS is told to
use it before anything of the request, a token perhaps, is read.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

logger = logging.getLogger(__name__)

HANDSHAKE = b"\x16"  # the type of a TLS record that holds one
FIRST_BYTE_S = 15.0
HANDSHAKE_S = 15.0
PAUSE_S = 1.0  # when no more connections can be had
AT_ONCE = 64
REFUSAL = (
    b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: TLS/1.2\r\nConnection: close\r\nContent-Type: text/plain\r\n"
    b"Content-Length: %d\r\n\r\n%s"
)
ADVICE = b"this host takes plain HTTP at loopback alone: use https:// (its kubeconfig has the certificate)\n"


class Acceptor:
    """Accepts connections for a protocol until it is closed."""

    def __init__(
        self, listener: socket.socket, factory: Callable[[], asyncio.BaseProtocol], context: ssl.SSLContext
    ) -> None:
        self._listener, self._factory, self._context = listener, factory, context
        self._loop = asyncio.get_running_loop()
        self._arriving: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._closed = False

    def start(self) -> None:
        """Accept connections from now on."""
        if not self._closed:
            self._loop.add_reader(self._listener.fileno(), self._accept)

    async def close(self) -> None:
        """Accept no more; connections that are open go on."""
        self._closed = True
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        for task in self._arriving:
            task.cancel()
        await asyncio.gather(*self._arriving, return_exceptions=True)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, peer = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # too many open files: those who wait are taken later
                logger.warning("cannot accept connections: %s; trying again", error.strerror)
                self._loop.remove_reader(self._listener.fileno())
                self._pause = self._loop.call_later(PAUSE_S, self.start)
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._receive(connection, str(peer[0])))
            self._arriving.add(task)
            task.add_done_callback(self._arriving.discard)

    async def _receive(self, connection: socket.socket, peer: str) -> None:
        try:
            async with asyncio.timeout(FIRST_BYTE_S):
                first = await self._first_byte(connection)
            if first == HANDSHAKE:
                await self._loop.connect_accepted_socket(
                    self._factory, connection, ssl=self._context, ssl_handshake_timeout=HANDSHAKE_S
                )
            elif first and is_own(peer):
                await self._loop.connect_accepted_socket(self._factory, connection)
            else:
                if first:
                    await self._refuse(connection)
                connection.close()
        except (OSError, TimeoutError, asyncio.CancelledError):  # a failed handshake is the client's business
            connection.close()

    async def _first_byte(self, connection: socket.socket) -> bytes:
        """Look at the first byte and leave it where it is; none when the client has gone."""
        readable = self._loop.create_future()

        def ready() -> None:
            if not readable.done():
                readable.set_result(None)

        self._loop.add_reader(connection.fileno(), ready)
        try:
            await readable
        finally:
            self._loop.remove_reader(connection.fileno())
        return connection.recv(1, socket.MSG_PEEK)

    async def _refuse(self, connection: socket.socket) -> None:
        with suppress(OSError):
            await self._loop.sock_sendall(connection, REFUSAL % (len(ADVICE), ADVICE))
            connection.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(1.0):  # until the client has read it, or a reset would take it away
                while await self._loop.sock_recv(connection, 65536):
                    pass


def is_own(peer: str) -> bool:
    """Say whether an address is this machine's loopback."""
    address = ipaddress.ip_address(peer.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
