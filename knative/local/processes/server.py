"""gunicorn inside a forked child: its command line as given, its socket and its manners ours.

The listening socket comes from the host, so that it can be connected to before the first worker runs; the host learns
through a pipe, without asking, that a worker has loaded the application. Workers die with their arbiter. Written
against gunicorn's Application API and the hooks of its settings (gunicorn 23 to 27).
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any

from gunicorn.app.wsgiapp import WSGIApplication

from zeroflow.knative.local.processes.child import Task, die_with

# Longer than the proxy keeps an idle connection: it is the proxy that closes first, so no request meets a closing
# socket.
KEEPALIVE_S = 120
MEMORY_DIR = "/dev/shm"  # noqa: S108 - gunicorn puts an unlinked heartbeat file there


class _Server(WSGIApplication):  # type: ignore[misc]  # gunicorn has no types
    def __init__(self, task: Task) -> None:
        self._task = task
        super().__init__("%(prog)s [OPTIONS] [APP_MODULE]", prog="gunicorn")

    def load_config(self) -> None:
        super().load_config()
        task = self._task
        given = set(task.argv)
        if task.listener is not None:
            self.cfg.set("bind", [f"fd://{task.listener}"])
        self.cfg.set("graceful_timeout", max(1, round(task.grace_s)))
        self.cfg.set("keepalive", max(self.cfg.keepalive, KEEPALIVE_S))
        if not _mentions(given, "--log-level"):
            self.cfg.set("loglevel", "warning")
        if not _mentions(given, "--worker-tmp-dir") and os.path.isdir(MEMORY_DIR):
            self.cfg.set("worker_tmp_dir", MEMORY_DIR)
        if not _mentions(given, "--worker-class", "-k", "--threads"):
            self.cfg.set("worker_class", "gthread")
        if task.user is not None:  # its files are to be those of whom it runs as
            self.cfg.set("user", str(task.user.uid))
            self.cfg.set("group", str(task.user.gid))
        if "control_socket_disable" in self.cfg.settings:
            self.cfg.set("control_socket_disable", True)
        self._after_fork, self._after_init = self.cfg.post_fork, self.cfg.post_worker_init
        self.cfg.set("post_fork", self._on_fork)
        self.cfg.set("post_worker_init", self._on_loaded)

    def _on_fork(self, arbiter: Any, worker: Any) -> None:
        die_with(worker.ppid)
        self._after_fork(arbiter, worker)

    def _on_loaded(self, worker: Any) -> None:
        self._after_init(worker)
        self._say_ready()

    def _say_ready(self) -> None:
        if self._task.ready is None:
            return
        with suppress(OSError):  # a later worker: the host has heard it from the first
            os.write(self._task.ready, b"1")
        os.close(self._task.ready)


def run(task: Task) -> int:
    """Serve until told to stop and return the exit code."""
    sys.argv = list(task.argv)
    try:
        _Server(task).run()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _mentions(given: set[str], *options: str) -> bool:
    return any(word == option or word.startswith(f"{option}=") for option in options for word in given)
