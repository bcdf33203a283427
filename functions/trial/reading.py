"""An Experiment as it is now, with all that its reconciliation goes on from.

What admission refuses is looked for here too, for clusters that do not ask: it is said in the conditions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from zeroflow.errors import Conflict
from zeroflow.functions.trial import conditions, suggesting
from zeroflow.functions.trial.records import Records
from zeroflow.functions.trial.templates import TemplateMissing, template_of
from zeroflow.functions.trial.view import View
from zeroflow.resources.client import Resources
from zeroflow.resources.owners import is_controlled_by
from zeroflow.tuning.defaults import defaulted
from zeroflow.tuning.extensions import parse_extensions
from zeroflow.tuning.services import address_of
from zeroflow.tuning.spec import API_VERSION, EXPERIMENT, EXPERIMENT_LABEL, SUGGESTION, TRIAL, Object, parse
from zeroflow.tuning.validation import faults


@dataclass(frozen=True)
class Reader:
    """Reads Experiments."""

    resources: Callable[[], Resources]
    records: Records

    def read(self, namespace: str, name: str) -> View | Object | None:
        """Return an Experiment as it is now; the object itself when it is refused, None when it is gone."""
        resources = self.resources()
        found = resources.find(API_VERSION, EXPERIMENT, namespace, name)
        if found is None:
            self._clear_orphans(namespace, name)
            return None
        if found["metadata"].get("deletionTimestamp"):
            return None  # what it owned goes with it
        experiment = defaulted(found)
        try:
            experiment["spec"]["trialTemplate"] = template_of(experiment, resources)
        except TemplateMissing as error:
            return self._refused(found, [("spec.trialTemplate.configMap", str(error))])
        find = partial(resources.find, "v1", "ConfigMap")
        if wrong := faults(experiment, None, find):
            return self._refused(found, wrong)
        suggestion = resources.find(API_VERSION, SUGGESTION, namespace, name)
        if suggestion is not None and not is_controlled_by(suggestion, experiment):
            raise Conflict(f"Suggestion {name!r} belongs to another Experiment")  # which is being deleted
        given = list(((suggestion or {}).get("status") or {}).get("suggestions") or [])
        algorithm = experiment["spec"]["algorithm"]["algorithmName"]
        return View(
            found,
            experiment,
            parse(experiment["spec"]),
            parse_extensions(experiment["metadata"]),
            suggestion,
            given,
            self.records.ended(experiment["metadata"]["uid"]),
            told=len(given),
            service=None if algorithm in suggesting.ALGORITHMS else address_of(algorithm, find),
        )

    def _clear_orphans(self, namespace: str, name: str) -> None:
        """Delete a Trial that was created while its Experiment was being deleted."""
        for trial in self.resources().list(API_VERSION, TRIAL, namespace, {EXPERIMENT_LABEL: name}):
            if not trial["metadata"].get("deletionTimestamp"):
                self.resources().delete(API_VERSION, TRIAL, namespace, trial["metadata"]["name"])

    def _refused(self, experiment: Object, wrong: list[tuple[str, str]]) -> Object:
        """Say in the conditions what admission would have refused."""
        message = "; ".join(f"{field}: {fault}" for field, fault in wrong)
        status = conditions.ended(experiment.get("status") or {}, "Failed", "ExperimentInvalid", message)
        status = {**status, "observedGeneration": experiment["metadata"].get("generation")}
        if status == experiment.get("status"):
            return experiment
        return self.resources().write_status({**experiment, "status": status})
