"""Brings Trials and what runs them in line with what an Experiment declares.

Level-triggered: an event says only which Experiment to look at; everything is read anew. An assignment is recorded in
the Suggestion's status, under the resourceVersion that was read, before its Trial is created, and a Trial before its
Job; each has a name that follows from the one before. So whatever is killed in between, the next reconciliation makes
what is missing and nothing twice, and of two at once one fails with Conflict and starts over.

A trial that has ended is read from its record; only the few that have not are read from the API, one by one, so that
the cost of a trial does not grow with the number of those before it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from zeroflow.errors import Conflict, Forbidden, InvalidInput, NotFound
from zeroflow.functions.trial import checkpoints, conditions, kinds, manifests, progress, stopping, suggesting
from zeroflow.functions.trial.algorithms import nsga2
from zeroflow.functions.trial.progress import MAX_TRIALS_REACHED, Tally, Verdict
from zeroflow.functions.trial.records import Ended
from zeroflow.functions.trial.templates import TemplateMissing, template_of
from zeroflow.functions.trial.trials import Trials
from zeroflow.resources.client import Resources
from zeroflow.resources.conditions import now
from zeroflow.resources.owners import is_controlled_by
from zeroflow.resources.starting_over import starting_over
from zeroflow.tuning.defaults import defaulted
from zeroflow.tuning.extensions import Extensions, parse_extensions
from zeroflow.tuning.spec import (
    API_VERSION,
    EXPERIMENT,
    SUGGESTION,
    TRIAL,
    ExperimentSpec,
    Object,
    parse,
)
from zeroflow.tuning.validation import faults

logger = logging.getLogger(__name__)


@dataclass
class View:
    """One Experiment as it is when it is looked at."""

    experiment: Object
    spec: ExperimentSpec
    extensions: Extensions
    given: list[Object]
    """Its suggestions, in order."""
    ended: dict[str, Ended]
    trials: dict[str, Object] = field(default_factory=dict)
    """Its Trials by name; of those that have ended, what their records tell."""

    def tally(self) -> Tally:
        """Count the trials."""
        return progress.tally(
            (self.trials[each["name"]] for each in self.given if each["name"] in self.trials), self.spec
        )

    @property
    def is_over(self) -> bool:
        """Whether its status says that it has ended."""
        return conditions.outcome(self.experiment.get("status") or {}) is not None


@dataclass(frozen=True)
class Reconciler:
    """What a reconciliation works with."""

    resources: Callable[[], Resources]
    trials: Trials

    def reconcile(self, namespace: str, name: str) -> Object | None:
        """Reconcile one Experiment and return it as it is then; None when it is gone. Raises Conflict."""
        return starting_over(lambda: self._once(namespace, name))

    def _once(self, namespace: str, name: str) -> Object | None:
        resources = self.resources()
        found = resources.find(API_VERSION, EXPERIMENT, namespace, name)
        if found is None or found["metadata"].get("deletionTimestamp"):
            return None  # what it owned goes with it
        experiment = defaulted(found)
        try:
            experiment["spec"]["trialTemplate"] = template_of(experiment, resources)
        except TemplateMissing as error:
            return self._refused(found, [("spec.trialTemplate.configMap", str(error))])
        if wrong := faults(experiment):
            return self._refused(found, wrong)
        suggestion = resources.find(API_VERSION, SUGGESTION, namespace, name)
        if suggestion is not None and not is_controlled_by(suggestion, experiment):
            raise Conflict(f"Suggestion {name!r} belongs to another Experiment")  # which is being deleted
        view = View(
            experiment,
            parse(experiment["spec"]),
            parse_extensions(experiment["metadata"]),
            ((suggestion or {}).get("status") or {}).get("suggestions") or [],
            self.trials.records.ended(experiment["metadata"]["uid"]),
        )
        self._advance(view)
        ended = self._verdict(view)
        if ended is None:
            ended = self._suggest(view, suggestion)
        if ended is not None and not view.is_over:
            self._stop(view)
        status = progress.status_of(experiment, view.tally(), ended, self._front(view))
        if status == found.get("status"):
            return found
        return resources.write_status({**found, "status": status})

    def _advance(self, view: View) -> None:
        """Take every Trial that has not ended as far as it goes, and create those that are missing."""
        for number, assignment in enumerate(view.given):
            name = assignment["name"]
            if name in view.ended:
                view.trials[name] = view.ended[name].as_trial()
                continue
            trial = self.resources().find(API_VERSION, TRIAL, view.experiment["metadata"]["namespace"], name)
            if trial is not None and (
                trial["metadata"].get("deletionTimestamp") or not is_controlled_by(trial, view.experiment)
            ):
                continue
            if view.is_over:
                if trial is not None:
                    view.trials[name] = self._stopped(trial, number)
            else:
                view.trials[name] = self._begun(view, assignment, number, trial)

    def _begun(self, view: View, assignment: Object, number: int, trial: Object | None = None) -> Object:
        """Create a Trial that is missing, and do what is next for it."""
        is_new = trial is None
        if trial is None:
            made = manifests.trial(view.experiment, assignment, progress.remaining_s(view.experiment, view.extensions))
            trial = self.resources().create(made)
        return self.trials.advance(trial, number, is_new=is_new)

    def _stop(self, view: View) -> None:
        """End the trials that go on, and clean up what a crash has left of the others."""
        for number, assignment in enumerate(view.given):
            name = assignment["name"]
            if name in view.trials and name not in view.ended:
                view.trials[name] = self._stopped(view.trials[name], number)
        kinds.clean(self.resources(), view.experiment)

    def _stopped(self, trial: Object, number: int) -> Object:
        running = conditions.outcome(trial.get("status") or {}) is None
        return self.trials.kill(trial, number) if running else trial

    def _verdict(self, view: View) -> Verdict | None:
        """Return how it ended, or ends now; a finished Experiment goes on only when it may and more trials are due."""
        status, counted = view.experiment.get("status") or {}, view.tally()
        before = conditions.outcome(status)
        if before is None:
            return progress.verdict(counted, view.spec, progress.remaining_s(view.experiment, view.extensions))
        condition = conditions.find(status, before) or {}
        may_resume = condition.get("reason") == MAX_TRIALS_REACHED and view.spec.resume_policy != "Never"
        if may_resume and (view.spec.max_trials is None or view.spec.max_trials > counted.completed):
            return None
        return Verdict(before, condition.get("reason", ""), condition.get("message", ""))

    def _suggest(self, view: View, suggestion: Object | None) -> Verdict | None:
        """Record and start as many further trials as may run now; say how it ends when there are no more.

        A trial that ends as soon as it is started, because what it asks for is refused, makes room for the next.
        """
        while True:
            counted = view.tally()
            if (ended := progress.verdict(counted, view.spec, None)) is not None:
                return ended
            count = view.spec.parallel - counted.active
            if view.spec.max_trials is not None:
                count = min(count, view.spec.max_trials - len(view.given))
            if count <= 0:
                return None
            if suggestion is None:
                self._prepare(view)
                suggestion = self.resources().create(manifests.suggestion(view.experiment, count))
            try:
                made = self._next(view, count)
            except suggesting.SuggestionFailed as error:
                logger.warning("experiment=%s: %s", view.experiment["metadata"]["name"], error)
                return Verdict("Failed", "ExperimentSuggestionFailed", str(error))
            if not made.assignments:
                return progress.exhausted(counted) if made.exhausted and not counted.active else None
            first = len(view.given)
            view.given = [*view.given, *made.assignments]
            suggestion = self._record(suggestion, view.given)
            for number, assignment in enumerate(made.assignments, first):
                view.trials[assignment["name"]] = self._begun(view, assignment, number)

    def _next(self, view: View, count: int) -> suggesting.Suggestions:
        records, namespace = self.trials.records, view.experiment["metadata"]["namespace"]
        made = suggesting.next_assignments(
            view.experiment,
            view.spec,
            view.given,
            view.trials,
            count,
            view.extensions,
            (lambda name: records.of_experiment(namespace, name)) if view.extensions.warm_start else None,
        )
        if view.spec.early_stopping is None or not made.assignments:
            return made
        compared = [
            trial["metadata"]["uid"]
            for trial in view.trials.values()
            if stopping.counts(view.spec, conditions.outcome(trial.get("status") or {}))
        ]
        rules = stopping.rules(
            view.spec,
            lambda: records.histories(compared, view.spec.objective.metric, stopping.steps_needed(view.spec)),
        )
        for assignment in made.assignments:
            if rules:
                assignment["earlyStoppingRules"] = rules
        return made

    def _prepare(self, view: View) -> None:
        """Make what all trials need: somebody who hears of them, and a place for checkpoints."""
        try:
            kinds.watch(self.resources(), view.experiment["spec"]["trialTemplate"]["trialSpec"])
            if view.spec.algorithm == "pbt":
                checkpoints.claim(self.resources(), view.experiment)
        except (NotFound, Forbidden, InvalidInput) as error:
            logger.warning("experiment=%s: %s", view.experiment["metadata"]["name"], error)

    def _record(self, suggestion: Object, given: list[Object]) -> Object:
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
            return self.resources().merge(API_VERSION, SUGGESTION, metadata["namespace"], metadata["name"], patch)
        return written

    def _front(self, view: View) -> list[str]:
        """Return the names of the trials with the best trade-offs, of a search with several objectives."""
        if view.spec.algorithm != "nsga2":
            return []
        search = suggesting.begun(view.experiment, view.spec, view.given, view.trials, view.extensions)
        return [each.name for each in nsga2.front(search, search.history)]

    def _refused(self, experiment: Object, wrong: list[tuple[str, str]]) -> Object:
        """Say in the conditions what admission would have refused."""
        message = "; ".join(f"{field}: {fault}" for field, fault in wrong)
        status = conditions.ended(experiment.get("status") or {}, "Failed", "ExperimentInvalid", message)
        status = {**status, "observedGeneration": experiment["metadata"].get("generation")}
        if status == experiment.get("status"):
            return experiment
        return self.resources().write_status({**experiment, "status": status})
