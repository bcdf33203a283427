"""What an Experiment means where it says nothing.

Source: Katib v1beta1 experiment defaulting (parallelTrialCount, resumePolicy, collector, metric strategies,
conditions of the trial kinds).
"""

from __future__ import annotations

import copy

from zeroflow.tuning.spec import STRATEGIES, Object

PARALLEL_TRIALS = 3
CONDITIONS = {
    "Job": ("Complete", "Failed"),
}
"""Of each trial kind: the condition that means success, and the one that means failure."""


def defaulted(experiment: Object) -> Object:
    """Return a copy of the Experiment in which every default is written out; what is malformed stays as it is."""
    experiment = copy.deepcopy(experiment)
    spec = experiment.get("spec")
    if not isinstance(spec, dict):
        return experiment
    if spec.get("parallelTrialCount") is None:
        spec["parallelTrialCount"] = PARALLEL_TRIALS
    spec["resumePolicy"] = spec.get("resumePolicy") or "Never"
    collector = spec.get("metricsCollectorSpec") or {}
    if isinstance(collector, dict):
        spec["metricsCollectorSpec"] = {**collector, "collector": collector.get("collector") or {"kind": "StdOut"}}
    if isinstance(spec.get("objective"), dict):
        _strategies(spec["objective"])
    if isinstance(spec.get("trialTemplate"), dict):
        _template(spec["trialTemplate"])
    for parameter in spec.get("parameters") or () if isinstance(spec.get("parameters"), list) else ():
        space = parameter.get("feasibleSpace") if isinstance(parameter, dict) else None
        if isinstance(space, dict) and parameter.get("parameterType") in ("double", "int"):
            space["distribution"] = space.get("distribution") or "uniform"
    return experiment


def _strategies(objective: Object) -> None:
    """Every metric without a strategy of its own gets the objective's direction."""
    given = objective.get("metricStrategies") or []
    names = [objective.get("objectiveMetricName"), *(objective.get("additionalMetricNames") or [])]
    default = {"minimize": "min", "maximize": "max"}.get(str(objective.get("type")), STRATEGIES[-1])
    if isinstance(given, list) and all(isinstance(each, dict) for each in given):
        named = {each.get("name") for each in given}
        objective["metricStrategies"] = [
            *given,
            *({"name": name, "value": default} for name in names if name and name not in named),
        ]


def _template(template: Object) -> None:
    trial_spec = template.get("trialSpec")
    kind = trial_spec.get("kind") if isinstance(trial_spec, dict) else None
    if kind not in CONDITIONS:
        return
    success, failure = CONDITIONS[kind]
    for field, condition in (("successCondition", success), ("failureCondition", failure)):
        template[field] = template.get(field) or f'status.conditions.#(type=="{condition}")#|#(status=="True")#'
