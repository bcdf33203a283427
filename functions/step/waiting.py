"""Waits for the end of a step's process, within its time and its memory, and notes how it ended."""

import math
import signal
import time

from zeroflow.functions.step.errors import Canceled, Interrupted, OutOfMemory, TimedOut, TooLongForRequest
from zeroflow.functions.step.forks import Child, Exit
from zeroflow.functions.step.limits import Limits, held_bytes
from zeroflow.functions.step.log import Log
from zeroflow.functions.step.request import Task
from zeroflow.functions.step.workspace import GONE_S, Ended, Workspace

LOOK_S = 0.2
"""How often the memory of a step with a limit is looked at."""


class Waiting:
    """The wait for one step."""

    def __init__(self, workspace: Workspace, task: Task, log: Log) -> None:
        self._workspace, self._task, self._log = workspace, task, log
        self._limits = Limits.of(task.platform)
        self._asked = time.time()

    def until_end(self, child: Child, deadline: float) -> tuple[Ended, dict[str, float]]:
        """Return how the code ended and what it took; raise TooLongForRequest when a request is not enough.

        `deadline` is on the monotonic clock: when this function must have answered; infinite in a Job.
        """
        exited, why = self._wait(child, deadline)
        if exited is None and self._workspace.ended() is None:
            self._workspace.end_child()
            if why is None:
                child.kill()
                child.wait(GONE_S)
                raise TooLongForRequest
            self._workspace.note_end(self._ended(-signal.SIGKILL, *why))
        if exited is None:
            child.kill()
            exited = child.wait(GONE_S)
            if exited is None:
                raise Interrupted(f"{self._workspace.path.name} does not end on SIGKILL")
        found = self._workspace.ended()
        if found is None:
            found = self._without_note(exited)
            self._workspace.note_end(found)
        return found, {"cpu_ms": exited.cpu_ms, "max_rss_bytes": exited.max_rss_bytes}

    def _wait(self, child: Child, deadline: float) -> tuple[Exit | None, tuple[str, str] | None]:
        """Wait; return the exit, or else the error and reason for which the step is to be ended."""
        began, timeout_s = time.monotonic(), self._task.timeout_s
        end, why = deadline, None
        if timeout_s is not None and began + timeout_s <= deadline:
            end, why = began + timeout_s, (f"timed out after {timeout_s:g} s", TimedOut.reason)
        limit = self._limits.memory_bytes
        while True:
            left_s = max(0.0, end - time.monotonic())
            if limit is not None:
                exited = child.wait(min(left_s, LOOK_S))
                if exited is None and (held := held_bytes(child.pid)) > limit:
                    return None, (_too_much(held, limit), OutOfMemory.reason)
            else:
                exited = child.wait(left_s if math.isfinite(left_s) else None)
            if exited is not None or time.monotonic() >= end:
                return exited, why

    def _without_note(self, exited: Exit) -> Ended:
        """Tell the end of a child that could not: a signal ended it, or the code called os._exit."""
        if self._workspace.canceled:
            return self._ended(exited.code, "canceled", Canceled.reason)
        if exited.code >= 0:
            return self._ended(exited.code, f"exit code {exited.code} before the component's end", "Exited")
        number = -exited.code
        why = "out of memory?" if number == signal.SIGKILL else signal.strsignal(number)
        self._log.note(f"killed by signal {number} ({why})")
        return self._ended(exited.code, f"killed by signal {number} ({why})", "Killed")

    def _ended(self, code: int, error: str, reason: str) -> Ended:
        now, asked = time.time(), self._asked
        return Ended(code, int(asked * 1000), int(now * 1000), round((now - asked) * 1000, 3), error, reason)


def _too_much(held: int, limit: int) -> str:
    return f"out of memory: its processes held {held / (1 << 20):.0f} MiB, its limit is {limit / (1 << 20):.0f} MiB"
