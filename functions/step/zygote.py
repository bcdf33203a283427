"""The fork server of steps: a process with kfp loaded that makes a step's process by forking, in about a millisecond.

`python -m zeroflow.functions.step.zygote FD MODULE...`, where FD is a SOCK_SEQPACKET socket to the function. It is a
program of its own rather than a fork of the function: steps then share no memory with what holds the platform's token
and database, its heap stays small, which is what a fork costs, and it has one thread, so that no child inherits a
lock that nobody will release.

The function sends `{"folder", "python"}` with a second socket, the step's, and a file that says what is to be done; on
the socket the zygote answers `{"pid"}` and, once the step has ended and its process group is gone, `{"code", "cpu_ms",
"max_rss_bytes"}`. When the function closes its end of a step's socket, that step's group is killed; when it closes the
first socket, or dies, all are, and the zygote ends. After `{"retire"}` it ends with its last step. When the zygote
dies, the kernel kills its children.

One process is forked ahead and waits for its orders, so that a step of a chain does not wait for its fork; the next one
is forked when a step has ended, while the pipeline function finds out what follows. While it waits it runs a component
that does nothing: a forked process pays for each page of memory that it writes to for the first time, and that is most
of the time that a trivial step takes.
"""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from zeroflow.functions.step import child

PR_SET_CHILD_SUBREAPER = 36


class Zygote:
    """Fork steps on request until the function is gone."""

    def __init__(self, function: socket.socket) -> None:
        self._function = function
        self._steps: dict[int, socket.socket] = {}
        self._retired = False
        self._ahead: tuple[int, socket.socket] | None = None
        self._environment: dict[str, str] = {}
        self._poll = select.poll()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def load(self, modules: list[str]) -> None:
        """Import kfp's executor and `modules`, and report what of them could be."""
        _rehearse()
        loaded = []
        for name in modules:
            with suppress(Exception):  # a step that needs it will say why it cannot be imported
                importlib.import_module(name)
                loaded.append(name)
        self._environment = dict(os.environ)
        gc.collect()
        gc.freeze()
        self._function.send(json.dumps({"loaded": loaded}).encode())

    def run(self) -> None:
        """Serve until the function closes its end."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the function decides when it is over
            signal.signal(number, signal.SIG_IGN)
        child.PRCTL(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._poll.register(self._function, select.POLLIN)
        self._poll.register(self._wake_read, select.POLLIN)
        self._fork_ahead()
        while not self._retired or self._steps:
            for descriptor, _ in self._poll.poll():
                if descriptor == self._wake_read:
                    with suppress(BlockingIOError):
                        os.read(self._wake_read, 4096)
                    self._reap()
                elif descriptor == self._function.fileno():
                    if not self._accept():
                        return
                else:
                    self._abandon(descriptor)

    def kill_all(self) -> None:
        """Kill the process group of every step, and what has left them."""
        for pid in self._steps:
            _kill_group(pid)
        _kill_orphans(None)

    def _accept(self) -> bool:
        try:
            message, descriptors, _, _ = socket.recv_fds(self._function, child.MAX_MESSAGE_BYTES, 2)
        except ConnectionError:
            return False
        if not message:
            return False
        if not descriptors:
            self._retired = True
            return True
        step, told = socket.socket(fileno=descriptors[0]), descriptors[1]
        try:
            pid = self._order(message, told)
        except OSError as error:
            _say(step, {"failed": f"fork: {error.strerror}"})
            step.close()
            return True
        finally:
            os.close(told)
        self._steps[pid] = step
        self._poll.register(step, select.POLLIN)
        _say(step, {"pid": pid})
        return True

    def _order(self, message: bytes, told: int) -> int:
        """Have a process that was forked do a step, and return its pid."""
        if self._ahead is not None:
            (pid, orders), self._ahead = self._ahead, None
            with orders, suppress(OSError):  # somebody has killed it
                socket.send_fds(orders, [message], [told])
                return pid
        pid, orders = self._fork()
        with orders:
            socket.send_fds(orders, [message], [told])
        return pid

    def _fork(self) -> tuple[int, socket.socket]:
        """Fork a process that waits for its orders."""
        me = os.getpid()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                pid = os.fork()
            except OSError:
                ours.close()
                raise
            if pid == 0:
                # With steps at work there is no time to spare, and the orders come before it would be over.
                child.fork_main(me, theirs, self._environment, None if self._steps else _rehearse)
        return pid, ours

    def _fork_ahead(self) -> None:
        if self._ahead is None and not self._retired:
            with suppress(OSError):  # the step that needs it will say so
                self._ahead = self._fork()

    def _abandon(self, descriptor: int) -> None:
        for pid, step in self._steps.items():
            if step.fileno() == descriptor:
                _kill_group(pid)
                self._poll.unregister(step)

    def _reap(self) -> None:
        """Take every process that has ended: steps, and what steps have left to this process."""
        again = False
        with suppress(ChildProcessError):
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if ended.si_pid in self._steps:
                    _kill_group(ended.si_pid)  # what the step left behind; the number is taken until it is waited for
                pid, status, usage = os.wait4(ended.si_pid, 0)
                if self._ahead is not None and pid == self._ahead[0]:
                    self._ahead[1].close()
                    self._ahead = None
                if step := self._steps.pop(pid, None):
                    again = True
                    with suppress(KeyError):
                        self._poll.unregister(step)
                    cpu_ms = round((usage.ru_utime + usage.ru_stime) * 1000, 3)
                    code = os.waitstatus_to_exitcode(status)
                    _say(step, {"code": code, "cpu_ms": cpu_ms, "max_rss_bytes": usage.ru_maxrss * 1024})
                    step.close()
        if not self._steps:
            _kill_orphans(self._ahead[0] if self._ahead else None)
        if again:  # and not when the one ahead has ended by itself: the next might as well
            self._fork_ahead()


def _rehearse() -> None:
    """Run a component that does nothing and undo its traces: what that imports, compiles and touches is then done."""
    from kfp.dsl import executor, executor_main  # noqa: F401 - what a step imports
    from kfp.dsl.types import artifact_types

    stdout, path = sys.stdout, list(sys.path)
    artifacts = {name: {"artifacts": [{"name": name, "uri": f"/dev/{name}"}]} for name in ("model", "metrics")}
    outputs = {"outputFile": os.devnull, "artifacts": artifacts}
    given = {"inputs": {"parameterValues": {"text": "x"}}, "outputs": outputs}
    with open(os.devnull, "w") as nothing:
        try:
            sys.stdout = nothing
            child.set_up_logging()
            _log_to(nothing)
            component = child.loaded(str(Path(__file__).with_name("rehearsed.py"))).rehearsed
            logging.root.info("Got executor_input: %s", json.dumps(json.loads(json.dumps(given))))
            executor.Executor(executor_input=given, function_to_execute=component).execute()
        finally:
            sys.stdout, sys.path[:] = stdout, path
            sys.modules.pop("rehearsed", None)
            artifact_types.CONTAINER_TASK_ROOT = None
            _log_to(sys.stdout)  # as kfp has set it up, on the standard output of each step


def _log_to(stream: Any) -> None:
    for handler in logging.root.handlers:
        handler.setStream(stream)  # type: ignore[attr-defined]


def _say(step: socket.socket, message: dict[str, object]) -> None:
    with suppress(OSError):  # the function has gone away: the poll says so
        step.send(json.dumps(message).encode())


def _kill_orphans(kept: int | None) -> None:
    """Kill what has left its step's process group and outlived its parents; such a process becomes this one's child."""
    with suppress(OSError), open(f"/proc/self/task/{os.getpid()}/children") as children:
        for pid in map(int, children.read().split()):
            if pid != kept:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _kill_group(pid: int) -> None:
    for kill in (os.killpg, os.kill):  # a child that was forked a moment ago has no group of its own yet
        with suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def main() -> None:
    """Run the zygote that the command line describes."""
    zygote = Zygote(socket.socket(fileno=int(sys.argv[1])))
    try:
        zygote.load(sys.argv[2:])
        zygote.run()
    except ConnectionError:
        pass  # the function is gone
    finally:
        zygote.kill_all()


if __name__ == "__main__":
    main()
