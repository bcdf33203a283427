"""What a task gets: its sources followed to values, once everything that it depends on is final.

Pure: knows no database. `Values` is what the rows keep as a task's inputs and outputs.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NotRequired, TypedDict

from zeroflow.errors import InvalidInput
from zeroflow.functions.pipeline import expressions, placeholders, pods
from zeroflow.functions.pipeline.expressions import ABSENT
from zeroflow.functions.pipeline.fields import found
from zeroflow.functions.pipeline.parameters import WrongType, typed
from zeroflow.functions.pipeline.plan import (
    Component,
    Constant,
    FinalStatus,
    FromScope,
    FromTask,
    Member,
    ParameterSpec,
    Plan,
    Scope,
    Source,
    TaskPlan,
)


class Values(TypedDict):
    """Parameters by name, and artifacts by name as lists of {id, name, type, uri, sha256, size_bytes, metadata}."""

    parameters: dict[str, Any]
    artifacts: dict[str, list[dict[str, Any]]]
    platform: NotRequired[dict[str, Any]]
    """What kfp-kubernetes asks for a step, with names filled in; never a secret's content."""


class MissingInput(InvalidInput):
    """A required input has no value."""


Outputs = Callable[[str], Values]
"""Gives the outputs of a task of the scope by its name; empty for a task that gave none."""

Status = Callable[[str], dict[str, Any]]
"""Gives the final status of a task of the scope by its name."""


def empty() -> Values:
    """Return no values."""
    return {"parameters": {}, "artifacts": {}}


def of_run(plan: Plan, submitted: Mapping[str, Any]) -> Values:
    """Check what was submitted for the pipeline's own inputs and complete it by defaults."""
    for name in submitted:
        if name not in plan.root.parameters and name not in plan.root.artifacts:
            known = ", ".join(sorted({**plan.root.parameters, **plan.root.artifacts})) or "none"
            raise InvalidInput(f"pipeline {plan.pipeline_name} has no parameter {name!r}; it has: {known}")
    values = empty()
    for name, spec in plan.root.parameters.items():
        value = submitted.get(name)
        if value is None:
            if spec.has_default:
                values["parameters"][name] = spec.default
            elif not spec.optional:
                raise MissingInput(f"pipeline {plan.pipeline_name}: required parameter {name!r} is missing")
        else:
            values["parameters"][name] = _checked(value, spec, f"parameter {name!r}")
    return values


def of_task(
    task: TaskPlan, scope: Values, outputs: Outputs, context: Mapping[str, str], status: Status | None = None
) -> Values:
    """Resolve a task's inputs; raise MissingInput or WrongType naming the input. The item of a loop is left out."""
    item = task.iterator.item if task.iterator else None
    resolved: dict[str, Any] = {}

    def parameter(name: str) -> Any:
        if name not in resolved:
            resolved[name] = _follow(task.parameters[name], scope, outputs, parameter, context, status)
        return None if resolved[name] is ABSENT else resolved[name]

    values = empty()
    for name in dict.fromkeys((*task.parameters, *task.component.parameters)):
        if name == item:
            continue
        if name in task.parameters:
            parameter(name)
        spec = task.component.parameters.get(name)
        value = resolved.get(name, ABSENT)
        if spec is not None:
            value = _for_component(value, spec, f"input {name!r}")
        if value is not ABSENT:
            values["parameters"][name] = value
    for name, artifact in task.component.artifacts.items():
        if name == item:
            continue
        held = _artifacts(task.artifacts[name], scope, outputs) if name in task.artifacts else []
        if not held and not artifact.optional and not artifact.is_list:
            raise MissingInput(f"input {name!r} has no artifact: the task that it comes from gave none")
        if held:
            values["artifacts"][name] = held
    if task.component.container is not None:
        settings, config = pods.asked(
            task,
            {name: value for name, value in resolved.items() if value is not ABSENT} | values["parameters"],
            lambda source: _follow(source, scope, outputs, parameter, context, status),
            context,
        )
        if settings:
            values["platform"] = settings
        if config is not None:
            taken = next(name for name, spec in task.component.parameters.items() if spec.type == "TASK_CONFIG")
            values["parameters"][taken] = config
    return values


def of_item(task: TaskPlan, item: Any) -> Values:
    """Return what one iteration of a loop adds to the loop's inputs."""
    assert task.iterator is not None
    name, values = task.iterator.item, empty()
    if task.iterator.kind == "artifact":
        values["artifacts"][name] = [item]
        return values
    spec = task.component.parameters.get(name)
    # The SDK declares the items of a list that it knows nothing of as strings; what they are shows where they are used.
    plain = spec is None or (spec.type == "STRING" and item is not None)
    value = item if plain or spec is None else _for_component(item, spec, f"loop item {name!r}")
    if value is not ABSENT:
        values["parameters"][name] = value
    return values


def of_loop(component: Component, iterations: Iterable[Values]) -> Values:
    """Collect what iterations gave, in their order: parameters as lists, artifacts as one flat list."""
    values = empty()
    for key in component.output_parameters:
        values["parameters"][key] = []
    for given in iterations:
        for key, value in given["parameters"].items():
            values["parameters"][key].append(value)
        for key, held in given["artifacts"].items():
            values["artifacts"].setdefault(key, []).extend(held)
    return values


def of_scope(component: Component, scope: Scope, outputs: Outputs, succeeded: Callable[[str], bool]) -> Values:
    """Resolve the outputs of a finished DAG; an output of several sources takes the first that succeeded."""
    values = empty()
    for key, sources in scope.parameter_outputs.items():
        for source in sources:
            given = outputs(source.task)["parameters"]
            if succeeded(source.task) and source.key in given:
                spec = component.output_parameters[key]
                values["parameters"][key] = _as_declared(given[source.key], spec.type)
                break
    for key, sources in scope.artifact_outputs.items():
        for source in sources:
            held = outputs(source.task)["artifacts"].get(source.key)
            if succeeded(source.task) and held:
                values["artifacts"][key] = held
                break
    return values


def _as_declared(value: Any, kind: str) -> Any:
    """Spell a value as its type; the SDK declares what goes through a loop or a condition as the list it becomes."""
    try:
        return typed(value, kind, "output")
    except WrongType:
        return value


def _follow(
    source: Source,
    scope: Values,
    outputs: Outputs,
    parameter: Callable[[str], Any],
    context: Mapping[str, str],
    status: Status | None,
) -> Any:
    if isinstance(source, Member):
        return expressions.member(_follow(source.source, scope, outputs, parameter, context, status), source.keys)
    if isinstance(source, FinalStatus):
        assert status is not None
        return status(source.task)
    if isinstance(source, Constant):
        return placeholders.fill(source.value, parameter, context)
    if isinstance(source, FromScope):
        return scope["parameters"].get(source.name, ABSENT)
    return outputs(source.task)["parameters"].get(source.key, ABSENT)


def _artifacts(source: Source, scope: Values, outputs: Outputs) -> list[dict[str, Any]]:
    if isinstance(source, FromScope):
        return scope["artifacts"].get(source.name, [])
    assert isinstance(source, FromTask)
    return outputs(source.task)["artifacts"].get(source.key, [])


def _for_component(value: Any, spec: ParameterSpec, what: str) -> Any:
    if value is ABSENT or value is None:
        if spec.has_default:
            return spec.default
        if not spec.optional:
            raise MissingInput(f"{what} has no value: the task or pipeline input that it comes from gave none")
        return ABSENT
    if spec.type == "STRING" and not isinstance(value, str):
        value = placeholders.as_text(value)
    return _checked(value, spec, what)


def _checked(value: Any, spec: ParameterSpec, what: str) -> Any:
    read = typed(value, spec.type, what)
    if spec.literals and read not in spec.literals:
        raise InvalidInput(f"{what} must be one of {list(spec.literals)}, found {found(read)}")
    return read
