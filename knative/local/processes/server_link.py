"""The host's end of one fork server: sends requests, hears reports, ends it when it is no longer used."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from contextlib import suppress
from dataclasses import asdict

from zeroflow.errors import Unavailable
from zeroflow.knative.local.processes.messages import Inbox, Message, encode, send_some
from zeroflow.knative.local.processes.process import Interrupted, Process, ProcessSpec, killed_from_outside
from zeroflow.knative.local.processes.runtimes import Runtime

logger = logging.getLogger(__name__)

_HUNG_UP_S = 1.0
_MODULE = "zeroflow.knative.local.processes.parent"
# What a process may know of the machine: enough to find programs and certificates, none of the host's secrets.
INHERITED = frozenset({"PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "USER", "LD_LIBRARY_PATH"})


class ServerLink:
    """A fork server that is starting or running, until `closed`."""

    def __init__(self, label: str, runtime: Runtime, retention_s: float) -> None:
        self.label = label
        self.closed = False
        self.loaded = False
        self._hung_up = False
        self._retention_s = retention_s
        self._retention: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self._starting: dict[int, tuple[ProcessSpec, asyncio.Future[bool], asyncio.Future[Process]]] = {}
        self._running: dict[int, Process] = {}
        self._outbox: deque[tuple[memoryview, tuple[int, ...], tuple[int, ...]]] = deque()
        self._sock, theirs = socket.socketpair()
        self._inbox = Inbox(self._sock)
        with theirs:
            self._process = _spawn(theirs, runtime)
        self.pid = self._process.pid
        self._sock.setblocking(False)
        self._loop.add_reader(self._sock, self._receive)

    async def start(self, spec: ProcessSpec) -> Process:
        """Have `spec` started and return it with its pid."""
        if self._retention is not None:
            self._retention.cancel()
            self._retention = None
        number = next(self._numbers)
        started: asyncio.Future[Process] = self._loop.create_future()
        ready: asyncio.Future[bool] = self._loop.create_future()
        self._starting[number] = (spec, ready, started)
        fds: tuple[int, ...] = ()
        if spec.listener is not None:
            fds = (os.dup(spec.listener.fileno()), self._ready_pipe(ready))
        if spec.stdio is not None:
            fds = (*fds, *(os.dup(fd) for fd in spec.stdio.descriptors))
        message = {"op": "start", "id": number, "fds": len(fds), "task": _task(spec)}
        self._outbox.append((memoryview(encode(message)), fds, fds))
        self._flush()
        try:
            return await started
        except asyncio.CancelledError:
            self._starting[number] = (spec, ready, self._unwanted())
            raise

    def prepare(self, within_s: float) -> None:
        """Tell the server of a runtime that is alone that its process may end within this time."""
        self._outbox.append((memoryview(encode({"op": "prepare", "within_s": within_s})), (), ()))
        self._flush()

    def running(self) -> list[Process]:
        """Return the processes that run."""
        return list(self._running.values())

    def close(self) -> None:
        """Kill the children and end the server."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        for _, _, owned in self._outbox:
            for fd in owned:
                os.close(fd)
        self._outbox.clear()
        if self._retention is not None:
            self._retention.cancel()
        for process in self._running.values():
            process.kill()
            process.interrupted = Interrupted(self.label)
            process.ended(-signal.SIGKILL)
        self._running.clear()
        self._sock.close()
        code = self._end()
        innocent = self.loaded or killed_from_outside(code)
        gone = Unavailable(f"the fork server {self.label!r} ended with code {code} while it was loading its modules")
        for _, ready, started in self._starting.values():
            if not started.done():
                started.set_exception(Interrupted(self.label) if innocent else gone)
            if not ready.done():
                ready.set_result(False)
        self._starting.clear()

    def _end(self) -> int:
        """End the process and return its exit code: its own when it has hung up, which is the last it does."""
        if self._hung_up:
            with suppress(subprocess.TimeoutExpired):
                return self._process.wait(_HUNG_UP_S)
        self._process.kill()
        return self._process.wait()

    def _unwanted(self) -> asyncio.Future[Process]:
        """Return a future whose process is killed: who asked for it has gone."""
        started: asyncio.Future[Process] = self._loop.create_future()

        def kill(future: asyncio.Future[Process]) -> None:
            if future.exception() is None:
                future.result().kill()

        started.add_done_callback(kill)
        return started

    def _ready_pipe(self, ready: asyncio.Future[bool]) -> int:
        """Return the writing end of a pipe whose first byte, or end, decides `ready`."""
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

        def decide() -> None:
            with suppress(BlockingIOError):
                answer = os.read(read, 1)
                if not ready.done():
                    ready.set_result(bool(answer))

        def done(_: asyncio.Future[bool]) -> None:
            self._loop.remove_reader(read)
            os.close(read)

        self._loop.add_reader(read, decide)
        ready.add_done_callback(done)
        return write

    def _flush(self) -> None:
        while self._outbox:
            data, fds, owned = self._outbox.popleft()
            try:
                sent = send_some(self._sock, data, fds)
            except BlockingIOError:
                self._outbox.appendleft((data, fds, owned))
                self._loop.add_writer(self._sock, self._flush)
                return
            except OSError:
                self._outbox.appendleft((data, fds, owned))
                self._hung_up = True
                self.close()
                return
            if sent < len(data):
                self._outbox.appendleft((data[sent:], (), owned))
                continue
            for fd in owned:
                os.close(fd)
        self._loop.remove_writer(self._sock)

    def _receive(self) -> None:
        for message, _ in self._inbox.read():
            self._handle(message)
        if self._inbox.closed and not self.closed:
            logger.warning("fork server %s (pid %d) is gone; its processes end with it", self.label, self.pid)
            self._hung_up = True
            self.close()

    def _handle(self, message: Message) -> None:
        match message["op"]:
            case "loaded":
                self.loaded = True
                if message["threads"] > 1:
                    logger.info("fork server %s has %d threads; its children have one", self.label, message["threads"])
                for module, reason in message["skipped"].items():
                    logger.info("fork server %s: module %s is not preloaded: %s", self.label, module, reason)
            case "started":
                spec, ready, started = self._starting.pop(message["id"])
                process = self._running[message["pid"]] = Process(spec, message["pid"], ready)
                if not started.done():
                    started.set_result(process)
            case "failed":
                _, ready, started = self._starting.pop(message["id"])
                ready.cancel()
                if not started.done():
                    started.set_exception(Unavailable(f"fork server {self.label!r}: {message['message']}"))
                self._rest()
            case "exited":
                self._running.pop(message["pid"]).ended(message["code"])
                self._rest()

    def _rest(self) -> None:
        if not self._running and not self._starting and not self.closed:
            self._retention = self._loop.call_later(self._retention_s, self.close)


def _spawn(theirs: socket.socket, runtime: Runtime) -> subprocess.Popen[bytes]:
    fd = theirs.fileno()
    wire = json.dumps(asdict(runtime))
    try:
        return subprocess.Popen(
            [sys.executable, "-m", _MODULE, str(fd), wire],
            stdin=subprocess.DEVNULL,
            pass_fds=(fd,),
            start_new_session=True,
            env=inherited_environment() | _search_path(),
        )
    except OSError as error:
        raise Unavailable(f"cannot start a fork server: {error.strerror}") from error


def inherited_environment() -> dict[str, str]:
    """Return what every process sees of the host's environment; `python` and `gunicorn` are the host's own."""
    known = {name: value for name, value in os.environ.items() if name in INHERITED}
    programs = os.path.dirname(sys.executable)
    known["PATH"] = os.pathsep.join([programs, known.get("PATH", os.defpath)])
    return known


def _search_path() -> dict[str, str]:
    """Return where the host finds its modules, which the fork server loads as well."""
    return {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}


def _task(spec: ProcessSpec) -> dict[str, object]:
    return {
        "argv": list(spec.argv),
        "env": dict(spec.env),
        "log": str(spec.log),
        "cwd": str(spec.cwd) if spec.cwd is not None else None,
        "memory_bytes": spec.memory_bytes,
        "cpus": list(spec.cpus),
        "mounts": [asdict(mount) for mount in spec.mounts],
        "read_only_root": spec.read_only_root,
        "user": asdict(spec.user) if spec.user is not None else None,
        "grace_s": spec.grace_s,
        "gunicorn": spec.runtime is not None,
        "stdio": spec.stdio is not None,
        "terminal": spec.stdio is not None and spec.stdio.terminal,
    }
