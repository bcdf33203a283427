"""One Trial: starts the object that runs it, and when that has ended says what came of it.

Level-triggered and idempotent: the object has the Trial's name, so there is one; metrics are recorded whole under the
Trial's uid; the object is deleted only after the Trial says how it ended and that is recorded.

A program that fails by itself fails its trial at once, unless the template says how often to try (backoffLimit): the
same parameters fail again, and Kubernetes' default of six retries takes ten minutes to say so. A pod that was lost or
killed is retried as Kubernetes does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from zeroflow.errors import Conflict, Forbidden, InvalidInput, NotFound
from zeroflow.functions.trial import conditions, diagnosis, injection, logs, observing, workload
from zeroflow.functions.trial.manifests import run_of
from zeroflow.functions.trial.records import Records
from zeroflow.functions.trial.workload import JOB, JOB_API_VERSION, State, Workloads
from zeroflow.resources.client import Resources
from zeroflow.resources.conditions import now
from zeroflow.tuning.collectors import REPORTING, parse_collector
from zeroflow.tuning.spec import Object, Objective, parse_objective

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Due:
    """What is still to be written of a Trial."""

    trial: Object
    """As it is to be."""
    before: Object
    """Its status as it was written last."""
    number: int
    output: observing.Output | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the Trial is over."""
        return conditions.outcome(self.trial["status"]) is not None


@dataclass(frozen=True)
class Trials:
    """Drives Trials to their end."""

    resources: Callable[[], Resources]
    records: Records
    manager: Callable[[], str | None] = lambda: None
    """Returns host:port at which metrics can be pushed."""

    @property
    def workloads(self) -> Workloads:
        """The objects that run trials."""
        return Workloads(self.resources)

    def advance(self, trial: Object, number: int, *, is_new: bool = False, running: Object | None = None) -> Due:
        """Do what is next for the Trial that is suggestion `number`; return it as it is to be written (`settle`).

        `running` is the object that runs it, when that is known; of a new one it is known that nothing runs it yet.
        """
        status = trial.get("status") or {}
        if running is None and not is_new:
            running = self.workloads.find(trial)
        if conditions.outcome(status) is not None:
            return self._left(trial, running, number)
        if running is None:
            return self._start(trial, number)
        state = workload.state(trial, running)
        if state.kind == "Running":
            if workload.is_job(running):
                self._give_up(trial, running)
            return _due(trial, _running(status), number)
        output = self._output(trial, succeeded=state.kind == "Succeeded")
        ended = _succeeded(trial, output) if state.kind == "Succeeded" else _failed(trial, state, output)
        return _due(trial, ended, number, output)

    def killed(self, trial: Object, number: int) -> Due:
        """Return a Trial as it ends that its Experiment no longer needs."""
        why = "The Experiment ended while the trial was running"
        return _due(trial, conditions.ended(_running(trial.get("status") or {}), "Killed", "TrialKilled", why), number)

    def settle(self, due: Due) -> Object:
        """Write and record a Trial as it is now; return it. What runs it may be cleaned up after."""
        trial = due.trial
        if trial["status"] != due.before:
            trial = self.resources().write_status(trial)
        if due.has_ended:
            last = trial["status"]["conditions"][-1]
            logger.info("trial=%s outcome=%s: %s", trial["metadata"]["name"], last["type"], last["message"])
            self.records.finished(trial, due.number, trial["status"], due.output)
        return trial

    def _start(self, trial: Object, number: int) -> Due:
        status = trial.get("status") or {}
        run = injection.injected(trial, run_of(trial), self.manager())
        if workload.is_job(run):  # before it can report anything; others start later than they are created
            self.records.started(trial, number)
        try:
            self.workloads.create(run)
        except Conflict:
            pass  # it was created when this was last tried
        except (InvalidInput, Forbidden, workload.KindMissing) as error:
            return _due(trial, conditions.ended(_running(status), "Failed", "TrialFailed", str(error)), number)
        if not workload.is_job(run):
            self.records.started(trial, number)
        return _due(trial, _running(status), number)

    def _left(self, trial: Object, running: Object | None, number: int) -> Due:
        """Return what a crash has left to be done of a Trial whose status says how it ended."""
        killed = conditions.is_true(trial["status"], "Killed")
        output = None if killed or running is None else self._output(trial, succeeded=True)
        return _due(trial, trial["status"], number, output)

    def clean(self, trial: Object) -> None:
        """Delete the object of a Trial that has ended, unless it is to be retained."""
        if conditions.is_true(trial.get("status") or {}, "Killed") or not trial["spec"].get("retainRun"):
            self.workloads.delete(trial)

    def _output(self, trial: Object, *, succeeded: bool) -> observing.Output | None:
        """Return what a trial has printed and reported, None when nothing can be known of it."""
        objective = parse_objective(trial["spec"]["objective"])
        collector = parse_collector(trial["spec"]["metricsCollector"])
        pod = logs.telling(logs.pods(self.resources(), trial), succeeded)
        output = None
        if pod is not None:
            try:
                output = observing.read(logs.lines(self.resources(), trial, pod), objective, collector)
                output.last_words = output.last_words or logs.exit_code(pod)
            except (NotFound, InvalidInput) as error:  # the pod went, or its container never started
                logger.warning("trial=%s: no log: %s", trial["metadata"]["name"], error)
        else:
            logger.warning("trial=%s: it has no pod that ran", trial["metadata"]["name"])
        if collector.kind in REPORTING:
            output = output or observing.Output({name: [] for name in objective.metrics})
            self._add_reported(trial, output, objective)
        return output

    def _add_reported(self, trial: Object, output: observing.Output, objective: Objective) -> None:
        reported = self.records.series(trial["metadata"]["uid"])
        output.series = {**{name: [] for name in objective.metrics}, **reported}
        odd = [value.text for value in output.series[objective.metric] if value.number is None]
        output.odd = f"{objective.metric}={odd[-1]}" if odd else ""

    def _give_up(self, trial: Object, job: Object) -> None:
        """Let a Job fail whose program failed by itself, when nobody asked for another try."""
        asked = trial["spec"]["runSpec"]["spec"].get("backoffLimit")
        if asked is not None or not (job.get("status") or {}).get("failed") or not job["spec"].get("backoffLimit"):
            return
        if logs.failed_by_itself(logs.pods(self.resources(), trial)):
            metadata = job["metadata"]
            patch = {"spec": {"backoffLimit": 0}}
            self.resources().merge(JOB_API_VERSION, JOB, metadata["namespace"], metadata["name"], patch)


def _due(trial: Object, status: Object, number: int, output: observing.Output | None = None) -> Due:
    return Due({**trial, "status": status}, trial.get("status") or {}, number, output)


def _succeeded(trial: Object, output: observing.Output | None) -> Object:
    """Return the status of a Trial whose object has succeeded."""
    objective = parse_objective(trial["spec"]["objective"])
    status = _running(trial.get("status") or {})
    if output is None:
        return conditions.ended(
            status, "MetricsUnavailable", "MetricsUnavailable", "The trial's pod and its log are gone"
        )
    if observing.is_worded(output, objective):
        status = {**status, "observation": observing.worded(output, objective)}
    else:
        status = {**status, "observation": observing.observation(output, objective)}
        if observing.objective_value(status["observation"], objective) is None and not output.stopped:
            said = observing.missing(output, objective, parse_collector(trial["spec"]["metricsCollector"]))
            return conditions.ended(status, "MetricsUnavailable", "MetricsUnavailable", said)
    if output.stopped:
        return conditions.ended(
            status, "EarlyStopped", "TrialEarlyStopped", f"The trial is early stopped: {output.stopped}"
        )
    message = "The trial has succeeded"
    series = output.series[objective.metric]
    if series and series[-1].number is None and not observing.is_worded(output, objective):
        message += f"; the last value of {objective.metric} is {series[-1].text}, which does not count"
    return conditions.ended(status, "Succeeded", "TrialSucceeded", message)


def _failed(trial: Object, state: State, output: observing.Output | None) -> Object:
    """Return the status of a Trial whose object has failed; what it measured before stays visible."""
    because = f"{state.reason or 'Failed'}: {state.message}"
    status = _running(trial.get("status") or {})
    said = (output.error or output.last_words) if output is not None else ""
    if said and state.reason not in ("DeadlineExceeded", "ContainerMissing", workload.CONDITIONS_UNMET):
        because = diagnosis.diagnosed(said)
    return conditions.ended(status, "Failed", "TrialFailed", because)


def _running(status: Object) -> Object:
    """Return the status of a Trial whose object is there."""
    if conditions.find(status, "Running") is not None:
        return status
    status = {**status, "startTime": status.get("startTime") or now()}
    status = conditions.marked(status, "Created", "TrialCreated", "The trial is created")
    return conditions.marked(status, "Running", "TrialRunning", "The trial is running")
