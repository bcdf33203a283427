"""One attempt at one task: where it runs, inputs in, user's code in a process of its own, outputs out, and the answer.

Guarantees: the user's code runs once per attempt as far as that can be. Its end is noted in the attempt's folder
before anything else happens, so a second delivery after a crash goes on from there; one attempt is worked on by one
handler at a time; whoever takes over an attempt first makes sure that no process of it is left.
"""

import errno
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from zeroflow.errors import Unavailable, ZeroflowError
from zeroflow.functions.step import claims, importing, inputs
from zeroflow.functions.step.errors import Canceled, Interrupted, TooLongForRequest
from zeroflow.functions.step.jobs import job_name
from zeroflow.functions.step.launching import Launch
from zeroflow.functions.step.log import Log
from zeroflow.functions.step.outcome import Outcome
from zeroflow.functions.step.outputs import collect
from zeroflow.functions.step.placement import EXECUTION, without_effect
from zeroflow.functions.step.request import Attempt, Task
from zeroflow.functions.step.steps import Steps
from zeroflow.functions.step.waiting import Waiting
from zeroflow.functions.step.workspace import Ended, Workspace


def run(steps: Steps, workspace: Workspace, data: Mapping[str, Any], deadline: float) -> Outcome | None:
    """Run the attempt, whose folder the caller holds, or finish what an earlier delivery began.

    None says that the step is a Job now, whose end will be told. Every fault of the task, its code or its outputs is an
    outcome; Interrupted and Unavailable mean: deliver again.
    """
    started = time.perf_counter()
    outcome = Outcome("SUCCEEDED", started_ms=time.time_ns() // 1_000_000)
    log: Log | None = None
    try:
        if workspace.canceled and workspace.ended() is None:
            raise Canceled("canceled before it began")
        task = Task.parse(data)
        log = Log(task.log_uri, workspace, steps.stores)
        why = None if steps.inside_job else steps.placement.reason_for_job(task)
        if why is None:
            try:
                _Run(steps, workspace, Attempt.parse(data), task, log, outcome).run(deadline)
            except TooLongForRequest:
                steps.placement.was_long(task)
                why = f"it takes longer than the {steps.settings.time_limit_s:g} s of a request; it begins anew"
        if why is not None:
            _start_job(steps, workspace, task, data, log, why)
            return None
    except (Interrupted, Unavailable):
        raise
    except ZeroflowError as error:
        outcome.state = "FAILED"  # a cancelation too: its reason tells it apart
        outcome.error = {"message": " ".join(str(error).split()), "reason": error.reason}
        if log is not None and outcome.exit_code in (None, 0):
            log.note(f"{error.reason}: {error}")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        workspace.clear()  # the answer needs room too
        outcome.state = "FAILED"
        outcome.error = {"message": f"the disk is full: {error.strerror}", "reason": "DiskFull"}
    if log is not None:
        log.keep()
    outcome.finished_ms = time.time_ns() // 1_000_000
    outcome.timings["total_ms"] = (time.perf_counter() - started) * 1000
    return outcome


def _start_job(steps: Steps, workspace: Workspace, task: Task, data: Mapping[str, Any], log: Log, why: str) -> None:
    attempt = Attempt.parse(data)
    log.note(f"runs as Job {job_name(attempt)} in namespace {task.namespace}: {why}")
    log.keep()
    steps.jobs.start(attempt, task, data, why)
    if workspace.canceled:  # meanwhile: whoever canceled it may have looked for the Job too early
        steps.jobs.cancel(attempt)


class CodeFailed(ZeroflowError):
    """The user's code did not end well."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class _Run:
    def __init__(
        self, steps: Steps, workspace: Workspace, attempt: Attempt, task: Task, log: Log, outcome: Outcome
    ) -> None:
        self._steps, self._workspace, self._task, self._log, self._outcome = steps, workspace, task, log, outcome
        self._attempt = attempt

    def run(self, deadline: float) -> None:
        steps, workspace, outcome = self._steps, self._workspace, self._outcome
        if self._task.executor.get("claim"):
            outcome.outputs = claims.perform(self._task, self._attempt, steps.resources, self._log)
            return
        if importer := self._task.executor.get("importer"):
            outcome.outputs = importing.imported(importer, self._task.component, steps.stores, self._log)
            return
        executor_input = inputs.localised(self._task.executor_input, workspace, steps.stores)
        ended = workspace.ended() or self._execute(executor_input, deadline)
        outcome.exit_code = ended.exit_code
        outcome.started_ms = min(outcome.started_ms, ended.started_ms)
        outcome.timings["run_ms"] = ended.run_ms
        if ended.error is not None:
            raise (
                Canceled(ended.error)
                if ended.reason == Canceled.reason
                else CodeFailed(ended.error, ended.reason or "")
            )
        with self._timed("store_ms"):
            outcome.outputs = collect(self._task.component, executor_input, workspace, steps.stores)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._outcome.timings[name] = (time.perf_counter() - started) * 1000

    def _execute(self, executor_input: dict[str, Any], deadline: float) -> Ended:
        """Run the user's code from a clean folder, and return how it ended."""
        workspace, log = self._workspace, self._log
        launch = Launch(self._steps, workspace, self._task, log)
        workspace.end_child(0)
        with self._timed("fetch_ms"):
            if workspace.prepare():
                log.note("the attempt begins anew: the function was ended while its code ran")
            for line in inputs.fetch(executor_input, workspace, self._steps.stores):
                log.note(line)
        if not self._steps.inside_job:
            for name in without_effect(self._task.platform):
                log.note(f"{name} has no effect on a process; label the pod {EXECUTION}: job to have it in a Job")
        with self._timed("install_ms"):
            launch.install(deadline)
        forked = time.time()
        waiting = Waiting(workspace, self._task, log)
        found, usage = waiting.until_end(launch.fork(executor_input), deadline)
        self._outcome.usage = usage
        self._outcome.timings["fork_ms"] = max(0.0, found.started_ms - forked * 1000)
        return found
