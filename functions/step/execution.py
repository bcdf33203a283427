"""Runs one attempt at one task: inputs in, user's code in a process of its own, outputs out, and the answer.

Guarantees: the user's code runs once per attempt as far as that can be. Its end is noted in the attempt's folder
before anything else happens, so a second delivery after a crash goes on from there; one attempt is worked on by one
handler at a time; whoever takes over an attempt first makes sure that no process of it is left.
"""

import errno
import math
import os
import queue
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from zeroflow.artifacts import Stores
from zeroflow.errors import Unavailable, ZeroflowError
from zeroflow.functions.step import claims, command, environ, importing, inputs, platform
from zeroflow.functions.step.environments import Environments
from zeroflow.functions.step.errors import Canceled, Interrupted, PackagesNotInstalled, TimedOut, Unsupported
from zeroflow.functions.step.forks import Exit, Forks
from zeroflow.functions.step.jobs import Jobs, job_name
from zeroflow.functions.step.log import Log
from zeroflow.functions.step.outputs import Outputs, collect
from zeroflow.functions.step.placeholders import Placeholders
from zeroflow.functions.step.placement import EXECUTION, Placement, without_effect
from zeroflow.functions.step.request import Attempt, Task
from zeroflow.functions.step.settings import StepSettings
from zeroflow.functions.step.workspace import GONE_S, Ended, Workspace, remove_abandoned
from zeroflow.images import Images, Mapped
from zeroflow.resources.client import LazyResources


@dataclass
class Outcome:
    """How the task ended."""

    state: str
    error: dict[str, str] | None = None
    exit_code: int | None = None
    started_ms: int = 0
    finished_ms: int = 0
    timings: dict[str, float] = field(default_factory=dict)
    usage: dict[str, float] = field(default_factory=dict)
    outputs: Outputs = field(default_factory=Outputs)

    def as_json(self) -> dict[str, Any]:
        """Return the part of `task.finished` that tells the outcome."""
        return {
            "state": self.state,
            "error": self.error,
            "exit_code": self.exit_code,
            "started_ms": self.started_ms,
            "finished_ms": self.finished_ms,
            "timings": {name: round(value, 3) for name, value in self.timings.items()},
            "usage": self.usage,
            "outputs": self.outputs.as_json(),
        }


class Steps:
    """Everything that attempts share."""

    def __init__(
        self, settings: StepSettings, stores: Stores, environment: Mapping[str, str], *, inside_job: bool = False
    ) -> None:
        self.settings, self.stores, self.inside_job = settings, stores, inside_job
        self.images = Images.from_environment(environment)
        self.resources = LazyResources("zeroflow-step")
        self.placement, self.jobs = Placement(settings), Jobs(self.resources, stores, environment)
        self.passed = environ.passed_on(environment)
        self.environments = Environments(settings.environments, environ.for_installer(environment), settings.installer)
        self.has_kfp = find_spec("kfp") is not None
        self.forks = Forks(self.passed, settings.preload)
        self._discarded: queue.SimpleQueue[Path] = queue.SimpleQueue()
        self._remover: threading.Thread | None = None
        remove_abandoned(settings.directory)

    def workspace(self, attempt: Attempt) -> Workspace:
        """Return the attempt's folder."""
        return Workspace(self.settings.directory / attempt.key)

    def discard(self, workspace: Workspace) -> None:
        """Take an attempt's folder away; its files are removed after the answer, since there may be many."""
        self._discarded.put(workspace.discard())
        if self._remover is None or not self._remover.is_alive():
            self._remover = threading.Thread(target=self._remove_discarded, name="remover", daemon=True)
            self._remover.start()

    def _remove_discarded(self) -> None:
        while True:
            shutil.rmtree(self._discarded.get(), ignore_errors=True)

    def close(self) -> None:
        """End every step."""
        self.forks.close()


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


class TooLongForRequest(Exception):
    """The step does not end within a request, and nobody has said that it must."""


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
        steps, workspace, log = self._steps, self._workspace, self._log
        component = command.recognise(self._task.executor)
        if not steps.has_kfp:
            raise PackagesNotInstalled("steps need kfp, which is not installed here: pip install 'zeroflow[step]'")
        own = environ.of_container(self._task.executor)
        if self._task.platform:
            given = platform.variables(self._task.platform, self._task.namespace, self._task.context, steps.resources)
            own = {**own, **given}
            if not steps.inside_job:
                for name in without_effect(self._task.platform):
                    log.note(f"{name} has no effect on a process; label the pod {EXECUTION}: job to have it in a Job")
        workspace.end_child(0)
        with self._timed("fetch_ms"):
            if workspace.prepare():
                log.note("the attempt begins anew: the function was ended while its code ran")
            for line in inputs.fetch(executor_input, workspace, steps.stores):
                log.note(line)
        mapped = steps.images.of(str(self._task.executor.get("image") or ""))
        if isinstance(component, command.ContainerComponent):
            return self._command(component, mapped, executor_input, own, deadline)
        return self._python(component, mapped, executor_input, own, deadline)

    def _command(
        self,
        component: command.ContainerComponent,
        mapped: Mapped | None,
        executor_input: dict[str, Any],
        own: dict[str, str],
        deadline: float,
    ) -> Ended:
        steps, workspace, log = self._steps, self._workspace, self._log
        words = [*(component.command or (mapped.command if mapped else ())), *component.args]
        if not component.command and not (mapped and mapped.command):
            raise Unsupported(
                f"what image {component.image} starts by itself is not known here; say what stands for it:"
                f" zeroflow images map {component.image} DIRECTORY -- COMMAND"
            )
        filled = Placeholders(executor_input, self._task.context, lambda uri: inputs.place(uri, workspace))
        argv = filled.words(words)
        where = f"in {mapped.directory}, which stands for" if mapped else "on this machine, not in"
        log.note(f"runs as a process {where} {component.image}")
        env = environ.for_command(steps.passed, own, mapped)
        directory = mapped.working_directory if mapped else None
        inputs.write(executor_input, workspace, argv=argv, log=str(log.path), env=env, cwd=directory and str(directory))
        return self._child(None, frozenset(), deadline)

    def _python(
        self,
        component: command.LightweightComponent,
        mapped: Mapped | None,
        executor_input: dict[str, Any],
        own: dict[str, str],
        deadline: float,
    ) -> Ended:
        steps, workspace, log = self._steps, self._workspace, self._log
        if not component.source and mapped is None:
            image = self._task.executor.get("image")
            raise Unsupported(
                f"the component's code is in image {image} alone; say what stands for it:"
                f" zeroflow images map {image} DIRECTORY"
            )
        python = str(mapped.python) if mapped and mapped.python else None
        if component.installs:
            with self._timed("install_ms"):
                left_s = deadline - time.monotonic()
                python = steps.environments.python_for(component.installs, log.path, left_s, python)
        if python is None and any(name.startswith("PYTHON") for name in own):
            python = sys.executable  # what the interpreter reads at its start must be there before it starts
        source = workspace.component / "ephemeral_component.py"
        source.write_text(component.source, encoding="utf-8")
        if mapped:
            log.note(f"runs in {mapped.directory}, which stands for {self._task.executor.get('image')}")
        env = environ.for_step(steps.passed, own, isolated=python not in (None, sys.executable), mapped=mapped)
        if mapped and mapped.python and not component.installs:
            env["PYTHONPATH"] = os.pathsep.join(
                found for found in (steps.environments.kfp(), env.get("PYTHONPATH")) if found
            )
        directory = mapped.working_directory if mapped else None
        inputs.write(
            executor_input,
            workspace,
            source=str(source) if component.source else None,
            function=component.function,
            log=str(log.path),
            env=env,
            cwd=directory and str(directory),
        )
        # With variables of its own nothing is loaded ahead: libraries read some when they are loaded.
        ahead = python is None and not own and mapped is None
        imports = steps.forks.imports(component.source) if ahead else frozenset[str]()
        if mapped and python is None:
            python = sys.executable  # where it looks for modules is read at its start
        return self._child(python, imports, deadline)

    def _child(self, python: str | None, imports: frozenset[str], deadline: float) -> Ended:
        workspace, outcome = self._workspace, self._outcome
        asked = time.time()
        child = self._steps.forks.fork(workspace.path, python=python, imports=imports)
        limit_s, reason = self._limit(deadline)
        exited = child.wait(limit_s)
        if exited is None and workspace.ended() is None and reason is None:
            workspace.end_child()
            child.kill()
            child.wait(GONE_S)
            raise TooLongForRequest
        if exited is None and workspace.ended() is None:
            assert reason is not None
            ended = _ended(asked, -signal.SIGKILL, reason, TimedOut.reason)
            workspace.end_child()
            workspace.note_end(ended)
        if exited is None:
            child.kill()
            exited = child.wait(GONE_S)
            if exited is None:
                raise Interrupted(f"{workspace.path.name} does not end on SIGKILL")
        outcome.usage = {"cpu_ms": exited.cpu_ms, "max_rss_bytes": exited.max_rss_bytes}
        found = workspace.ended()
        if found is None:
            found = self._without_note(asked, exited)
            workspace.note_end(found)
        outcome.timings["fork_ms"] = max(0.0, found.started_ms - asked * 1000)
        return found

    def _limit(self, deadline: float) -> tuple[float | None, str | None]:
        """Return how long to wait, and the error after that; without one the step has outgrown a request."""
        left_s, timeout_s = max(0.0, deadline - time.monotonic()), self._task.timeout_s
        if timeout_s is not None and timeout_s <= left_s:
            return timeout_s, f"timed out after {timeout_s:g} s"
        return (left_s, None) if math.isfinite(left_s) else (None, None)

    def _without_note(self, asked: float, exited: Exit) -> Ended:
        """Tell the end of a child that could not: a signal ended it, or the code called os._exit."""
        if self._workspace.canceled:
            return _ended(asked, exited.code, "canceled", Canceled.reason)
        if exited.code >= 0:
            return _ended(asked, exited.code, f"exit code {exited.code} before the component's end", "Exited")
        number = -exited.code
        why = "out of memory?" if number == signal.SIGKILL else signal.strsignal(number)
        self._log.note(f"killed by signal {number} ({why})")
        return _ended(asked, exited.code, f"killed by signal {number} ({why})", "Killed")


def _ended(started: float, code: int, error: str, reason: str) -> Ended:
    now = time.time()
    return Ended(code, int(started * 1000), int(now * 1000), round((now - started) * 1000, 3), error, reason)
