"""The events that tell how an Experiment has ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zeroflow.functions.trial.observing import objective_value
from zeroflow.functions.trial.records import Ended as Trial
from zeroflow.tuning.extensions import REGISTER_AS
from zeroflow.tuning.spec import Object, number, parse_objective


@dataclass(frozen=True)
class Ended:
    """An Experiment that has ended, by which condition."""

    experiment: Object
    kind: str
    condition: Object

    @property
    def subject(self) -> str:
        """The subject of its events."""
        metadata = self.experiment["metadata"]
        return f"namespaces/{metadata['namespace']}/experiments/{metadata['name']}"

    @property
    def best_trial(self) -> str | None:
        """The name of the best trial."""
        return (self.experiment["status"].get("currentOptimalTrial") or {}).get("bestTrialName")

    def event_id(self, what: str) -> str:
        """Return the id of an event, one for each time that the Experiment ends."""
        return f"{self.experiment['metadata']['uid']}.{self.condition['lastTransitionTime']}.{what}"

    def finished(self) -> dict[str, Any]:
        """Return what `dev.zeroflow.experiment.finished` tells."""
        metadata, status = self.experiment["metadata"], self.experiment["status"]
        optimal = status.get("currentOptimalTrial") or {}
        return {
            "experiment": metadata["name"],
            "namespace": metadata["namespace"],
            "state": self.kind,
            "reason": self.condition["reason"],
            "message": self.condition["message"],
            "trials": status.get("trials", 0),
            "best_trial": optimal.get("bestTrialName"),
            "parameters": {each["name"]: each["value"] for each in optimal.get("parameterAssignments") or ()},
            "metrics": (optimal.get("observation") or {}).get("metrics") or [],
        }

    def succeeded(self, best: Trial) -> dict[str, Any]:
        """Return what `dev.zeroflow.experiment.succeeded` tells."""
        metadata = self.experiment["metadata"]
        objective = parse_objective(self.experiment["spec"]["objective"])
        strategies = objective.strategies
        data: dict[str, Any] = {
            "namespace": metadata["namespace"],
            "experiment": metadata["name"],
            "experiment_uid": metadata["uid"],
            "objective": {
                "metric": objective.metric,
                "type": "maximize" if objective.maximize else "minimize",
                "value": objective_value(best.observation, objective),
            },
            "trial": {
                "name": best.name,
                "uid": best.uid,
                "parameters": dict(best.parameters),
                "metrics": {
                    each["name"]: value
                    for each in best.observation.get("metrics") or ()
                    if (value := number(each.get(strategies.get(each["name"], "latest")))) is not None
                },
            },
        }
        if register_as := (metadata.get("annotations") or {}).get(REGISTER_AS):
            data["register_as"] = register_as
        if best.model:
            data["model"] = {"uri": best.model}
        return data
