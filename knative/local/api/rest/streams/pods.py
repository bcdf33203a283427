"""What streams need of the processes behind Pods: to run a command beside one, to hear it, to reach its ports.

`processes.inside` provides it; nothing of the resource API starts a process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Stdio:
    """The descriptors of a command's standard input, output and error; they stay the caller's."""

    descriptors: tuple[int, int, int]
    terminal: bool


class Running(Protocol):
    """A command that was started."""

    async def wait(self) -> int:
        """Return its exit code; negative: killed by this signal."""
        ...

    def kill(self) -> None:
        """End it and what it has started."""
        ...


class Pods(Protocol):
    """The processes of Pods."""

    def check(self, namespace: str, pod: str, container: str) -> None:
        """Raise BadRequest when the container does not run."""
        ...

    async def execute(self, namespace: str, pod: str, container: str, argv: Sequence[str], stdio: Stdio) -> Running:
        """Start a command with a container's environment, directory and volumes."""
        ...

    def output(self, namespace: str, pod: str, container: str) -> AsyncIterator[bytes]:
        """Yield what a container writes from now on, until it ends."""
        ...

    async def port(self, namespace: str, pod: str, port: int) -> int:
        """Return where on this machine a port of a Pod is; raise NotFound when nothing of it listens there."""
        ...
