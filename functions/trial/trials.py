"""One Trial: starts its Job, and when the Job has ended says what came of it.

Level-triggered and idempotent: the Job has the Trial's name, so there is one; metrics are recorded whole under the
Trial's uid; a Job is deleted only after the Trial says how it ended.

A program that fails by itself fails its trial at once, unless the template says how often to try (backoffLimit): the
same parameters fail again, and Kubernetes' default of six retries takes ten minutes to say so. A pod that was lost or
killed is retried as Kubernetes does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import delete

from zeroflow.errors import Conflict, InvalidInput, NotFound
from zeroflow.functions.trial import conditions, diagnosis, logs, manifests, observing
from zeroflow.functions.trial.manifests import JOB, JOB_API_VERSION
from zeroflow.metadata import Database
from zeroflow.metadata.tuning import TrialMetric
from zeroflow.resources.client import Resources
from zeroflow.resources.conditions import find_condition, is_true, now
from zeroflow.tuning.spec import EXPERIMENT_LABEL, Object, parse_objective

logger = logging.getLogger(__name__)

KEPT_VALUES = 10_000
"""How many values of a metric are kept as a series; the observation counts all."""


@dataclass(frozen=True)
class Trials:
    """Drives Trials to their end."""

    resources: Callable[[], Resources]
    database: Database

    def advance(self, trial: Object, job: Object | None) -> Object:
        """Do what is next for a Trial; return it as it is afterwards."""
        status = trial.get("status") or {}
        if conditions.outcome(status) is not None:
            self._clean(trial, job)
            return trial
        if job is None:
            return self._start(trial)
        if is_true(job, "Complete"):
            return self._finish(trial, job, self._observed(trial))
        if is_true(job, "Failed"):
            return self._finish(trial, job, self._failed(trial, job))
        self._give_up(trial, job)
        return self._written(trial, _running(status))

    def kill(self, trial: Object) -> Object:
        """End a Trial that its Experiment no longer needs."""
        why = "The Experiment ended while the trial was running"
        killed = self._written(
            trial, conditions.ended(_running(trial.get("status") or {}), "Killed", "TrialKilled", why)
        )
        self._delete_job(trial)
        return killed

    def _start(self, trial: Object) -> Object:
        status = trial.get("status") or {}
        try:
            self.resources().create(manifests.job(trial))
        except Conflict:
            pass  # it was created when this was last tried
        except InvalidInput as error:  # the template makes an object that the cluster refuses
            return self._written(trial, conditions.ended(_running(status), "Failed", "TrialFailed", str(error)))
        return self._written(trial, _running(status))

    def _observed(self, trial: Object) -> Object:
        """Return the status of a Trial whose Job is complete."""
        objective = parse_objective(trial["spec"]["objective"])
        output = self._output(trial, succeeded=True)
        status = _running(trial.get("status") or {})
        if output is None:
            return conditions.ended(
                status, "MetricsUnavailable", "MetricsUnavailable", "The trial's pod and its log are gone"
            )
        self._record(trial, output)
        status = {**status, "observation": observing.observation(output, objective)}
        if observing.objective_value(status["observation"], objective) is None:
            said = (
                f"Its output has no value of the objective metric {objective.metric!r}; print {objective.metric}=NUMBER"
            )
            if output.without_number:
                said = (
                    f"Its output has no number for the objective metric {objective.metric!r}: {output.without_number}"
                )
            return conditions.ended(status, "MetricsUnavailable", "MetricsUnavailable", said)
        return conditions.ended(status, "Succeeded", "TrialSucceeded", "The trial has succeeded")

    def _failed(self, trial: Object, job: Object) -> Object:
        """Return the status of a Trial whose Job has failed; what it measured before stays visible."""
        output = self._output(trial, succeeded=False)
        condition = find_condition(job, "Failed") or {}
        because = f"{condition.get('reason', 'Failed')}: {condition.get('message', '')}"
        status = _running(trial.get("status") or {})
        if output is not None:
            self._record(trial, output)
            said = output.error or output.last_words
            if said and condition.get("reason") == "BackoffLimitExceeded":
                because = diagnosis.diagnosed(said)
        return conditions.ended(status, "Failed", "TrialFailed", because)

    def _finish(self, trial: Object, job: Object, status: Object) -> Object:
        trial = self._written(trial, status)
        last = status["conditions"][-1]
        logger.info("trial=%s outcome=%s: %s", trial["metadata"]["name"], last["type"], last["message"])
        self._clean(trial, job)
        return trial

    def _output(self, trial: Object, *, succeeded: bool) -> observing.Output | None:
        objective, collector = parse_objective(trial["spec"]["objective"]), trial["spec"]["metricsCollector"]
        pod = logs.telling(logs.pods(self.resources(), trial), succeeded)
        if pod is None:
            logger.warning("trial=%s: its Job has no pod that ran", trial["metadata"]["name"])
            return None
        try:
            return observing.read(logs.lines(self.resources(), trial, pod), objective, observing.filters(collector))
        except (NotFound, InvalidInput) as error:  # the pod went, or its container never started
            logger.warning("trial=%s: no log: %s", trial["metadata"]["name"], error)
            return None

    def _record(self, trial: Object, output: observing.Output) -> None:
        metadata = trial["metadata"]
        with self.database.transaction() as session:
            session.execute(delete(TrialMetric).where(TrialMetric.trial_uid == metadata["uid"]))
            session.add_all(
                TrialMetric(
                    trial_uid=metadata["uid"],
                    metric=metric,
                    step=step,
                    namespace=metadata["namespace"],
                    experiment=metadata["labels"][EXPERIMENT_LABEL],
                    trial=metadata["name"],
                    value=value.text,
                    reported_at=value.reported_at,
                )
                for metric, values in output.series.items()
                for step, value in enumerate(values[:KEPT_VALUES])
            )

    def _give_up(self, trial: Object, job: Object) -> None:
        """Let a Job fail whose program failed by itself, when nobody asked for another try."""
        asked = trial["spec"]["runSpec"]["spec"].get("backoffLimit")
        if asked is not None or not (job.get("status") or {}).get("failed") or not job["spec"].get("backoffLimit"):
            return
        if logs.failed_by_itself(logs.pods(self.resources(), trial)):
            metadata = job["metadata"]
            patch = {"spec": {"backoffLimit": 0}}
            self.resources().merge(JOB_API_VERSION, JOB, metadata["namespace"], metadata["name"], patch)

    def _clean(self, trial: Object, job: Object | None) -> None:
        killed = conditions.is_true(trial.get("status") or {}, "Killed")
        if job is not None and (killed or not trial["spec"].get("retainRun")):
            self._delete_job(trial)

    def _delete_job(self, trial: Object) -> None:
        self.resources().delete(JOB_API_VERSION, JOB, trial["metadata"]["namespace"], trial["metadata"]["name"])

    def _written(self, trial: Object, status: Object) -> Object:
        if status == trial.get("status"):
            return trial
        return self.resources().write_status({**trial, "status": status})


def _running(status: Object) -> Object:
    """Return the status of a Trial whose Job is there."""
    if conditions.find(status, "Running") is not None:
        return status
    status = {**status, "startTime": status.get("startTime") or now()}
    status = conditions.marked(status, "Created", "TrialCreated", "The trial is created")
    return conditions.marked(status, "Running", "TrialRunning", "The trial is running")
