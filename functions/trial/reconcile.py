"""Brings Trials and Jobs in line with what an Experiment declares.

Level-triggered: an event says only which Experiment to look at; everything is read anew. An assignment is recorded in
the Suggestion's status, under the resourceVersion that was read, before its Trial is created, and a Trial before its
Job; each has a name that follows from the one before. So whatever is killed in between, the next reconciliation makes
what is missing and nothing twice, and of two at once one fails with Conflict and starts over.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from zeroflow.errors import Conflict
from zeroflow.functions.trial import conditions, manifests, progress, suggesting
from zeroflow.functions.trial.manifests import JOB, JOB_API_VERSION
from zeroflow.functions.trial.progress import MAX_TRIALS_REACHED, Tally, Verdict
from zeroflow.functions.trial.trials import Trials
from zeroflow.resources.client import Resources
from zeroflow.resources.conditions import now
from zeroflow.resources.owners import is_controlled_by
from zeroflow.tuning.defaults import defaulted
from zeroflow.tuning.spec import (
    API_VERSION,
    EXPERIMENT,
    EXPERIMENT_LABEL,
    SUGGESTION,
    TRIAL,
    ExperimentSpec,
    Object,
    parse,
)
from zeroflow.tuning.validation import faults

logger = logging.getLogger(__name__)

ATTEMPTS = 5
"""How often a reconciliation starts over when somebody else wrote in between; then the broker retries the event."""


@dataclass(frozen=True)
class Reconciler:
    """What a reconciliation works with."""

    resources: Callable[[], Resources]
    trials: Trials

    def reconcile(self, namespace: str, name: str) -> Object | None:
        """Reconcile one Experiment and return it as it is then; None when it is gone. Raises Conflict."""
        for attempt in range(ATTEMPTS):
            try:
                return self._once(namespace, name)
            except Conflict:
                if attempt == ATTEMPTS - 1:
                    raise
        return None

    def _once(self, namespace: str, name: str) -> Object | None:
        resources = self.resources()
        found = resources.find(API_VERSION, EXPERIMENT, namespace, name)
        if found is None or found["metadata"].get("deletionTimestamp"):
            return None  # what it owned goes with it
        experiment = defaulted(found)
        if wrong := faults(experiment):
            return self._refused(found, wrong)
        spec = parse(experiment["spec"])
        suggestion = resources.find(API_VERSION, SUGGESTION, namespace, name)
        if suggestion is not None and not is_controlled_by(suggestion, experiment):
            raise Conflict(f"Suggestion {name!r} belongs to another Experiment")  # which is being deleted
        given: list[Object] = ((suggestion or {}).get("status") or {}).get("suggestions") or []
        trials = self._advanced(experiment, given)
        counted = progress.tally((trials[each["name"]] for each in given if each["name"] in trials), spec)
        ended = self._verdict(experiment, counted, spec)
        if ended is None:
            given, ended = self._suggest(experiment, spec, suggestion, given, trials, counted)
            trials |= self._created(experiment, given, trials)
            counted = progress.tally((trials[each["name"]] for each in given if each["name"] in trials), spec)
        if ended is not None and counted.active:
            trials = {each: self._stopped(trial) for each, trial in trials.items()}
            counted = progress.tally((trials[each["name"]] for each in given if each["name"] in trials), spec)
        status = progress.status_of(experiment, counted, ended)
        if status == found.get("status"):
            return found
        return resources.write_status({**found, "status": status})

    def _advanced(self, experiment: Object, given: list[Object]) -> dict[str, Object]:
        """Take every Trial as far as it goes, create those that are missing, and return them by name."""
        resources, metadata = self.resources(), experiment["metadata"]
        labels = {EXPERIMENT_LABEL: metadata["name"]}
        found = resources.list(API_VERSION, TRIAL, metadata["namespace"], labels)
        jobs = {
            job["metadata"]["name"]: job
            for job in resources.list(JOB_API_VERSION, JOB, metadata["namespace"], labels)
            if not job["metadata"].get("deletionTimestamp")
        }
        trials = {trial["metadata"]["name"]: trial for trial in found if is_controlled_by(trial, experiment)}
        over = conditions.outcome(experiment.get("status") or {}) is not None
        if not over:
            trials |= self._created(experiment, given, trials, start=False)
        return {
            name: self._stopped(trial) if over else self.trials.advance(trial, jobs.get(name))
            for name, trial in trials.items()
            if not trial["metadata"].get("deletionTimestamp")
        }

    def _created(
        self, experiment: Object, given: list[Object], trials: dict[str, Object], *, start: bool = True
    ) -> dict[str, Object]:
        """Create the Trials of assignments that have none, and start them."""
        made: dict[str, Object] = {}
        for assignment in given:
            name = assignment["name"]
            if name not in trials:
                trial = self.resources().create(manifests.trial(experiment, assignment))
                made[name] = self.trials.advance(trial, None) if start else trial
        return made

    def _stopped(self, trial: Object) -> Object:
        running = conditions.outcome(trial.get("status") or {}) is None
        return self.trials.kill(trial) if running else trial

    def _verdict(self, experiment: Object, counted: Tally, spec: ExperimentSpec) -> Verdict | None:
        """Return how it ended, or ends now; a finished Experiment goes on only when it may and more trials are due."""
        status = experiment.get("status") or {}
        before = conditions.outcome(status)
        if before is None:
            return progress.verdict(counted, spec)
        condition = conditions.find(status, before) or {}
        may_resume = condition.get("reason") == MAX_TRIALS_REACHED and spec.resume_policy != "Never"
        if may_resume and (spec.max_trials is None or spec.max_trials > counted.completed):
            return None
        return Verdict(before, condition.get("reason", ""), condition.get("message", ""))

    def _suggest(
        self,
        experiment: Object,
        spec: ExperimentSpec,
        suggestion: Object | None,
        given: list[Object],
        trials: dict[str, Object],
        counted: Tally,
    ) -> tuple[list[Object], Verdict | None]:
        """Record as many further assignments as may run now; say how it ends when there are no more."""
        count = spec.parallel - counted.active
        if spec.max_trials is not None:
            count = min(count, spec.max_trials - len(given))
        if count <= 0:
            return given, None
        if suggestion is None:
            suggestion = self.resources().create(manifests.suggestion(experiment, count))
        try:
            more = suggesting.next_assignments(experiment, spec, given, trials, count)
        except suggesting.SuggestionFailed as error:
            logger.warning("experiment=%s: %s", experiment["metadata"]["name"], error)
            return given, Verdict("Failed", "ExperimentSuggestionFailed", str(error))
        if not more:
            return given, None if counted.active else progress.exhausted(counted)
        given = [*given, *more]
        self._record(suggestion, given)
        return given, None

    def _record(self, suggestion: Object, given: list[Object]) -> None:
        """Write the assignments down under the resourceVersion that was read: what follows depends on them."""
        status = suggestion.get("status") or {}
        status = conditions.marked(status, "Created", "SuggestionCreated", "The Suggestion is created")
        status = conditions.marked(status, "Running", "SuggestionRunning", "Assignments are made as trials end")
        status = {
            **status,
            "startTime": status.get("startTime") or now(),
            "suggestionCount": len(given),
            "suggestions": given,
        }
        written = self.resources().write_status({**suggestion, "status": status})
        if written["spec"].get("requests") != len(given):
            metadata = suggestion["metadata"]
            patch = {"spec": {"requests": len(given)}}
            self.resources().merge(API_VERSION, SUGGESTION, metadata["namespace"], metadata["name"], patch)

    def _refused(self, experiment: Object, wrong: list[tuple[str, str]]) -> Object:
        """Say in the conditions what admission would have refused."""
        message = "; ".join(f"{field}: {fault}" for field, fault in wrong)
        status = conditions.ended(experiment.get("status") or {}, "Failed", "ExperimentInvalid", message)
        status = {**status, "observedGeneration": experiment["metadata"].get("generation")}
        if status == experiment.get("status"):
            return experiment
        return self.resources().write_status({**experiment, "status": status})
