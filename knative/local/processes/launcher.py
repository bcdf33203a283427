"""The only place that starts processes: asks fork servers for them and hears how they end.

Guarantees for every process: a session of its own, an empty standard input, its output in its log, the environment of
its specification and nothing else, and death together with the host. A fork server is started on first use and ends
``retention_s`` after the end of its last child. Commands without a runtime are forked and executed by a server that
loads nothing and is kept for seconds only, so that there is one way to start, reap and clean up.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from zeroflow.errors import InvalidInput, Unavailable
from zeroflow.knative.local.processes.log_times import LogTimes
from zeroflow.knative.local.processes.logs import Rotation
from zeroflow.knative.local.processes.process import Process, ProcessSpec
from zeroflow.knative.local.processes.processors import Processors
from zeroflow.knative.local.processes.runtimes import RUNTIMES, Runtime
from zeroflow.knative.local.processes.server_link import ServerLink

_COMMANDS = Runtime()  # what forks plain commands: nothing loaded
_COMMANDS_RETENTION_S = 20.0
"""What loads nothing is back in 50 ms, so that its 7 MB are not kept for as long as a preloaded parent."""
_BACKLOG = 4096


class Launcher:
    """Start processes; one per host."""

    def __init__(self, *, runtimes: Mapping[str, Runtime] = RUNTIMES, retention_s: float = 600.0) -> None:
        self._runtimes = runtimes
        self._retention_s = retention_s
        self._servers: dict[str | None, ServerLink] = {}
        self._processors = Processors()
        self._times = LogTimes()
        self._rotation = Rotation(lambda: [process.spec.log for process in self.running()])

    async def start(self, spec: ProcessSpec) -> Process:
        """Start `spec` and return it running; raise InvalidInput for an unknown runtime, Unavailable when it fails."""
        runtime = _COMMANDS if spec.runtime is None else self._runtimes.get(spec.runtime)
        if runtime is None:
            raise InvalidInput(f"no runtime {spec.runtime!r}; there are: {', '.join(sorted(self._runtimes))}")
        spec.log.parent.mkdir(parents=True, exist_ok=True)
        spec = replace(spec, cpus=self._processors.give(spec.processors))
        try:
            server = self._servers.get(spec.runtime)
            if server is None or server.closed:
                label = spec.runtime or "command"
                kept_s = self._retention_s if runtime.modules else min(self._retention_s, _COMMANDS_RETENTION_S)
                server = self._servers[spec.runtime] = ServerLink(label, runtime, kept_s)
            if spec.stdio is None:
                self._times.watch(spec.log)
            try:
                process = await server.start(spec)
            except BaseException:
                self._times.ended(spec.log)
                raise
            process.when_ended(lambda: self._times.ended(spec.log))
            process.when_ended(lambda: self._processors.take_back(spec.cpus))
            self._rotation.started()
            return process
        except BaseException:
            self._processors.take_back(spec.cpus)
            raise
        finally:
            if spec.listener is not None:
                spec.listener.close()

    def prepare(self, runtime: str, within_s: float = 10.0) -> None:
        """Have a process of `runtime` loaded for the case that the one which runs ends `within_s`."""
        server = self._servers.get(runtime)
        if self._runtimes[runtime].alone and server is not None and not server.closed:
            server.prepare(within_s)

    def running(self) -> list[Process]:
        """Return the processes that run."""
        return [process for server in self._servers.values() for process in server.running()]

    def find(self, log: Path) -> Process | None:
        """Return the running process that writes this log."""
        return next((one for one in self.running() if one.spec.log == log and one.exit_code is None), None)

    def warm(self, runtime: str) -> bool:
        """Return whether the fork server of `runtime` is up and loaded."""
        server = self._servers.get(runtime)
        return server is not None and not server.closed and server.loaded

    def parents(self) -> dict[str, int]:
        """Return the pids of the fork servers by runtime ("command" for plain commands)."""
        return {server.label: server.pid for server in self._servers.values() if not server.closed}

    async def close(self) -> None:
        """Kill whatever runs and end the fork servers."""
        self._rotation.stop()
        for server in self._servers.values():
            server.close()
        self._servers.clear()
        await asyncio.sleep(0)  # lets those who wait for an exit code see it
        self._times.close()


def listening_socket() -> socket.socket:
    """Return a socket that already accepts connections on a free loopback port."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # gunicorn sets this too late for connections that are made before it runs: each answer would wait for an ACK.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind(("127.0.0.1", 0))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise Unavailable(f"no port to listen on: {error.strerror}") from error
    return sock
