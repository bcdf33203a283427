"""gunicorn inside a forked child: its command line as given, its socket and its manners ours.

The listening socket comes from the host, so that it can be connected to before the first worker runs; the host learns
through a pipe, without asking, that a worker has loaded the application.

A container of one worker has no arbiter: the worker runs in the child itself, since the host starts a container again
that has ended. That is one process and 7 MB less. What the arbiter would do besides - end a worker that hangs for
`--timeout` seconds - a watchdog thread does, which needs no lock of Python's, and which says where the worker hung.
With more workers, or a configuration file that may have hooks, gunicorn is as ever; its workers die with their arbiter.
Written against gunicorn's Application and Worker and the hooks of its settings (gunicorn 23 to 27).
"""

from __future__ import annotations

import faulthandler
import os
import sys
import time
import traceback
from contextlib import suppress
from typing import Any

from gunicorn import sock
from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.arbiter import Arbiter

from zeroflow.knative.local.processes.child import Task, die_with

# Longer than the proxy keeps an idle connection: it is the proxy that closes first, so no request meets a closing
# socket.
KEEPALIVE_S = 120
MEMORY_DIR = "/dev/shm"  # noqa: S108 - gunicorn puts an unlinked heartbeat file there

LINGERING = "zeroflow.knative.local.processes.worker.LingeringWorker"
LONELY = (LINGERING, "gthread", "sync", "zeroflow.functions.predictor.worker.QuickWorker")
"""The workers that need no arbiter."""


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
            self.cfg.set("worker_class", LINGERING)
        if task.user is not None:  # its files are to be those of whom it runs as
            self.cfg.set("user", str(task.user.uid))
            self.cfg.set("group", str(task.user.gid))
        if "control_socket_disable" in self.cfg.settings:
            self.cfg.set("control_socket_disable", True)
        self._after_fork, self._after_init = self.cfg.post_fork, self.cfg.post_worker_init
        self.cfg.set("post_fork", self._on_fork)
        self.cfg.set("post_worker_init", self._on_loaded)

    def run(self) -> None:
        if self._needs_arbiter():
            super().run()
        else:
            self._run_worker()

    def _needs_arbiter(self) -> bool:
        """Say whether anything was asked for that only an arbiter does."""
        cfg = self.cfg
        plain = cfg.worker_class_str in LONELY and cfg.workers == 1 and not cfg.max_requests
        told = any(os.path.exists(file) for file in (cfg.config or "", "gunicorn.conf.py"))
        others = (cfg.daemon, cfg.preload_app, cfg.reload, cfg.print_config, cfg.check_config, cfg.spew, cfg.pythonpath)
        return not plain or told or any(others)

    def _run_worker(self) -> None:
        cfg = self.cfg
        log = cfg.logger_class(cfg)
        listeners = sock.create_sockets(cfg, log)
        worker = cfg.worker_class(1, os.getppid(), listeners, self, cfg.timeout / 2.0, cfg, log)
        worker.pid = os.getpid()
        if cfg.timeout:
            worker.notify = _Watchdog(cfg.timeout)
            worker.notify()
        try:
            worker.init_process()
        except Exception:
            traceback.print_exc()
            sys.exit(1 if worker.booted else Arbiter.WORKER_BOOT_ERROR)
        finally:
            faulthandler.cancel_dump_traceback_later()

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


class _Watchdog:
    """Ends this process when it has not been called for so long.

    It is wound up again only once a tenth of the time has gone: that makes a thread, and a worker calls it for every
    event of every request.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s, self._wound_up = timeout_s, 0.0

    def __call__(self) -> None:
        now = time.monotonic()
        if now - self._wound_up > self._timeout_s / 10:
            self._wound_up = now
            faulthandler.dump_traceback_later(self._timeout_s, exit=True)


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
