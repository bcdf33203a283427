"""What is wrong with an Experiment: every fault with the path of its field.

Both ends ask here: the embedded host before it stores an Experiment, and the trial function before it acts on one, so
that a cluster without the admission hook refuses the same in the Experiment's conditions. Expects defaults.
Source: Katib v1beta1 experiment validation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from zeroflow.tuning import settings
from zeroflow.tuning.architectures import PLACEHOLDERS, architecture_faults
from zeroflow.tuning.collectors import collector_faults
from zeroflow.tuning.early_stopping import early_stopping_faults
from zeroflow.tuning.extensions import extension_faults
from zeroflow.tuning.services import FindConfigMap, address_of
from zeroflow.tuning.spec import DISTRIBUTIONS, GOALS, STRATEGIES, TYPES, Object, number
from zeroflow.tuning.template_faults import template_faults

Fault = tuple[str, str]

NAME = re.compile(r"[a-z]([-a-z0-9]{0,52}[a-z0-9])?")
"""A trial's name has nine characters more and is the value of a label, which has at most 63."""
RESUME_POLICIES = ("Never", "LongRunning", "FromVolume")
EDITABLE = ("parallelTrialCount", "maxTrialCount", "maxFailedTrialCount")


def faults(experiment: Object, old: Object | None = None, config_map: FindConfigMap | None = None) -> list[Fault]:
    """Return every fault of an Experiment, or of its change from `old`.

    With `config_map` what ConfigMaps say is looked at too: the template, and who else suggests.
    """
    spec = experiment.get("spec")
    if not isinstance(spec, dict) or not spec:
        return [("spec", "Required value: an Experiment needs a spec")]
    found = list(_faults(experiment, spec, config_map))
    if old is not None and not found:
        found = list(_changed(spec, old))
    return found


def _faults(experiment: Object, spec: Object, config_map: FindConfigMap | None) -> Iterator[Fault]:
    name = str(experiment["metadata"].get("name") or experiment["metadata"].get("generateName") or "").rstrip("-")
    if not NAME.fullmatch(name):
        yield (
            "metadata.name",
            f'Invalid value: "{name}": must begin with a letter, end with a letter or digit and have at most '
            "54 lower case letters, digits or '-'",
        )
    yield from _counts(spec)
    objective = spec.get("objective")
    if not isinstance(objective, dict):
        yield "spec.objective", "Required value: what is to be optimised"
    else:
        yield from _objective(objective)
    if spec["resumePolicy"] not in RESUME_POLICIES:
        yield (
            "spec.resumePolicy",
            f'Invalid value: "{spec["resumePolicy"]}": invalid ResumePolicyType; one of {", ".join(RESUME_POLICIES)}',
        )
    yield from early_stopping_faults(spec)
    algorithm, nas, parameters = spec.get("algorithm"), spec.get("nasConfig"), spec.get("parameters")
    name = str(algorithm.get("algorithmName")) if isinstance(algorithm, dict) else ""
    yield from _searched(parameters, nas, name)
    parameters = parameters if isinstance(parameters, list) else []
    yield from parameter_faults(parameters)
    if not isinstance(algorithm, dict):
        yield "spec.algorithm", "Required value: which algorithm suggests"
    else:
        yield from settings.faults(
            spec, parameters, lambda other: config_map is not None and address_of(other, config_map) is not None
        )
    yield from collector_faults(spec["metricsCollectorSpec"])
    references = [each.get("name") for each in parameters if isinstance(each, dict)]
    yield from template_faults(spec.get("trialTemplate"), [*references, *PLACEHOLDERS.get(name, ())], config_map)
    yield from extension_faults(experiment["metadata"], parameters)


def _searched(parameters: Any, nas: Any, algorithm: str) -> Iterator[Fault]:
    """Either parameters or an architecture are searched."""
    if nas:
        if parameters:
            yield "spec", "Invalid value: only one of spec.parameters and spec.nasConfig can be specified"
        elif algorithm not in settings.ARCHITECTURES:
            yield "spec.nasConfig", f"Forbidden: only {' and '.join(settings.ARCHITECTURES)} search an architecture"
        else:
            yield from architecture_faults(nas, algorithm)
    elif algorithm in settings.ARCHITECTURES:
        yield "spec.nasConfig", f"Required value: {algorithm} searches an architecture"
    elif not isinstance(parameters, list) or not parameters:
        yield "spec.parameters", "Required value: spec.parameters or spec.nasConfig must be specified"


def _counts(spec: Object) -> Iterator[Fault]:
    comparable = True
    for field, least in (("parallelTrialCount", 1), ("maxTrialCount", 1), ("maxFailedTrialCount", 0)):
        value = spec.get(field)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
            yield f"spec.{field}", f"Invalid value: {value}: must be a whole number of at least {least}"
            comparable = False
    if not comparable:
        return
    total, failed = spec.get("maxTrialCount"), spec.get("maxFailedTrialCount")
    if total is not None and failed is not None and failed > total:
        yield (
            "spec.maxFailedTrialCount",
            f"Invalid value: {failed}: should be less than or equal to spec.maxTrialCount, {total}",
        )
    parallel = spec.get("parallelTrialCount")
    if total is not None and parallel is not None and parallel > total:
        yield (
            "spec.parallelTrialCount",
            f"Invalid value: {parallel}: should be less than or equal to spec.maxTrialCount, {total}",
        )


def _objective(objective: Object) -> Iterator[Fault]:
    where = "spec.objective"
    if objective.get("type") not in GOALS:
        yield f"{where}.type", f'Unsupported value: "{objective.get("type", "")}": one of {", ".join(GOALS)}'
    metric, additional = objective.get("objectiveMetricName"), objective.get("additionalMetricNames") or []
    if not metric or not isinstance(metric, str):
        yield f"{where}.objectiveMetricName", "Required value: the name of a metric"
    if objective.get("goal") is not None and number(objective["goal"]) is None:
        yield f"{where}.goal", f"Invalid value: {objective['goal']!r}: must be a number"
    if not isinstance(additional, list):
        yield f"{where}.additionalMetricNames", "Invalid value: must be a list"
        return
    if metric in additional:
        yield f"{where}.additionalMetricNames", f'Invalid value: "{metric}": is the objective metric already'
    for index, strategy in enumerate(objective.get("metricStrategies") or ()):
        named = strategy if isinstance(strategy, dict) else {}
        if named.get("name") not in (metric, *additional) or named.get("value") not in STRATEGIES:
            yield (
                f"{where}.metricStrategies[{index}]",
                f"Invalid value: must have the name of a metric above and as its value one of {', '.join(STRATEGIES)}",
            )


def parameter_faults(parameters: list[Any]) -> Iterator[Fault]:
    seen: set[str] = set()
    for index, parameter in enumerate(parameters):
        where = f"spec.parameters[{index}]"
        if not isinstance(parameter, dict) or not parameter.get("name"):
            yield f"{where}.name", "Required value: a parameter has a name"
            continue
        if parameter["name"] in seen:
            yield f"{where}.name", f'Duplicate value: "{parameter["name"]}"'
        seen.add(parameter["name"])
        kind, space = parameter.get("parameterType"), parameter.get("feasibleSpace")
        if kind not in TYPES:
            yield f"{where}.parameterType", f'Unsupported value: "{kind or ""}": one of {", ".join(TYPES)}'
        elif not isinstance(space, dict):
            yield f"{where}.feasibleSpace", "Required value: where the parameter may lie"
        else:
            yield from _space(f"{where}.feasibleSpace", kind, space)


def _space(where: str, kind: str, space: Object) -> Iterator[Fault]:
    if kind in ("discrete", "categorical"):
        if not isinstance(space.get("list"), list) or not space["list"]:
            yield f"{where}.list", f"Required value: a {kind} parameter lists its values"
        if any(space.get(field) for field in ("min", "max", "step")):
            yield where, f"Invalid value: a {kind} parameter has a list, and no min, max or step"
        if kind == "discrete" and any(number(value) is None for value in space.get("list") or ()):
            yield f"{where}.list", "Invalid value: the values of a discrete parameter are numbers"
        return
    if space.get("list"):
        yield f"{where}.list", f"Invalid value: a parameter of type {kind} has min and max, and no list"
    bounds = {field: number(space.get(field)) for field in ("min", "max")}
    for field, value in bounds.items():
        if value is None or (kind == "int" and value != int(value)):
            yield f"{where}.{field}", f'Invalid value: "{space.get(field, "")}": must be of type {kind}'
    low, high = bounds["min"], bounds["max"]
    if low is None or high is None:
        return
    if low > high:
        yield f"{where}.max", f'Invalid value: "{space["max"]}": must not be less than min, "{space["min"]}"'
    if space.get("step"):
        step = number(space["step"])
        if step is None or step <= 0 or (kind == "int" and step != int(step)):
            yield f"{where}.step", f'Invalid value: "{space["step"]}": must be a positive {kind}'
    distribution = space.get("distribution") or "uniform"
    if distribution not in DISTRIBUTIONS:
        yield f"{where}.distribution", f'Unsupported value: "{distribution}": one of {", ".join(DISTRIBUTIONS)}'
    elif distribution.startswith("log") and low <= 0:
        yield f"{where}.min", f'Invalid value: "{space["min"]}": must be greater than 0 for {distribution}'


def _changed(spec: Object, old: Object) -> Iterator[Fault]:
    """Katib lets the budget of an Experiment be edited, and that of a finished one only when it can be resumed."""
    before = old["spec"]
    changed = sorted(field for field in set(spec) | set(before) if spec.get(field) != before.get(field))
    fixed = [field for field in changed if field not in EDITABLE]
    if fixed:
        yield f"spec.{fixed[0]}", f"Forbidden: only {', '.join(EDITABLE)} can be changed"
        return
    ended = _ended(old)
    if not changed:
        return
    may_resume = (ended or {}).get("reason") == "ExperimentMaxTrialsReached" and before["resumePolicy"] != "Never"
    if ended is not None and not may_resume:
        yield (
            "spec.resumePolicy",
            f'Invalid value: "{before["resumePolicy"]}": Experiment can be restarted if it is in succeeded state by '
            "reaching max trials and spec.resumePolicy = LongRunning or spec.resumePolicy = FromVolume",
        )
    trials = (old.get("status") or {}).get("trials") or 0
    most = spec.get("maxTrialCount")
    if most is not None and most <= trials:
        yield "spec.maxTrialCount", f"Invalid value: {most}: must be greater than status.trials count, {trials}"


def _ended(experiment: Object) -> Object | None:
    conditions = (experiment.get("status") or {}).get("conditions") or ()
    return next(
        (each for each in conditions if each["type"] in ("Succeeded", "Failed") and each["status"] == "True"), None
    )
