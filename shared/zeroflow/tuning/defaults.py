"""What an Experiment means where it says nothing.

Source: Katib v1beta1 experiment defaulting (parallelTrialCount, resumePolicy, collector, metric strategies,
conditions of the trial kinds).
"""

from __future__ import annotations

import copy

from zeroflow.tuning.collectors import defaulted_collector
from zeroflow.tuning.spec import STRATEGIES, Object

PARALLEL_TRIALS = 3
CONDITIONS = {
    "Job": ("Complete", "Failed"),
    "TrainJob": ("Complete", "Failed"),
    "TFJob": ("Succeeded", "Failed"),
    "PyTorchJob": ("Succeeded", "Failed"),
    "XGBoostJob": ("Succeeded", "Failed"),
    "MPIJob": ("Succeeded", "Failed"),
    "MXJob": ("Succeeded", "Failed"),
    "PaddleJob": ("Succeeded", "Failed"),
    "JAXJob": ("Succeeded", "Failed"),
}
"""Of each trial kind: the condition that means success, and the one that means failure."""
PRIMARY_POD_LABELS = {
    **{
        kind: {"training.kubeflow.org/job-role": "master"}
        for kind in CONDITIONS
        if kind not in ("Job", "TrainJob", "MXJob")
    },
    "TrainJob": {
        "jobset.sigs.k8s.io/replicatedjob-name": "node",
        "batch.kubernetes.io/job-completion-index": "0",
    },
}
"""Of each trial kind: the labels of the pod that has the metrics."""


def condition_path(condition: str) -> str:
    """Return the GJSON path that finds a condition which is true."""
    return f'status.conditions.#(type=="{condition}")#|#(status=="True")#'


def defaulted(experiment: Object) -> Object:
    """Return a copy of the Experiment in which every default is written out; what is malformed stays as it is."""
    experiment = copy.deepcopy(experiment)
    spec = experiment.get("spec")
    if not isinstance(spec, dict):
        return experiment
    if spec.get("parallelTrialCount") is None:
        most = spec.get("maxTrialCount")
        limited = isinstance(most, int) and 0 < most < PARALLEL_TRIALS
        spec["parallelTrialCount"] = most if limited else PARALLEL_TRIALS
    spec["resumePolicy"] = spec.get("resumePolicy") or "Never"
    spec["metricsCollectorSpec"] = defaulted_collector(spec.get("metricsCollectorSpec"))
    if isinstance(spec.get("objective"), dict):
        _strategies(spec["objective"])
    if isinstance(spec.get("trialTemplate"), dict):
        spec["trialTemplate"] = default_template(spec["trialTemplate"])
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


def default_template(template: Object) -> Object:
    """Return a trialTemplate with the conditions of its kind."""
    template = dict(template)
    trial_spec = template.get("trialSpec")
    kind = trial_spec.get("kind") if isinstance(trial_spec, dict) else None
    if kind not in CONDITIONS:
        return template
    success, failure = CONDITIONS[kind]
    for field, condition in (("successCondition", success), ("failureCondition", failure)):
        template[field] = template.get(field) or condition_path(condition)
    if not template.get("primaryPodLabels") and kind in PRIMARY_POD_LABELS:
        template["primaryPodLabels"] = dict(PRIMARY_POD_LABELS[kind])
    return template
