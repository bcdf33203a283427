"""One task of a DAG: its inputs against its component's definitions, its policies."""

import json
import re
from collections.abc import Callable
from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.functions.pipeline import expressions, placeholders, platform
from zeroflow.functions.pipeline.conditions import Expression, parse
from zeroflow.functions.pipeline.fields import flag, found, mapping, only, required_text, sequence, text
from zeroflow.functions.pipeline.parameters import from_proto, typed
from zeroflow.functions.pipeline.plan import (
    MAX_BACKOFF_S,
    MAX_ITERATIONS,
    ArtifactSpec,
    Component,
    Constant,
    FinalStatus,
    FromScope,
    FromTask,
    Iterator,
    Member,
    ParameterSpec,
    RetryPolicy,
    Source,
    TaskPlan,
    producer,
)

Reference = Callable[[str, str], Component]
"""Finds a component by name; the second text says who asks."""

_FIELDS = (
    "taskInfo", "inputs", "dependentTasks", "cachingOptions", "componentRef", "triggerPolicy", "artifactIterator",
    "parameterIterator", "retryPolicy", "iteratorPolicy",
)  # fmt: skip
SDK_ONLY = {
    "cpu_limit", "cpu_request", "memory_limit", "memory_request", "accelerator_type", "accelerator_count",
    "container_image",
}  # fmt: skip
"""Inputs that the SDK adds to a task whose resources come from parameters, beside the placeholders that count."""
ANYWAY = "ALL_UPSTREAM_TASKS_COMPLETED"
MAX_PARALLELISM = 1_000_000
_CONDITION_INPUT = re.compile(r"parameter(?:_value)?s\[(['\"])(.+?)\1\]")


def read_task(
    name: str,
    spec: dict[str, Any],
    scope_inputs: tuple[dict[str, ParameterSpec], dict[str, ArtifactSpec]],
    reference: Reference,
    workspace: dict[str, Any] | None = None,
) -> TaskPlan:
    """Read a task; its references to other tasks are checked when all of them are known."""
    where = f"task {name}"
    only(spec, _FIELDS, where)
    component = reference(
        required_text(mapping(spec.get("componentRef"), where).get("name"), f"{where}: component"), where
    )
    inputs = mapping(spec.get("inputs"), f"{where}: inputs")
    only(inputs, ("parameters", "artifacts"), f"{where}: inputs")
    given = mapping(inputs.get("parameters"), f"{where}: input parameters")
    parameters = {
        key: parameter_source(value, scope_inputs[0], f"{where}: input {key}") for key, value in given.items()
    }
    artifacts = {
        key: _artifact(value, scope_inputs[1], f"{where}: input {key}")
        for key, value in mapping(inputs.get("artifacts"), f"{where}: input artifacts").items()
    }
    condition, condition_text = condition_of(spec, where)
    loop = _iterator(spec, component, parameters, artifacts, where)
    _check_parameters(component, parameters, condition_text, loop, where)
    _check_artifacts(component, artifacts, loop, where)
    dependent = [text(item, f"{where}: dependentTasks") for item in sequence(spec.get("dependentTasks"), where)]
    named = platform.sources_of(component.platform)
    for source in named:
        if isinstance(source, FromScope) and source.name not in scope_inputs[0]:
            raise InvalidInput(f"{where}: its kubernetes settings need input {source.name!r}, which is not defined")
    constants = [source.value for source in parameters.values() if isinstance(source, Constant)]
    if workspace is None and ".workspace_path" in placeholders.expressions([constants, component.container or {}]):
        raise InvalidInput(
            f"{where} needs a workspace, which the pipeline does not ask for: PipelineConfig(workspace=...)"
        )
    sources = (*parameters.values(), *artifacts.values(), *named)
    producers = [task for source in sources if (task := producer(source)) is not None]
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
        iterator=loop,
        runs_anyway=mapping(spec.get("triggerPolicy"), where).get("strategy") == ANYWAY,
        workspace=workspace,
    )


def condition_of(spec: dict[str, Any], where: str) -> tuple[Expression | None, str]:
    """Read a task's trigger policy: the condition and its text."""
    policy = mapping(spec.get("triggerPolicy"), f"{where}: triggerPolicy")
    only(policy, ("condition", "strategy"), f"{where}: triggerPolicy")
    strategy = policy.get("strategy", "TRIGGER_STRATEGY_UNSPECIFIED")
    if strategy not in ("ALL_UPSTREAM_TASKS_SUCCEEDED", ANYWAY, "TRIGGER_STRATEGY_UNSPECIFIED"):
        raise InvalidInput(f"{where}: the trigger strategy {found(strategy)} is unknown")
    source = text(policy.get("condition"), f"{where}: condition")
    try:
        return (parse(source) if source else None), source
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}") from error


def parameter_source(value: Any, known: dict[str, ParameterSpec] | None, where: str) -> Source:
    """Read where a parameter comes from; `known` are the inputs of the scope, None when they are not known yet."""
    spec = mapping(value, where)
    if selector := text(spec.get("parameterExpressionSelector"), where):
        rest = {key: item for key, item in spec.items() if key != "parameterExpressionSelector"}
        source = parameter_source(rest, known, where)
        if isinstance(source, FinalStatus | Member):
            raise InvalidInput(f"{where}: an expression selector needs a parameter")
        return Member(source, expressions.keys_of(selector, where))
    if "taskFinalStatus" in spec:
        status = mapping(spec["taskFinalStatus"], where)
        return FinalStatus(required_text(status.get("producerTask"), f"{where}: producerTask"))
    if "componentInputParameter" in spec:
        name = required_text(spec["componentInputParameter"], where)
        if known is not None and name not in known:
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
        if known is not None and name not in known:
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


def _check_parameters(
    component: Component, given: dict[str, Source], condition: str, loop: Iterator | None, where: str
) -> None:
    extra = [name for name in given if name not in component.parameters]
    if extra:
        named = {loop.source.name} if loop and isinstance(loop.source, FromScope) else set()
        named |= SDK_ONLY
        named |= {match[2] for match in _CONDITION_INPUT.finditer(condition)}
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
        if name not in given and not spec.optional and not spec.has_default and not (loop and loop.item == name):
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


def _check_artifacts(component: Component, given: dict[str, Source], loop: Iterator | None, where: str) -> None:
    items = loop.source.name if loop and isinstance(loop.source, FromScope) else None
    for name in given:
        if name not in component.artifacts and name != items:
            raise InvalidInput(f"{where} gives artifact {name!r}, which component {component.name} does not take")
    for name, spec in component.artifacts.items():
        if name not in given and not spec.optional and not (loop and loop.item == name):
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


def _iterator(
    spec: dict[str, Any],
    component: Component,
    parameters: dict[str, Source],
    artifacts: dict[str, Source],
    where: str,
) -> Iterator | None:
    policy = mapping(spec.get("iteratorPolicy"), f"{where}: iteratorPolicy")
    only(policy, ("parallelismLimit",), f"{where}: iteratorPolicy")
    limit = policy.get("parallelismLimit", 0)
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 <= limit <= MAX_PARALLELISM:
        raise InvalidInput(f"{where}: parallelismLimit must be a whole number, found {found(limit)}")
    if not ("parameterIterator" in spec or "artifactIterator" in spec):
        return None
    if component.scope is None:
        raise InvalidInput(f"{where}: a loop over a single executor is not supported; ParallelFor makes a scope of it")
    kind = "parameter" if "parameterIterator" in spec else "artifact"
    loop = mapping(spec[f"{kind}Iterator"], f"{where}: its iterator")
    item = required_text(loop.get("itemInput"), f"{where}: itemInput")
    items = mapping(loop.get("items"), f"{where}: items")
    if item not in (component.parameters if kind == "parameter" else component.artifacts):
        raise InvalidInput(f"{where}: its itemInput {item!r} is no {kind} input of component {component.name}")
    if kind == "parameter" and "raw" in items:
        raw = text(items["raw"], f"{where}: items")
        try:
            values = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"{where}: its items are not JSON: {error}") from error
        if len(sequence(values, f"{where}: items")) > MAX_ITERATIONS:
            raise InvalidInput(
                f"{where}: it loops over {len(values)} items; more than {MAX_ITERATIONS} are not supported"
            )
        placeholders.check(values, parameters, f"{where}: items")
        return Iterator(item, kind, Constant(sequence(values, f"{where}: items")), int(limit))
    name = required_text(items.get("inputParameter" if kind == "parameter" else "inputArtifact"), f"{where}: items")
    if name not in (parameters if kind == "parameter" else artifacts):
        raise InvalidInput(f"{where}: it iterates over {name!r}, which is no input of the task")
    return Iterator(item, kind, FromScope(name), int(limit))
