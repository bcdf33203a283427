"""The fork server: loads a runtime's modules once and makes each container's process by forking.

Its first child does not wait for what is loaded `later`: that is done one module at a time when nothing was to be
started for a while, so that from deep idle a process has the machine to itself until it answers.
It has one thread, so a child never inherits a lock that nobody will release, and it does nothing but fork, reap and
report. When the host goes away, in whatever way, it kills the process groups of its children and ends; when it is
killed itself, the kernel kills its children.

Requests: ``{"op": "start", "id", "task"}``, and ``{"op": "prepare", "within_s"}`` where a runtime is alone. Reports:
``{"op": "loaded", "skipped", "threads"}`` once, then ``started`` (id, pid), ``failed`` (id, message) and ``exited``
(pid, code; a negative code is a signal).
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from zeroflow.knative.local.processes import child
from zeroflow.knative.local.processes.loading import LULL_S, load
from zeroflow.knative.local.processes.messages import Inbox, Message, encode


class ForkServer:
    """Fork children on request until the host is gone."""

    def __init__(self, host: socket.socket, modules: Sequence[str] = (), later: Sequence[str] = ()) -> None:
        self._host, self._modules, self._waiting = host, modules, deque(later)
        self._inbox = Inbox(host)
        self._children: set[int] = set()
        self._skipped: dict[str, str] = {}
        self._started_at_s = 0.0
        self._poll = select.poll()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> None:
        """Load the modules, serve until the host closes its end, and load what is for later meanwhile."""
        self._skipped |= load(self._modules)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the host decides when it is over
            signal.signal(number, signal.SIG_IGN)
        for fd in (self._host.fileno(), self._wake_read):
            self._poll.register(fd, select.POLLIN)
        if not self._waiting:
            self._loaded()
        while not self._inbox.closed:
            idle_s = self._idle_s()
            happened = self._poll.poll(None if idle_s is None else max(0.0, idle_s) * 1000)
            for fd, _ in happened:
                self._heed(fd)
            if not happened:
                self._idle()
        self._end()

    def _idle_s(self) -> float | None:
        """Return how long nothing must happen before `_idle` is called; None: it need not be."""
        return self._started_at_s + LULL_S - time.monotonic() if self._waiting else None

    def _idle(self) -> None:
        if self._waiting:
            self._skipped |= load([self._waiting.popleft()])
            if not self._waiting:
                self._loaded()

    def _heed(self, fd: int) -> None:
        if fd == self._wake_read:
            with suppress(BlockingIOError):
                os.read(self._wake_read, 4096)
            self._reap()
        elif fd == self._host.fileno():
            for message, fds in self._inbox.read():
                self._start(message, fds)

    def _loaded(self) -> None:
        self._report({"op": "loaded", "skipped": self._skipped, "threads": len(os.listdir("/proc/self/task"))})

    def _start(self, message: Message, fds: tuple[int, ...]) -> None:
        self._started_at_s = time.monotonic()
        if threading.active_count() != 1:
            names = [thread.name for thread in threading.enumerate()]
            reason = f"a preloaded module has started threads ({', '.join(names)}), which do not survive a fork"
            self._report({"op": "failed", "id": message["id"], "message": reason})
        else:
            self._fork(message, fds)
        for fd in fds:
            os.close(fd)

    def _fork(self, message: Message, fds: tuple[int, ...]) -> None:
        task = child.read_task(message["task"], fds)
        me = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._report({"op": "failed", "id": message["id"], "message": f"fork: {error.strerror}"})
            return
        if pid == 0:
            child.run(task, me)
        self._children.add(pid)
        self._report({"op": "started", "id": message["id"], "pid": pid})

    def _reap(self) -> None:
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            if ended.si_pid in self._children:  # what the container left behind goes with it
                _kill_group(ended.si_pid)  # before the wait: until then the number is nobody else's
            pid, status = os.waitpid(ended.si_pid, 0)
            self._children.discard(pid)
            self._ended(pid, os.waitstatus_to_exitcode(status))

    def _ended(self, pid: int, code: int) -> None:
        self._report({"op": "exited", "pid": pid, "code": code})

    def _report(self, message: Message) -> None:
        with suppress(OSError):  # the host is gone: the next read says so
            self._host.sendall(encode(message))

    def _end(self) -> None:
        for pid in self._children:
            _kill_group(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # it may not have reached its own group yet


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
