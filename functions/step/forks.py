"""The function's side of its fork servers: asks for a step's process and waits for its end.

There is one zygote with kfp alone, and from the first step on that imports a heavy library a second one which has
loaded it, so that each such library is imported once and not by every step. A step goes to the second only if it
imports something that is loaded there. Which modules a step imports is read from its source.

Guarantees: safe to use from several threads; no step outlives the function.
"""

import ast
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from zeroflow.functions.step.errors import Interrupted

LOAD_PATIENCE_S = 20.0
"""How long a step waits for the libraries that it imports to be loaded; then it imports them itself."""
MAX_MESSAGE_BYTES = 1 << 16


@dataclass(frozen=True)
class Exit:
    """How a step's process ended."""

    code: int
    """Negative: the signal that killed it."""
    cpu_ms: float
    max_rss_bytes: int


class Child:
    """A step's process."""

    def __init__(self, step: socket.socket) -> None:
        self._step = step
        self.pid = int(self._receive(None)["pid"])

    def wait(self, timeout_s: float | None) -> Exit | None:
        """Return how the process ended, or None when it has not within the time."""
        try:
            message = self._receive(timeout_s)
        except TimeoutError:
            return None
        self._step.close()
        return Exit(message["code"], message["cpu_ms"], message["max_rss_bytes"])

    def kill(self) -> None:
        """Have the process group killed; `wait` then tells its end."""
        self._step.shutdown(socket.SHUT_WR)

    def _receive(self, timeout_s: float | None) -> Any:
        self._step.settimeout(timeout_s)
        try:
            message = self._step.recv(MAX_MESSAGE_BYTES)
        except ConnectionError:
            message = b""
        if not message:
            self._step.close()
            raise Interrupted("the fork server of the step has ended")
        answer = json.loads(message)
        if "failed" in answer:
            self._step.close()
            raise Interrupted(f"no process for the step: {answer['failed']}")
        return answer


class ForkServerGone(Exception):
    """The fork server ended before it could be asked."""


class Zygote:
    """One fork server."""

    def __init__(self, environment: Mapping[str, str], modules: frozenset[str] = frozenset()) -> None:
        self.modules = modules
        self._loaded = threading.Event()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            argv = [
                sys.executable,
                "-P",
                "-m",
                "zeroflow.functions.step.zygote",
                str(theirs.fileno()),
                *sorted(modules),
            ]
            self._process = subprocess.Popen(
                argv,
                env={**environment, "_KFP_RUNTIME": "true"},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                process_group=0,
            )

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def wait_loaded(self, timeout_s: float) -> bool:
        """Wait until the modules are loaded, and say whether they are."""
        if not self._loaded.is_set():
            self._control.settimeout(timeout_s)
            try:
                loaded = self._control.recv(
                    MAX_MESSAGE_BYTES, socket.MSG_PEEK
                )  # never taken: all waiting threads see it
            except OSError:
                return False
            if not loaded:
                return False
            self._loaded.set()
        return True

    def fork(self, folder: Path, step: bytes, python: str | None) -> Child:
        """Start the process of the attempt in `folder`, in another interpreter if one is given."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        told = os.memfd_create("step")  # it may be larger than a message
        try:
            os.write(told, step)
            wanted = json.dumps({"folder": str(folder), "python": python}).encode()
            socket.send_fds(self._control, [wanted], [theirs.fileno(), told])
        except OSError as error:
            ours.close()
            raise ForkServerGone from error
        finally:
            theirs.close()
            os.close(told)
        return Child(ours)

    def retire(self) -> None:
        """Let the process end once its steps have."""
        with suppress(OSError):
            self._control.send(b'{"retire": true}')

    def close(self) -> None:
        """End the process, and all steps that it started."""
        self._control.close()
        self._process.wait()


class Forks:
    """All fork servers of this function."""

    def __init__(self, environment: Mapping[str, str], preload: tuple[str, ...] = ()) -> None:
        self._environment, self._preload = environment, frozenset(preload)
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._plain = Zygote(environment)
        self._warm: Zygote | None = None
        self._retired: list[Zygote] = []

    def fork(
        self,
        folder: Path,
        step: Mapping[str, Any],
        *,
        python: str | None = None,
        imports: frozenset[str] = frozenset(),
    ) -> Child:
        """Start the process of the attempt in `folder`, which is to do what `step` says.

        `imports` are the modules that it would like to find loaded.
        """
        told = json.dumps(step).encode()
        for wanted in (imports, frozenset[str]()):
            with suppress(ForkServerGone):
                return self._zygote(wanted).fork(folder, told, python)
        raise Interrupted("the fork server of the step does not stay alive")

    def imports(self, source: str) -> frozenset[str]:
        """Return those modules which `source` imports that may be loaded ahead."""
        return frozenset(name for name in _imported(source) if name.partition(".")[0] in self._preload)

    def close(self) -> None:
        """End all fork servers and their steps."""
        with self._lock:
            for zygote in (self._plain, self._warm, *self._retired):
                if zygote is not None:
                    zygote.close()

    def _zygote(self, imports: frozenset[str]) -> Zygote:
        with self._lock:
            if self._owner != os.getpid() or not self._plain.alive:
                self._owner, self._plain, self._warm = os.getpid(), Zygote(self._environment), None
            if not imports:
                return self._plain
            if self._warm is None or not self._warm.alive:
                self._warm = Zygote(self._environment, imports)
            elif not imports <= self._warm.modules:
                self._warm.retire()
                self._retired = [zygote for zygote in (*self._retired, self._warm) if zygote.alive]
                self._warm = Zygote(self._environment, self._warm.modules | imports)
            warm = self._warm
        return warm if warm.wait_loaded(LOAD_PATIENCE_S) else self._plain


@lru_cache(maxsize=64)
def _imported(source: str) -> frozenset[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return frozenset()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return frozenset(found)
