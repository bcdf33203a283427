"""A process as the host sees it: what was asked for, how to signal it, how it ended."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from zeroflow.errors import Unavailable
from zeroflow.knative.local.api.rest.streams.pods import Stdio
from zeroflow.knative.local.processes.mounting import Mount
from zeroflow.knative.local.processes.users import User

# Signals that come from somebody else; one of the others (SIGSEGV, SIGABRT) is a program's own crash.
_FROM_OUTSIDE = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGTERM})


def killed_from_outside(code: int) -> bool:
    """Return whether an exit code says that somebody has ended the process (a shell passes it on as 128 + signal)."""
    return (-code if code < 0 else code - 128) in _FROM_OUTSIDE


class Interrupted(Unavailable):
    """The fork server of a process was killed and has taken it along: nothing is wrong with the process."""

    def __init__(self, label: str) -> None:
        super().__init__(f"the fork server {label!r} was killed while it was starting a process")


@dataclass(frozen=True)
class ProcessSpec:
    """What to start. With a runtime, `argv` is a gunicorn command and `listener` the socket that it serves."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    log: Path
    cwd: Path | None = None
    runtime: str | None = None
    listener: socket.socket | None = None  # the launcher closes the host's copy
    memory_bytes: int | None = None
    processors: int | None = None  # how many it may run on; None: on all
    cpus: tuple[int, ...] = ()  # which they are: the launcher chooses
    mounts: tuple[Mount, ...] = ()
    read_only_root: bool = False  # but for its mounts; where the kernel lets it
    stdio: Stdio | None = None  # instead of an empty input and the log
    user: User | None = None  # None: as the host does
    grace_s: float = 30.0  # how long gunicorn lets requests finish after SIGTERM


class Process:
    """One running process group."""

    def __init__(self, spec: ProcessSpec, pid: int, ready: asyncio.Future[bool]) -> None:
        self.spec, self.pid = spec, pid
        self._ready = ready
        self.interrupted: Interrupted | None = None
        """Set when it has ended with its fork server."""
        self._exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def exit_code(self) -> int | None:
        """How it ended (negative: by this signal), None while it runs."""
        return self._exit.result() if self._exit.done() else None

    async def wait(self) -> int:
        """Return the exit code once it has ended; negative means killed by this signal."""
        return await asyncio.shield(self._exit)

    def when_ended(self, do: Callable[[], None]) -> None:
        """Do something once it has ended."""
        self._exit.add_done_callback(lambda _: do())

    async def serving(self) -> bool:
        """Return True once gunicorn has loaded the application, False when it ends before; only with a listener."""
        return await asyncio.shield(self._ready)

    def terminate(self) -> None:
        """Ask the whole group to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the whole group now."""
        self._signal(signal.SIGKILL)

    def ended(self, code: int) -> None:
        """Record how it ended (for the launcher)."""
        if not self._exit.done():
            self._exit.set_result(code)

    def _signal(self, number: int) -> None:
        if self._exit.done():
            return
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:  # between fork and its own session, or just gone
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)
