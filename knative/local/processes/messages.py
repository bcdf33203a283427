"""What host and fork server say to each other: JSON lines over a stream socket, file descriptors alongside.

A message that brings descriptors says how many (``"fds": n``); they are attached to its first byte, so the receiver
takes them from the front of its queue in the order of the messages.
"""

from __future__ import annotations

import array
import json
import socket
from collections import deque
from typing import Any

Message = dict[str, Any]
_MAX_FDS = 32
_CHUNK_BYTES = 1 << 16


def encode(message: Message) -> bytes:
    """Return `message` as one line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def send_some(sock: socket.socket, data: memoryview, fds: tuple[int, ...]) -> int:
    """Write the start of `data` with `fds` attached and return how many bytes went; raise BlockingIOError when full."""
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    return sock.sendmsg([data], ancillary)


class Inbox:
    """Put the bytes and descriptors that arrive on a socket together into messages."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._bytes = bytearray()
        self._fds: deque[int] = deque()
        self.closed = False

    def read(self) -> list[tuple[Message, tuple[int, ...]]]:
        """Read once and return the messages that are complete, each with its descriptors; set `closed` at the end."""
        try:
            data, ancillary, _, _ = self._sock.recvmsg(_CHUNK_BYTES, socket.CMSG_SPACE(4 * _MAX_FDS))
        except BlockingIOError:
            return []
        except OSError:
            data, ancillary = b"", []
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(payload[: len(payload) - len(payload) % numbers.itemsize])
                self._fds.extend(numbers)
        if not data:
            self.closed = True
            return []
        self._bytes += data
        *lines, rest = self._bytes.split(b"\n")
        self._bytes = rest
        messages = []
        for line in lines:
            message: Message = json.loads(line)
            messages.append((message, tuple(self._fds.popleft() for _ in range(int(message.get("fds", 0))))))
        return messages
