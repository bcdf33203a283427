"""A process that loads a runtime's modules ahead of its orders, and becomes the container's process when they come.

Where one process serves, a preloaded parent would hold in memory a second time what its child writes to, and a child
writes to a third of it: Python counts references inside the objects. So the parent of such a runtime loads nothing.

The spare answers ``{"skipped": {...}}`` once it has loaded the modules, loads what is `later` while no orders come,
and then reads one message, the one that the host has sent to start a process. It dies with its parent.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from zeroflow.knative.local.processes import child
from zeroflow.knative.local.processes.loading import LULL_S, load
from zeroflow.knative.local.processes.messages import Inbox, Message, encode, send_some


class Spare:
    """The parent's end of such a process; a new one is forked by `Spare(...)`, which raises OSError."""

    def __init__(self, modules: Sequence[str], later: Sequence[str]) -> None:
        me = os.getpid()
        self.socket, theirs = socket.socketpair()
        self._inbox = Inbox(self.socket)
        self.skipped: dict[str, str] | None = None
        """Why modules could not be loaded; None while they are being loaded."""
        with theirs:
            try:
                self.pid = os.fork()
            except OSError:
                self.socket.close()
                raise
            if self.pid == 0:
                _wait(theirs, me, modules, later)
        self.socket.setblocking(False)

    def hear(self) -> bool:
        """Read what it says; return whether there is more to be heard."""
        for message, _ in self._inbox.read():
            self.skipped = message["skipped"]
        return not self._inbox.closed

    def order(self, message: Message, fds: tuple[int, ...]) -> None:
        """Have it start what `message` says; when it has ended, its exit code says so."""
        data = encode(message)
        self.socket.setblocking(True)
        with self.socket, suppress(OSError):
            sent = send_some(self.socket, memoryview(data), fds)
            self.socket.sendall(data[sent:])


def _wait(parent: socket.socket, parent_pid: int, modules: Sequence[str], later: Sequence[str]) -> NoReturn:
    """Load, wait for orders, follow them."""
    try:
        child.die_with(parent_pid)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        child.close_others({0, 1, 2, parent.fileno()})
        parent.sendall(encode({"skipped": load(modules)}))
        waiting = deque(later)
        while waiting and not select.select([parent], [], [], LULL_S)[0]:
            load([waiting.popleft()])
        inbox = Inbox(parent)
        while not (orders := inbox.read()):
            if inbox.closed:
                os._exit(0)
        message, fds = orders[0]
        task = child.read_task(message["task"], fds)
    except BaseException:
        os._exit(1)
    child.run(task, parent_pid)
