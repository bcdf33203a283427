"""One attempt's folder: where its files lie while it runs, who may work on it, and what is left of it after a crash.

    <task id>.<attempt>/
        control/    the source, pid (and when it began), ended.json, canceled
        store/ s3/  artifacts, under the same bucket and key as in their store
        parameters/ output parameters that a command writes to a file
        work/  the child's working directory

Few files and folders, and those of a step that has ended serve the next one: to make and remove one costs more than it
seems (ext4 looks through its books for a number that was not given back in the last seconds), and a trivial step would
spend more time there than in its code. A spare folder holds an empty file besides, which becomes the next log.

Guarantees: one handler at a time holds an attempt, across processes (a lock on the folder itself, released by the
kernel when its holder dies); a child that runs holds a lock on `control/pid`, so that whether it lives is known
without trusting a number.
"""

import fcntl
import json
import os
import shutil
import signal
import stat
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from zeroflow.functions.step.errors import Interrupted

GRACE_S = 1.0
"""How long a step has between SIGTERM and SIGKILL."""
GONE_S = 5.0
"""How long a killed step may take to be gone; the kernel needs milliseconds."""
CONTROL, WORK, SOURCE, ENDED, CANCELED, PID, OUTPUT, LOG = (
    *("control", "work", "ephemeral_component.py", "ended.json", "canceled", "pid", "executor_output.json", "log"),
)
LOG_MODE = 0o640
MODE = 0o700
DISCARDED, SPARE = ".discarded-", ".spare-"
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

    def __init__(self, path: Path, spare: deque[Path] | None = None) -> None:
        """Name the folder; it is made when it is held, or taken from those which are `spare`."""
        self.path = path
        self._spare = spare if spare is not None else deque()
        self.control, self.work = path / CONTROL, path / WORK
        self.parameters, self.source = path / "parameters", self.control / SOURCE
        self.mounts = {"store": path / "store", "s3": path / "s3"}
        self._ended, self._canceled, self._pid = (self.control / name for name in (ENDED, CANCELED, PID))

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
            if not self._taken():
                self.path.mkdir(parents=True, exist_ok=True, mode=MODE)
            try:
                lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                continue
            fcntl.flock(lock, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock), os.stat(self.path)):
                    return lock
            os.close(lock)  # the holder before us has removed the folder: lock the one that is there now

    def _taken(self) -> bool:
        """Say whether the folder is there, also because a spare one has become it."""
        if self.path.exists():
            return True
        with suppress(IndexError, OSError):  # there is none; or another handler was first
            self._spare.pop().rename(self.path)
            return True
        return False

    def prepare(self) -> bool:
        """Make the folder empty and ready for a child; say whether an earlier child has left something."""
        try:
            left = self._pid.stat().st_size > 0
        except FileNotFoundError:
            left = False
        self.clear()
        for folder in (self.control, self.work):
            folder.mkdir(exist_ok=True, mode=MODE)
        return left

    def begin_log(self, path: Path) -> None:
        """Put an empty log in its place, if a file lies ready for that and there is no log yet."""
        if not path.exists():
            with suppress(OSError):  # there is none, or the log is on another disk: whoever writes first makes it
                (self.control / LOG).rename(path)

    def clear(self) -> None:
        """Leave nothing in it but the note of a cancelation, and files of ours that are empty."""
        _clear(self.path, CANCELED)

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
        except (FileNotFoundError, NotADirectoryError, ValueError):  # the disk was full: half a note is none
            return None
        if note.pop("boot") != boot_id():
            return None
        return Ended(**note)

    def note_end(self, ended: Ended) -> None:
        """Write down how the user's code ended, for a child that could not."""
        self.control.mkdir(parents=True, exist_ok=True, mode=MODE)  # the step may have removed it
        self._ended.write_bytes(json.dumps({"boot": boot_id(), **asdict(ended)}).encode())

    @property
    def canceled(self) -> bool:
        """Whether this attempt was canceled."""
        return self._canceled.exists()

    def cancel(self) -> None:
        """Note the cancelation, so that an attempt which has not begun does not, and end the child if there is one."""
        self.control.mkdir(parents=True, exist_ok=True, mode=MODE)
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


def recycled(discarded: Path) -> Path | None:
    """Make a discarded folder as good as new and return where it is; None when it may not serve another attempt."""
    _clear(discarded)
    for folder in (discarded, discarded / CONTROL, discarded / WORK):
        found = os.lstat(folder)
        if not stat.S_ISDIR(found.st_mode) or stat.S_IMODE(found.st_mode) != MODE or found.st_uid != os.geteuid():
            return None
    log = discarded / CONTROL / LOG
    os.close(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, LOG_MODE))
    log.chmod(LOG_MODE)  # nobody has taken the last one
    return discarded.rename(discarded.with_name(SPARE + discarded.name.removeprefix(DISCARDED)))


def spares(directory: Path) -> list[Path]:
    """Return the spare folders that there are; whoever takes one first has it."""
    return list(directory.glob(f"{SPARE}*"))


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


@cache
def boot_id() -> str:
    """Return what tells this start of the machine from any other."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def _clear(path: Path, kept: str = "") -> None:
    """Remove what is in an attempt's folder but for its own folders, and what is in those but for `kept`."""
    for found in os.scandir(path):
        if found.name in (CONTROL, WORK) and found.is_dir(follow_symlinks=False):
            for inside in os.scandir(found.path):
                if found.name == WORK or inside.name != kept:
                    _remove(inside, (SOURCE, ENDED, PID, LOG) if found.name == CONTROL else ())
        else:
            _remove(found, (OUTPUT,))


def _remove(found: os.DirEntry[str], emptied: tuple[str, ...]) -> None:
    if found.is_dir(follow_symlinks=False):
        shutil.rmtree(found.path)
    elif found.name in emptied and _only_here(found):
        os.truncate(found.path, 0)
    else:
        os.unlink(found.path)


def _only_here(found: os.DirEntry[str]) -> bool:
    known = found.stat(follow_symlinks=False)
    return stat.S_ISREG(known.st_mode) and known.st_nlink == 1


def _signal_group(pid_file: int, number: int) -> None:
    """Signal the process group that the file names, unless its number is another process's by now."""
    with suppress(ProcessLookupError, ValueError):
        pid, began = map(int, os.pread(pid_file, 64, 0).split())
        if _began(pid) in (None, began):
            os.killpg(pid, number)


def _began(pid: int) -> int | None:
    """Return when a process began, in clock ticks since the machine's start; None when there is none."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[19])
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
