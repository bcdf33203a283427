"""An Experiment's spec as values, and Katib's words for it.

`parse` expects what `defaults.defaulted` and `validation.faults` have seen.
Source: Katib v1beta1 API (ExperimentSpec, ObjectiveSpec, ParameterSpec), label and condition names as its clients
read them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

Object = dict[str, Any]

API_VERSION = "kubeflow.org/v1beta1"
EXPERIMENT, SUGGESTION, TRIAL = "Experiment", "Suggestion", "Trial"
EXPERIMENT_LABEL = "katib.kubeflow.org/experiment"
TRIAL_LABEL = "katib.kubeflow.org/trial"

TYPES = ("double", "int", "discrete", "categorical")
DISTRIBUTIONS = ("uniform", "logUniform", "normal", "logNormal")
GOALS = ("minimize", "maximize")
STRATEGIES = ("min", "max", "latest")


@dataclass(frozen=True)
class Parameter:
    """One dimension of the search space."""

    name: str
    kind: str
    """double, int, discrete or categorical."""
    low: float = 0.0
    high: float = 0.0
    step: str | None = None
    """As it was written, so that values on the grid are exact decimals."""
    distribution: str = "uniform"
    choices: tuple[str, ...] = ()

    @property
    def is_numeric(self) -> bool:
        return self.kind in ("double", "int")

    def grid(self) -> tuple[str, ...] | None:
        """Return the values in order when there are finitely many, None for a double without a step."""
        if not self.is_numeric:
            return self.choices
        if self.step is None and self.kind == "double":
            return None
        low, step = Decimal(repr(self.low)), Decimal(self.step or "1")
        count = int((Decimal(repr(self.high)) - low) / step) + 1
        return tuple(self.written(float(low + step * index)) for index in range(count))

    def holds(self, value: str) -> bool:
        """Say whether a value, as an assignment holds it, lies in the parameter's range or list."""
        if not self.is_numeric:
            return value in self.choices
        found = number(value)
        return found is not None and self.low <= found <= self.high

    def written(self, value: float) -> str:
        """Return a number as an assignment holds it."""
        return str(round(value)) if self.kind == "int" else repr(float(value))


@dataclass(frozen=True)
class Objective:
    """What is optimised."""

    metric: str
    maximize: bool
    goal: float | None
    additional: tuple[str, ...]
    strategies: Mapping[str, str]
    """Which of a metric's values counts: min, max or latest."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that is collected, the objective first."""
        return (self.metric, *self.additional)

    def reaches_goal(self, value: float) -> bool:
        """Say whether a value of the objective is good enough to end the Experiment."""
        if self.goal is None:
            return False
        return value >= self.goal if self.maximize else value <= self.goal


@dataclass(frozen=True)
class ExperimentSpec:
    """A valid Experiment."""

    objective: Objective
    algorithm: str
    settings: Mapping[str, str]
    parameters: tuple[Parameter, ...]
    parallel: int
    max_trials: int | None
    max_failed: int | None
    resume_policy: str
    template: Object
    collector: Object
    nas: Object | None = None
    """The network whose architecture is searched, instead of parameters."""
    early_stopping: str | None = None
    stopping_settings: Mapping[str, str] = field(default_factory=dict)


def parse(spec: Object) -> ExperimentSpec:
    """Read a spec that is complete and valid."""
    objective, algorithm = spec["objective"], spec["algorithm"]
    stopping = spec.get("earlyStopping") or {}
    return ExperimentSpec(
        objective=parse_objective(objective),
        algorithm=algorithm["algorithmName"],
        settings={each["name"]: str(each["value"]) for each in algorithm.get("algorithmSettings") or ()},
        parameters=tuple(parse_parameter(each) for each in spec.get("parameters") or ()),
        parallel=spec["parallelTrialCount"],
        max_trials=spec.get("maxTrialCount"),
        max_failed=spec.get("maxFailedTrialCount"),
        resume_policy=spec["resumePolicy"],
        template=spec["trialTemplate"],
        collector=spec["metricsCollectorSpec"],
        nas=spec.get("nasConfig"),
        early_stopping=stopping.get("algorithmName"),
        stopping_settings={each["name"]: str(each["value"]) for each in stopping.get("algorithmSettings") or ()},
    )


def parse_objective(objective: Object) -> Objective:
    """Read an objective with its strategies."""
    goal = objective.get("goal")
    return Objective(
        metric=objective["objectiveMetricName"],
        maximize=objective["type"] == "maximize",
        goal=None if goal is None else float(goal),
        additional=tuple(objective.get("additionalMetricNames") or ()),
        strategies={each["name"]: each["value"] for each in objective.get("metricStrategies") or ()},
    )


def number(text: Any) -> float | None:
    """Return a finite number that was written as text, None for anything else."""
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def parse_parameter(written: Object) -> Parameter:
    """Read one parameter that is valid."""
    space, kind = written["feasibleSpace"], written["parameterType"]
    if kind not in ("double", "int"):
        return Parameter(written["name"], kind, choices=tuple(str(choice) for choice in space["list"]))
    return Parameter(
        written["name"],
        kind,
        low=float(space["min"]),
        high=float(space["max"]),
        step=str(space["step"]) if space.get("step") else None,
        distribution=space.get("distribution") or "uniform",
    )
