"""What happens in a freshly forked child until it is the container's process.

It gets a session (and so a process group) of its own, dies with the process that forked it, reads an empty standard
input, writes to the container's log, and sees the container's volumes and environment. Then it either
becomes another program or runs gunicorn with what its parent has loaded. Nothing here returns to the fork server.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import os
import resource
import signal
import sys
import termios
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from zeroflow.knative.local.processes import mounting
from zeroflow.knative.local.processes.mounting import Mount
from zeroflow.knative.local.processes.users import User, become

PR_SET_PDEATHSIG = 1
# RLIMIT_DATA charges memory that is reserved but never touched (thread stacks, BLAS buffers), a container's limit
# does not. With this much on top a runaway process still gets MemoryError before it takes the machine.
MEMORY_SLACK_BYTES = 256 << 20
EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND = 126, 127


@dataclass(frozen=True)
class Task:
    """What the fork server was asked to start."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    log: str
    cwd: str | None
    memory_bytes: int | None
    mounts: tuple[Mount, ...]
    grace_s: float
    listener: int | None
    ready: int | None
    gunicorn: bool
    stdio: tuple[int, ...] = ()  # instead of an empty input and the log
    terminal: bool = False
    user: User | None = None
    read_only_root: bool = False
    cpus: tuple[int, ...] = ()  # those it may run on; all when there are none


def read_task(wire: dict[str, Any], fds: tuple[int, ...]) -> Task:
    """Read a task as it can be done here; the descriptors are listener, ready, then standard input, output, error."""
    stdio = fds[-3:] if wire["stdio"] else ()
    fds = fds[: len(fds) - len(stdio)]
    task = Task(
        argv=tuple(wire["argv"]),
        env=wire["env"],
        log=wire["log"],
        cwd=wire["cwd"],
        memory_bytes=wire["memory_bytes"],
        cpus=tuple(wire["cpus"]),
        user=User(**wire["user"]) if wire["user"] else None,
        mounts=tuple(mounting.Mount(**mount) for mount in wire["mounts"]),
        read_only_root=wire["read_only_root"],
        grace_s=wire["grace_s"],
        listener=fds[0] if fds else None,
        ready=fds[1] if fds else None,
        gunicorn=wire["gunicorn"],
        stdio=stdio,
        terminal=wire["terminal"],
    )
    if (task.mounts or task.read_only_root) and not mounting.possible():
        return relocated(task)
    return task


class CannotMount(Exception):
    """A volume cannot be shown at its mount path."""


def relocated(task: Task) -> Task:
    """Return the task with mount paths replaced by directories: nothing can be mounted here."""
    return replace(
        task,
        argv=tuple(mounting.relocated(word, task.mounts) for word in task.argv),
        env={name: mounting.relocated(value, task.mounts) for name, value in task.env.items()},
        cwd=mounting.relocated(task.cwd, task.mounts) if task.cwd is not None else None,
        mounts=(),
        read_only_root=False,
    )


def die_with(parent: int) -> None:
    """Have the kernel kill this process when `parent`, which forked it, ends in whatever way."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the call
        os._exit(128 + signal.SIGKILL)


def run(task: Task, parent: int) -> NoReturn:
    """Become the container's process; never returns."""
    code = 1
    try:
        _isolate(task, parent)
        code = _serve(task) if task.gunicorn else _execute(task)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except CannotMount as error:
        code = EXIT_NOT_EXECUTABLE
        sys.stderr.write(f"{error}\n")
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        _flush()
        os._exit(code)


def _isolate(task: Task, parent: int) -> None:
    os.setsid()
    die_with(parent)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    if not task.gunicorn:  # Python ignores it; other programs expect the default
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    _redirect(task)
    kept = {0, 1, 2} | {fd for fd in (task.listener, task.ready) if fd is not None}
    close_others(kept)
    if task.mounts or task.read_only_root:
        try:
            mounting.enter(task.mounts, read_only_root=task.read_only_root)
        except OSError as error:
            raise CannotMount(f"cannot mount the volumes: {error.filename}: {error.strerror}") from error
        die_with(parent)  # new credentials may have made the kernel forget it
    if task.memory_bytes is not None:
        limit = task.memory_bytes + MEMORY_SLACK_BYTES + _own_data_bytes()
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    if task.cpus:
        os.sched_setaffinity(0, task.cpus)
    if task.cwd is not None:
        os.chdir(task.cwd)
    if task.user is not None:
        become(task.user)
        die_with(parent)


def _redirect(task: Task) -> None:
    if task.stdio:
        sources = task.stdio
        if task.terminal:
            fcntl.ioctl(sources[0], termios.TIOCSCTTY, 0)
    else:
        nothing = os.open(os.devnull, os.O_RDONLY)
        output = os.open(task.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        sources = (nothing, output, output)
    for target, source in enumerate(sources):
        os.dup2(source, target)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def close_others(kept: set[int]) -> None:
    """Close every descriptor but those."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            try:
                os.close(int(name))
            except OSError:
                continue  # the descriptor of the listing itself


def _own_data_bytes() -> int:
    """Return the private writable memory that this process has from its parent already."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[5]) * resource.getpagesize()


def _execute(task: Task) -> int:
    try:
        os.execvpe(task.argv[0], list(task.argv), dict(task.env))  # noqa: S606 - no shell is the point
    except FileNotFoundError:
        return _refuse(task, EXIT_NOT_FOUND, "no such program or working directory")
    except OSError as error:
        return _refuse(task, EXIT_NOT_EXECUTABLE, error.strerror or str(error))


def _refuse(task: Task, code: int, reason: str) -> int:
    sys.stderr.write(f"cannot run {task.argv[0]!r}: {reason} (PATH={task.env.get('PATH', '')})\n")
    return code


def _serve(task: Task) -> int:
    os.environ.clear()
    os.environ.update(task.env)
    for entry in reversed(task.env.get("PYTHONPATH", "").split(os.pathsep)):
        if entry and entry not in sys.path:
            sys.path.insert(0, entry)
    gc.enable()
    if numpy := sys.modules.get("numpy"):  # every child would draw its parent's next numbers
        numpy.random.seed()
    from zeroflow.knative.local.processes import server

    return server.run(task)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
