"""Notes when each log grows, for `kubectl logs --timestamps` and `--since`.

A process writes to its log itself; the kernel (inotify) tells the host that it has, and the host notes the size and the
time beside the log (`api.rest.log_times`). A burst of writes is noted every `PAUSE_S`, so that what talks much costs
the host little; while nothing is written nothing wakes. The times begin anew when a log is moved aside, which bounds
them as it does the log. Where the kernel gives no inotify, lines have the time of their file.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import struct
import time
from contextlib import suppress
from pathlib import Path

from zeroflow.knative.local.api.rest.log_times import RECORD, beside

logger = logging.getLogger(__name__)

PAUSE_S = 0.02
_IN_MODIFY = 0x2
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of a name, which a watched file's events do not have
_READ_BYTES = 64 * 1024


class LogTimes:
    """Watches the logs of processes that run; one per host."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._inotify = -1
        self._logs: dict[int, Path] = {}
        self._ends: dict[Path, int] = {}
        self._pause: asyncio.TimerHandle | None = None

    def watch(self, log: Path) -> None:
        """Note from now on when this log grows; to be called before its process starts."""
        try:
            if self._inotify < 0:
                self._open()
            log.touch(mode=0o640)
            watch = self._libc.inotify_add_watch(self._inotify, os.fsencode(log), _IN_MODIFY)
        except OSError as error:
            logger.info("no times for the lines of %s: %s", log, error.strerror)
            return
        if watch < 0:
            logger.info("no times for the lines of %s: %s", log, os.strerror(ctypes.get_errno()))
            return
        self._logs[watch] = log
        self._ends[log] = log.stat().st_size

    def ended(self, log: Path) -> None:
        """Note the last of what a process has written and watch its log no more."""
        for watch in [watch for watch, one in self._logs.items() if one == log]:
            self._note(log)
            self._libc.inotify_rm_watch(self._inotify, watch)
            del self._logs[watch]
            del self._ends[log]

    def close(self) -> None:
        """Watch nothing any more."""
        if self._inotify < 0:
            return
        if self._pause is not None:
            self._pause.cancel()
        asyncio.get_running_loop().remove_reader(self._inotify)
        os.close(self._inotify)
        self._inotify = -1
        self._logs.clear()
        self._ends.clear()

    def _open(self) -> None:
        found = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if found < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._inotify = found
        self._listen()

    def _listen(self) -> None:
        self._pause = None
        asyncio.get_running_loop().add_reader(self._inotify, self._written)

    def _written(self) -> None:
        with suppress(BlockingIOError):
            data = os.read(self._inotify, _READ_BYTES)
            for watch in {_EVENT.unpack_from(data, start)[0] for start in range(0, len(data), _EVENT.size)}:
                if log := self._logs.get(watch):
                    self._note(log)
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._inotify)
        self._pause = loop.call_later(PAUSE_S, self._listen)

    def _note(self, log: Path) -> None:
        with suppress(OSError):  # the log is gone, or the disk is full: its lines have the time of the file
            end, before = log.stat().st_size, self._ends[log]
            if end == before:
                return
            with beside(log).open("wb" if end < before else "ab", buffering=0) as file:  # smaller: it was moved aside
                if end:
                    file.write(RECORD.pack(end, time.time_ns()))
            self._ends[log] = end
