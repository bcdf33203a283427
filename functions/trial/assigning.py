"""The assignments of an Experiment: the next ones, and the Suggestion that tells of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from zeroflow.errors import Forbidden, InvalidInput, NotFound
from zeroflow.functions.trial import checkpoints, conditions, kinds, stopping, suggesting
from zeroflow.functions.trial.records import Records
from zeroflow.functions.trial.view import View
from zeroflow.resources.client import Resources
from zeroflow.resources.conditions import now
from zeroflow.tuning.spec import API_VERSION, SUGGESTION

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Assigner:
    """Makes assignments and writes them down."""

    resources: Callable[[], Resources]
    records: Records

    def next(self, view: View, count: int) -> suggesting.Suggestions:
        """Return up to `count` further assignments; raise SuggestionFailed."""
        records = self.records
        made = self._suggested(view, count)
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

    def _suggested(self, view: View, count: int) -> suggesting.Suggestions:
        if view.service is not None:
            from zeroflow.functions.trial import remote

            return remote.next_assignments(view.service, view.experiment, view.given, view.trials, count)
        earlier = partial(self.records.of_experiment, view.namespace) if view.extensions.warm_start else None
        return suggesting.next_assignments(
            view.experiment, view.spec, view.given, view.trials, count, view.extensions, earlier, view.tried
        )

    def prepare(self, view: View) -> None:
        """Make what all trials need: somebody who hears of them, and a place for checkpoints."""
        try:
            kinds.watch(self.resources(), view.experiment["spec"]["trialTemplate"]["trialSpec"])
            if view.spec.algorithm == "pbt":
                checkpoints.claim(self.resources(), view.experiment)
        except (NotFound, Forbidden, InvalidInput) as error:
            logger.warning("experiment=%s: %s", view.name, error)

    def tell(self, view: View) -> None:
        """Write the assignments down."""
        suggestion, given = view.suggestion, view.given
        if suggestion is None or len(given) == view.told:
            return
        status = suggestion.get("status") or {}
        status = conditions.marked(status, "Created", "SuggestionCreated", "The Suggestion is created")
        status = conditions.marked(status, "Running", "SuggestionRunning", "Assignments are made as trials end")
        status = {
            **status,
            "startTime": status.get("startTime") or now(),
            "suggestionCount": len(given),
            "suggestions": given,
        }
        view.suggestion = self.resources().write_status({**suggestion, "status": status})
        view.told = len(given)
        if suggestion["spec"].get("requests", 0) < len(given):
            patch = {"spec": {"requests": max(len(given), view.spec.max_trials or 0)}}
            view.suggestion = self.resources().merge(API_VERSION, SUGGESTION, view.namespace, view.name, patch)
