"""One attempt's folder: where its files lie while it runs, who may work on it, and what is left of it after a crash.

    <task id>.<attempt>/
        control/    step.json (what the child is to do), pid (and when it began), ended.json, canceled
        component/  the source
        store/ s3/  artifacts, under the same bucket and key as in their store
        parameters/ output parameters that are written to a file
        work/  the child's working directory

Guarantees: one handler at a time holds an attempt, across processes (a lock on the folder itself, released by the
kernel when its holder dies); a child that runs holds a lock on `control/pid`, so that whether it lives is known
without trusting a number.
"""

import fcntl
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zeroflow.functions.step.errors import Interrupted

GRACE_S = 1.0
"""How long a step has between SIGTERM and SIGKILL."""
GONE_S = 5.0
"""How long a killed step may take to be gone; the kernel needs milliseconds."""
DISCARDED = ".discarded-"
ABANDONED_S = 24 * 3600.0
"""Age at which a folder that nobody works on is removed."""


@dataclass(frozen=True)
class Ended:
    """How the user's code ended; written by the child, or for it when a signal ended it."""

    exit_code: int
    """Negative: the signal that killed it."""
    started_ms: int
    finished_ms: int
    run_ms: float
    error: str | None = None
    reason: str | None = None


class Workspace:
    """The folder of one attempt."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.control, self.work = path / "control", path / "work"
        self.parameters, self.component = path / "parameters", path / "component"
        self.mounts = {"store": path / "store", "s3": path / "s3"}
        self._ended, self._canceled, self._pid = (self.control / name for name in ("ended.json", "canceled", "pid"))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Wait until no other handler holds this attempt, and hold it for the length of the block."""
        lock = self._lock()
        try:
            yield
        finally:
            os.close(lock)

    def _lock(self) -> int:
        while True:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                continue
            fcntl.flock(lock, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock), os.stat(self.path)):
                    return lock
            os.close(lock)  # the holder before us has removed the folder: lock the one that is there now

    def prepare(self) -> bool:
        """Make the folder empty and ready for a child; say whether an earlier child has left something."""
        left = self._pid.exists()
        self.clear()
        for folder in (self.control, self.work, self.parameters, self.component):
            folder.mkdir(exist_ok=True)
        return left

    def clear(self) -> None:
        """Remove everything but the folder and the note of a cancelation."""
        for found in os.scandir(self.path):
            if found.is_dir(follow_symlinks=False) and found.name == "control":
                for note in os.scandir(found.path):
                    if note.name != self._canceled.name:
                        os.unlink(note.path)
            elif found.is_dir(follow_symlinks=False):
                shutil.rmtree(found.path)
            else:
                os.unlink(found.path)

    def discard(self) -> Path:
        """Move the folder out of the way, for its holder to remove at leisure; return where it is."""
        discarded = self.path.with_name(f"{DISCARDED}{self.path.name}.{time.time_ns()}")
        self.path.rename(discarded)
        return discarded

    def discard_now(self) -> None:
        """Remove the folder and what is in it."""
        shutil.rmtree(self.discard(), ignore_errors=True)

    def ended(self) -> Ended | None:
        """Return how the user's code ended, if it did since this machine was started.

        A note from before a restart is not trusted: the outputs that it stands for were not flushed to the device.
        """
        try:
            note: dict[str, Any] = json.loads(self._ended.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        if note.pop("boot") != boot_id():
            return None
        return Ended(**note)

    def note_end(self, ended: Ended) -> None:
        """Write down how the user's code ended, for a child that could not."""
        self.control.mkdir(parents=True, exist_ok=True, mode=0o700)  # the step may have removed it
        new = self._ended.with_suffix(".new")
        new.write_text(json.dumps({"boot": boot_id(), **asdict(ended)}))
        new.rename(self._ended)

    @property
    def canceled(self) -> bool:
        """Whether this attempt was canceled."""
        return self._canceled.exists()

    def cancel(self) -> None:
        """Note the cancelation, so that an attempt which has not begun does not, and end the child if there is one."""
        self.control.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._canceled.touch()
        self.end_child()

    def end_child(self, grace_s: float = GRACE_S) -> None:
        """End the process group of a child that runs, whoever started it; raise Interrupted when it does not go."""
        try:
            pid_file = os.open(self._pid, os.O_RDONLY)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            if _unlocked(pid_file, 0):
                return
            for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, GONE_S)):
                if patience_s:
                    _signal_group(pid_file, number)
                if _unlocked(pid_file, patience_s):
                    return
        finally:
            os.close(pid_file)
        raise Interrupted(f"the process group of {self.path.name} does not end on SIGKILL")


def remove_abandoned(directory: Path) -> None:
    """Remove the folders of attempts that nobody has come back to for a day."""
    try:
        found = list(os.scandir(directory))
    except FileNotFoundError:
        return
    for entry in found:
        with suppress(OSError):
            if entry.name.startswith(DISCARDED):
                shutil.rmtree(entry.path, ignore_errors=True)
            if time.time() - entry.stat().st_mtime < ABANDONED_S:
                continue
            lock = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(entry.path, ignore_errors=True)
            finally:
                os.close(lock)


def boot_id() -> str:
    """Return what tells this start of the machine from any other."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def _signal_group(pid_file: int, number: int) -> None:
    """Signal the process group that the file names, unless its number is another process's by now."""
    with suppress(ProcessLookupError, ValueError):
        pid, began = map(int, os.pread(pid_file, 64, 0).split())
        if _began(pid) in (None, began):
            os.killpg(pid, number)


def _began(pid: int) -> int | None:
    """Return when a process began, in clock ticks since the machine's start; None when there is none."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return int(stat.read().rpartition(")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return None


def _unlocked(pid_file: int, patience_s: float) -> bool:
    """Say whether no process of the step holds its pid file, waiting up to `patience_s` for that."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(pid_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.005)  # there is no lock with a timeout; a killed process is gone within a few of these
        else:
            return True
