"""One task of a DAG: its inputs against its component's definitions, its policies."""

import json
import re
from collections.abc import Callable
from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.functions.pipeline import placeholders
from zeroflow.functions.pipeline.conditions import Expression, parse
from zeroflow.functions.pipeline.fields import flag, found, mapping, only, required_text, sequence, text
from zeroflow.functions.pipeline.parameters import from_proto, typed
from zeroflow.functions.pipeline.plan import (
    MAX_BACKOFF_S,
    ArtifactSpec,
    Component,
    Constant,
    FromScope,
    FromTask,
    ParameterSpec,
    RetryPolicy,
    Source,
    TaskPlan,
)

Reference = Callable[[str, str], Component]
"""Finds a component by name; the second text says who asks."""

_FIELDS = (
    "taskInfo", "inputs", "dependentTasks", "cachingOptions", "componentRef", "triggerPolicy", "artifactIterator",
    "parameterIterator", "retryPolicy", "iteratorPolicy",
)  # fmt: skip
_CONDITION_INPUT = re.compile(r"parameter(?:_value)?s\[(['\"])(.+?)\1\]")


def read_task(
    name: str,
    spec: dict[str, Any],
    scope_inputs: tuple[dict[str, ParameterSpec], dict[str, ArtifactSpec]],
    reference: Reference,
) -> TaskPlan:
    """Read a task; its references to other tasks are checked when all of them are known."""
    where = f"task {name}"
    only(spec, _FIELDS, where)
    if "parameterIterator" in spec or "artifactIterator" in spec:
        raise InvalidInput(f"{where}: ParallelFor{_loop_items(spec)} is not supported yet")
    component = reference(
        required_text(mapping(spec.get("componentRef"), where).get("name"), f"{where}: component"), where
    )
    inputs = mapping(spec.get("inputs"), f"{where}: inputs")
    only(inputs, ("parameters", "artifacts"), f"{where}: inputs")
    given = mapping(inputs.get("parameters"), f"{where}: input parameters")
    parameters = {key: _parameter(value, scope_inputs[0], f"{where}: input {key}") for key, value in given.items()}
    artifacts = {
        key: _artifact(value, scope_inputs[1], f"{where}: input {key}")
        for key, value in mapping(inputs.get("artifacts"), f"{where}: input artifacts").items()
    }
    condition, condition_text = condition_of(spec, where)
    _check_parameters(component, parameters, condition_text, where)
    _check_artifacts(component, artifacts, where)
    dependent = [text(item, f"{where}: dependentTasks") for item in sequence(spec.get("dependentTasks"), where)]
    producers = [source.task for source in (*parameters.values(), *artifacts.values()) if isinstance(source, FromTask)]
    caching = mapping(spec.get("cachingOptions"), f"{where}: cachingOptions")
    return TaskPlan(
        name=name,
        display_name=text(mapping(spec.get("taskInfo"), where).get("name"), f"{where}: taskInfo.name") or name,
        component=component,
        parameters=parameters,
        artifacts=artifacts,
        upstream=tuple(dict.fromkeys([*dependent, *producers])),
        dependents=(),
        condition=condition,
        enable_cache=flag(caching.get("enableCache"), f"{where}: enableCache"),
        cache_key=text(caching.get("cacheKey"), f"{where}: cacheKey"),
        retry=_retry(mapping(spec.get("retryPolicy"), f"{where}: retryPolicy"), where),
    )


def condition_of(spec: dict[str, Any], where: str) -> tuple[Expression | None, str]:
    """Read a task's trigger policy: the condition and its text."""
    policy = mapping(spec.get("triggerPolicy"), f"{where}: triggerPolicy")
    only(policy, ("condition", "strategy"), f"{where}: triggerPolicy")
    if policy.get("strategy", "ALL_UPSTREAM_TASKS_SUCCEEDED") not in (
        "ALL_UPSTREAM_TASKS_SUCCEEDED",
        "TRIGGER_STRATEGY_UNSPECIFIED",
    ):
        raise InvalidInput(f"{where}: exit handlers and ignore_upstream_failure are not supported yet")
    source = text(policy.get("condition"), f"{where}: condition")
    try:
        return (parse(source) if source else None), source
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}") from error


def _parameter(value: Any, known: dict[str, ParameterSpec], where: str) -> Source:
    spec = mapping(value, where)
    if spec.get("parameterExpressionSelector"):
        raise InvalidInput(f"{where}: a parameter expression selector is not supported yet")
    if "taskFinalStatus" in spec:
        raise InvalidInput(f"{where}: the final status of a task (PipelineTaskFinalStatus) is not supported yet")
    if "componentInputParameter" in spec:
        name = required_text(spec["componentInputParameter"], where)
        if name not in known:
            raise InvalidInput(f"{where} comes from pipeline input {name!r}, which is not defined")
        return FromScope(name)
    if "taskOutputParameter" in spec:
        output = mapping(spec["taskOutputParameter"], where)
        return FromTask(
            required_text(output.get("producerTask"), f"{where}: producerTask"),
            required_text(output.get("outputParameterKey"), f"{where}: outputParameterKey"),
        )
    runtime = mapping(spec.get("runtimeValue"), where)
    if "runtimeParameter" in runtime:
        name = required_text(runtime["runtimeParameter"], where)
        if name not in known:
            raise InvalidInput(f"{where} comes from pipeline input {name!r}, which is not defined")
        return FromScope(name)
    if "constant" in runtime:
        return Constant(from_proto(runtime["constant"]))
    raise InvalidInput(f"{where} has no source")


def _artifact(value: Any, known: dict[str, ArtifactSpec], where: str) -> Source:
    spec = mapping(value, where)
    if "componentInputArtifact" in spec:
        name = required_text(spec["componentInputArtifact"], where)
        if name not in known:
            raise InvalidInput(f"{where} comes from pipeline input {name!r}, which is not defined")
        return FromScope(name)
    output = mapping(spec.get("taskOutputArtifact"), where)
    return FromTask(
        required_text(output.get("producerTask"), f"{where}: producerTask"),
        required_text(output.get("outputArtifactKey"), f"{where}: outputArtifactKey"),
    )


def _check_parameters(component: Component, given: dict[str, Source], condition: str, where: str) -> None:
    extra = [name for name in given if name not in component.parameters]
    if extra:
        named = {match[2] for match in _CONDITION_INPUT.finditer(condition)}
        sources = [source.value for source in given.values() if isinstance(source, Constant)]
        for expression in placeholders.expressions([*sources, json.loads(json.dumps(component.container))]):
            named.add(placeholders.parameter_of(expression) or "")
        for name in extra:
            if name not in named:
                raise InvalidInput(f"{where} gives parameter {name!r}, which component {component.name} does not take")
    for match in _CONDITION_INPUT.finditer(condition):
        if match[2] not in given:
            raise InvalidInput(f"{where}: its condition needs {match[2]!r}, which is no input of the task")
    for name, source in given.items():
        if isinstance(source, Constant):
            placeholders.check(source.value, given, f"{where}: input {name}")
            _check_no_template_of_templates(source.value, given, f"{where}: input {name}")
            _check_constant(component.parameters.get(name), source.value, f"{where}: input {name}")
    for name, spec in component.parameters.items():
        if name not in given and not spec.optional and not spec.has_default:
            raise InvalidInput(f"{where}: required parameter {name!r} of component {component.name} is missing")


def _check_no_template_of_templates(value: Any, given: dict[str, Source], where: str) -> None:
    for expression in placeholders.expressions(value):
        source = given.get(placeholders.parameter_of(expression) or "")
        if isinstance(source, Constant) and any(placeholders.expressions(source.value)):
            raise InvalidInput(
                f"{where}: placeholder {{{{${expression}}}}} stands for an input with placeholders itself"
            )


def _check_constant(spec: ParameterSpec | None, value: Any, where: str) -> None:
    if spec is None or value is None or (isinstance(value, str) and "{{$" in value):
        return
    typed(value, spec.type, where)
    if spec.literals and value not in spec.literals and not any(placeholders.expressions(value)):
        raise InvalidInput(f"{where} must be one of {list(spec.literals)}, found {found(value)}")


def _check_artifacts(component: Component, given: dict[str, Source], where: str) -> None:
    for name in given:
        if name not in component.artifacts:
            raise InvalidInput(f"{where} gives artifact {name!r}, which component {component.name} does not take")
    for name, spec in component.artifacts.items():
        if name not in given and not spec.optional:
            raise InvalidInput(f"{where}: required artifact {name!r} of component {component.name} is missing")


def _retry(spec: dict[str, Any], where: str) -> RetryPolicy:
    only(spec, ("maxRetryCount", "backoffDuration", "backoffFactor", "backoffMaxDuration"), f"{where}: retryPolicy")
    count, factor = spec.get("maxRetryCount", 0), spec.get("backoffFactor", 2.0)
    if isinstance(count, bool) or not isinstance(count, int | float) or count != int(count) or not 0 <= count <= 10_000:
        raise InvalidInput(f"{where}: maxRetryCount must be a whole number from 0 to 10000, found {found(count)}")
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 <= factor <= 1e6:
        raise InvalidInput(f"{where}: backoffFactor must be a number from 0 to 1e6, found {found(factor)}")
    return RetryPolicy(
        int(count),
        _duration_s(spec.get("backoffDuration"), 0.0, f"{where}: backoffDuration"),
        float(factor) or 2.0,
        _duration_s(spec.get("backoffMaxDuration"), MAX_BACKOFF_S, f"{where}: backoffMaxDuration"),
    )


def _duration_s(value: Any, absent: float, where: str) -> float:
    if value is None:
        return absent
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)s", text(value, where))
    if match is None:
        raise InvalidInput(f"{where} must be seconds such as '1.5s', found {found(value)}")
    return float(match[1])


def _loop_items(spec: dict[str, Any]) -> str:
    iterator = mapping(spec.get("parameterIterator") or spec.get("artifactIterator"), "iterator")
    items = mapping(iterator.get("items"), "iterator items")
    named = items.get("inputParameter") or items.get("inputArtifact") or items.get("raw")
    shown = str(named or "")
    return f" over {shown if len(shown) <= 60 else shown[:57] + '...'}" if named else ""
