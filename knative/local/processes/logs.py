"""The logs of processes on disk, and what bounds them.

A process writes to its log itself (O_APPEND). While processes run, logs that have grown past `MAX_BYTES` are moved
aside: what was written is kept once more as `<container>.log.1` and the file goes on empty, so a container has at
most twice that. What it writes between the copy and the cut is lost, as with any rotation from outside. Logs of the
pods of an earlier host are kept for a while and within a size. Source: the kubelet's containerLogMaxSize.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path

logger = logging.getLogger(__name__)

TAIL_BYTES = 2048
KEPT_LOGS = 5  # of instances of one revision that have ended
MAX_BYTES = 10 << 20
LOOK_EVERY_S = 10.0
EARLIER_PODS = 200
EARLIER_BYTES = 100 << 20
EARLIER_AGE_S = 7 * 86400.0


def tail(path: Path) -> str:
    """Return the last lines of a log, for a status message."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            return file.read().decode(errors="replace").strip()
    except OSError:
        return ""


def prune_logs(ended: Iterable[Path]) -> list[Path]:
    """Remove empty logs and all but the newest few of `ended` (oldest first); return those that are left."""
    kept = []
    for log in ended:
        if log.exists() and log.stat().st_size > 0:
            kept.append(log)
        else:
            shutil.rmtree(log.parent, ignore_errors=True)
    for log in kept[:-KEPT_LOGS]:
        shutil.rmtree(log.parent, ignore_errors=True)
    return kept[-KEPT_LOGS:]


def rotate(path: Path, max_bytes: int = MAX_BYTES) -> bool:
    """Move what a log holds aside when it is larger than that; return whether it was."""
    try:
        with path.open("r+b") as log:
            if os.fstat(log.fileno()).st_size <= max_bytes:
                return False
            with path.with_name(f"{path.name}.1").open("wb") as aside:
                shutil.copyfileobj(log, aside, 1 << 20)
            log.truncate(0)
    except OSError as error:  # a full disk: cutting the log is better than stopping its process
        if not path.exists():
            return False
        logger.warning("log %s cannot be kept aside (%s); it is cut", path, error.strerror)
        path.with_name(f"{path.name}.1").unlink(missing_ok=True)
        os.truncate(path, 0)
    return True


class Rotation:
    """Looks at the logs of running processes, and at nothing while none runs."""

    def __init__(self, running: Callable[[], Iterable[Path]], every_s: float = LOOK_EVERY_S) -> None:
        self._running, self._every_s = running, every_s
        self._timer: asyncio.TimerHandle | None = None

    def started(self) -> None:
        """Note that a process runs."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._every_s, self._look)

    def stop(self) -> None:
        """Look no more until the next process starts."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        logs = set(self._running())
        for log in logs:
            rotate(log)
        if logs:
            self.started()


def prune_earlier(root: Path, scratch: Path, now_s: float | None = None) -> int:
    """Remove what pods of an earlier host have left: all scratch, and logs that are many, large or old.

    To be called before the first process starts. Returns how many pods' logs are left.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    now_s = time.time() if now_s is None else now_s
    pods = sorted(((_newest(pod), _size(pod), pod) for pod in root.glob("*/*") if pod.is_dir()), reverse=True)
    kept = total = 0
    for written_s, size, pod in pods:
        total += size
        if size and kept < EARLIER_PODS and total <= EARLIER_BYTES and now_s - written_s < EARLIER_AGE_S:
            kept += 1
        else:
            shutil.rmtree(pod, ignore_errors=True)
    return kept


def _newest(pod: Path) -> float:
    return max((file.stat().st_mtime for file in pod.iterdir()), default=0.0)


def _size(pod: Path) -> int:
    return sum(file.stat().st_size for file in pod.iterdir())
