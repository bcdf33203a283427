"""The fork server of a runtime that is `alone`: it loads nothing, and keeps a spare while no child of it lives.

The host says a little before a child will end, and a child that ends without notice is followed by a spare at once: the
next start finds its modules loaded, or waits for the rest of that. What is started while a child lives loads its
modules itself.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from zeroflow.knative.local.processes.forkserver import ForkServer
from zeroflow.knative.local.processes.messages import Message
from zeroflow.knative.local.processes.spare import Spare


class LoneServer(ForkServer):
    """Have spares loaded on request, and one ahead, until the host is gone."""

    def __init__(self, host: socket.socket, modules: Sequence[str], later: Sequence[str]) -> None:
        super().__init__(host)
        self._spares_modules, self._spares_later = modules, later
        self._orders: deque[tuple[Message, tuple[int, ...]]] = deque()
        self._spare: Spare | None = None
        self._given_up = False  # the spare: nobody needs it, and it has been killed
        self._kept_until_s = 0.0

    def _loaded(self) -> None:
        self._proceed()

    def _start(self, message: Message, fds: tuple[int, ...]) -> None:
        if message["op"] == "prepare":
            self._kept_until_s = time.monotonic() + message["within_s"]
        else:
            self._orders.append((message, fds))
        self._proceed()

    def _idle_s(self) -> float | None:
        idle = self._spare is not None and self._children and not self._orders and not self._given_up
        return self._kept_until_s - time.monotonic() if idle else None

    def _idle(self) -> None:
        if self._spare is not None:  # it was prepared for an end that did not come
            self._given_up = True
            with suppress(ProcessLookupError):
                os.kill(self._spare.pid, signal.SIGKILL)

    def _heed(self, fd: int) -> None:
        if self._spare is None or fd != self._spare.socket.fileno():
            super()._heed(fd)
            return
        if not self._spare.hear():  # it has ended, which is told by a signal as well
            self._poll.unregister(fd)
        elif self._spare.skipped is not None:
            self._skipped = self._spare.skipped
            super()._loaded()
        self._proceed()

    def _ended(self, pid: int, code: int) -> None:
        spare = self._spare
        if spare is None or pid != spare.pid:
            super()._ended(pid, code)
            self._proceed()
            return
        self._forget(spare)
        if self._given_up:
            self._given_up = False
            self._proceed()
        elif self._orders:  # without orders the next start will see whether it happens again
            self._fail(f"a process ended with code {code} while it was loading its modules")
            if self._orders:
                self._proceed()

    def _proceed(self) -> None:
        """Give out the orders that a spare can take now, and have one load where there is use for it."""
        while self._orders or not self._children or time.monotonic() < self._kept_until_s:
            if self._spare is None and not self._fork_spare():
                return
            if self._spare is None or self._spare.skipped is None or self._given_up or not self._orders:
                return
            spare, (message, fds) = self._spare, self._orders.popleft()
            self._forget(spare)
            self._kept_until_s = 0.0
            spare.order(message, fds)
            for one in fds:
                os.close(one)
            self._children.add(spare.pid)
            self._report({"op": "started", "id": message["id"], "pid": spare.pid})

    def _fork_spare(self) -> bool:
        try:
            self._spare = Spare(self._spares_modules, self._spares_later)
        except OSError as error:
            while self._orders:
                self._fail(f"fork: {error.strerror}")
            return False
        self._poll.register(self._spare.socket, select.POLLIN)
        return True

    def _forget(self, spare: Spare) -> None:
        self._spare = None
        with suppress(KeyError):
            self._poll.unregister(spare.socket)

    def _fail(self, reason: str) -> None:
        message, fds = self._orders.popleft()
        for one in fds:
            os.close(one)
        self._report({"op": "failed", "id": message["id"], "message": reason})
