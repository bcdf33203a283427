"""Katib's Suggestion and EarlyStopping services over the same algorithms: for clients that bring their own controller.

Nothing is kept between calls: the caller sends the Experiment and its trials. The seed is the setting random_state, or
follows from the Experiment's name. Series of trials are those that were recorded here.
Source: Katib api.v1.beta1 (GetSuggestions, ValidateAlgorithmSettings, GetEarlyStoppingRules,
ValidateEarlyStoppingSettings; what is invalid is INVALID_ARGUMENT).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from zeroflow.errors import InvalidInput, NotFound
from zeroflow.functions.trial import stopping, suggesting
from zeroflow.functions.trial.manager.messages import MetricLog
from zeroflow.functions.trial.manager.protocol import messages
from zeroflow.tuning import settings
from zeroflow.tuning.defaults import defaulted
from zeroflow.tuning.early_stopping import early_stopping_faults
from zeroflow.tuning.spec import DISTRIBUTIONS, TYPES, ExperimentSpec, Object, number, parse
from zeroflow.tuning.validation import parameter_faults

MOST = 1000
GOALS = {1: "minimize", 2: "maximize"}
OUTCOMES = {2: "Succeeded", 3: "Killed", 4: "Failed", 5: "MetricsUnavailable", 6: "EarlyStopped"}
COMPARISONS = {"equal": 1, "less": 2, "greater": 3}

Log = Callable[[str, str], Sequence[MetricLog]]
"""Returns what a trial has reported of a metric."""


def suggestions(message: bytes) -> bytes:
    """Answer GetSuggestions."""
    request = _read("GetSuggestionsRequest", message)
    experiment = _valid(request.experiment)
    count = request.current_request_number
    if not 0 < count <= MOST:
        raise InvalidInput(f"current_request_number: {count} is not between 1 and {MOST}")
    given = [_assignment(trial) for trial in request.trials]
    trials = {trial.name: {"status": _status(trial)} for trial in request.trials}
    try:
        made = suggesting.next_assignments(experiment, parse(experiment["spec"]), given, trials, count)
    except suggesting.SuggestionFailed as error:
        raise InvalidInput(str(error)) from error
    reply = messages()["GetSuggestionsReply"]()
    for each in made.assignments:
        added = reply.parameter_assignments.add(trial_name=each["name"])
        for assigned in each["parameterAssignments"]:
            added.assignments.add(**assigned)
        for key, value in (each.get("labels") or {}).items():
            added.labels.add(key=key, value=value)
    return bytes(reply.SerializeToString())


def validate_algorithm(message: bytes) -> bytes:
    """Answer ValidateAlgorithmSettings."""
    _valid(_read("ValidateAlgorithmSettingsRequest", message).experiment)
    return b""


def early_stopping_rules(message: bytes, log: Log) -> bytes:
    """Answer GetEarlyStoppingRules."""
    request = _read("GetEarlyStoppingRulesRequest", message)
    spec = parse(_valid(request.experiment)["spec"])
    compared = [each.name for each in request.trials if stopping.counts(spec, OUTCOMES.get(each.status.condition))]
    reply = messages()["GetEarlyStoppingRulesReply"]()
    for rule in stopping.rules(spec, lambda: {name: _series(log, name, spec) for name in compared}):
        reply.early_stopping_rules.add(
            name=rule["name"],
            value=rule["value"],
            comparison=COMPARISONS[rule["comparison"]],
            start_step=rule["startStep"],
        )
    return bytes(reply.SerializeToString())


def validate_early_stopping(message: bytes) -> bytes:
    """Answer ValidateEarlyStoppingSettings."""
    written = _read("ValidateEarlyStoppingSettingsRequest", message).early_stopping
    collector = {"collector": {"kind": "StdOut"}}
    _refuse(early_stopping_faults({"earlyStopping": _algorithm(written), "metricsCollectorSpec": collector}))
    return b""


def _series(log: Log, trial: str, spec: ExperimentSpec) -> list[float]:
    try:
        values = [number(each.value) for each in log(trial, spec.objective.metric)]
    except NotFound:
        return []
    return [value for value in values if value is not None][: stopping.steps_needed(spec)]


def _read(name: str, message: bytes) -> Any:
    from google.protobuf.message import DecodeError

    try:
        return messages()[name].FromString(message)
    except DecodeError as error:
        raise InvalidInput(f"the message is no {name}") from error


def _valid(experiment: Any) -> Object:
    """Return an Experiment as it is declared; raise InvalidInput for what no search can begin with."""
    written = experiment.spec
    objective = written.objective
    spec: Object = {
        "objective": {
            "type": GOALS.get(objective.type),
            "objectiveMetricName": objective.objective_metric_name,
            "additionalMetricNames": list(objective.additional_metric_names),
        },
        "algorithm": _algorithm(written.algorithm),
        "parameters": [_parameter(each) for each in written.parameter_specs.parameters],
        "parallelTrialCount": written.parallel_trial_count or None,
        "maxTrialCount": written.max_trial_count or None,
        "trialTemplate": {},
    }
    if written.HasField("early_stopping") and written.early_stopping.algorithm_name:
        spec["earlyStopping"] = _algorithm(written.early_stopping)
    if written.HasField("nas_config"):
        spec["nasConfig"] = _nas(written.nas_config)
    made = defaulted({"metadata": {"name": experiment.name, "uid": experiment.name}, "spec": spec})
    wrong = [] if spec["objective"]["type"] else [("objective.type", "must be MINIMIZE or MAXIMIZE")]
    if "nasConfig" not in spec:
        wrong += list(parameter_faults(spec["parameters"]))
    wrong += list(settings.faults(made["spec"], spec["parameters"], lambda _: False))
    _refuse([*wrong, *early_stopping_faults(made["spec"])])
    return made


def _refuse(wrong: Any) -> None:
    if found := "; ".join(f"{field}: {fault}" for field, fault in wrong):
        raise InvalidInput(found)


def _algorithm(written: Any) -> Object:
    named = [{"name": each.name, "value": each.value} for each in written.algorithm_settings]
    return {"algorithmName": written.algorithm_name, "algorithmSettings": named}


def _parameter(written: Any) -> Object:
    space = written.feasible_space
    kind = TYPES[written.parameter_type - 1] if 0 < written.parameter_type <= len(TYPES) else ""
    if kind not in ("double", "int"):
        return {"name": written.name, "parameterType": kind, "feasibleSpace": {"list": list(space.list)}}
    feasible = {"min": space.min, "max": space.max}
    if space.step:
        feasible["step"] = space.step
    if 0 < space.distribution <= len(DISTRIBUTIONS):
        feasible["distribution"] = DISTRIBUTIONS[space.distribution - 1]
    return {"name": written.name, "parameterType": kind, "feasibleSpace": feasible}


def _nas(written: Any) -> Object:
    graph = written.graph_config
    operations = [
        {
            "operationType": each.operation_type,
            "parameters": [_parameter(one) for one in each.parameter_specs.parameters],
        }
        for each in written.operations.operation
    ]
    sizes = {"inputSizes": list(graph.input_sizes), "outputSizes": list(graph.output_sizes)}
    return {"graphConfig": {"numLayers": graph.num_layers, **sizes}, "operations": operations}


def _assignment(trial: Any) -> Object:
    assigned = [{"name": each.name, "value": each.value} for each in trial.spec.parameter_assignments.assignments]
    labels = {each.key: each.value for each in trial.spec.labels}
    return {"name": trial.name, "parameterAssignments": assigned, **({"labels": labels} if labels else {})}


def _status(trial: Any) -> Object:
    outcome = OUTCOMES.get(trial.status.condition)
    observed = [
        {"name": each.name, "latest": each.value, "min": each.value, "max": each.value}
        for each in trial.status.observation.metrics
    ]
    conditions = [{"type": outcome, "status": "True"}] if outcome else []
    return {"conditions": conditions, "observation": {"metrics": observed}}
