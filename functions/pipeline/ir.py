"""From a submitted PipelineSpec to a `Plan`: every reference followed, every value checked, before anything runs.

Guarantees: what is not supported, dangling, cyclic, missing or of the wrong type raises InvalidInput naming the task
and the fault. Nothing in a definition is ignored silently, except what only describes it.
Source: KFP pipeline_spec.proto, schema versions 2.0.0 and 2.1.0, in its JSON form (camelCase).
"""

import re
from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.functions.pipeline import placeholders
from zeroflow.functions.pipeline import platform as kubernetes
from zeroflow.functions.pipeline.definitions import inputs_of, outputs_of
from zeroflow.functions.pipeline.executors import LIGHTWEIGHT_ENTRY, claim_of, container_of, importer_of
from zeroflow.functions.pipeline.fields import flag, mapping, only, required_text, sequence, text
from zeroflow.functions.pipeline.plan import Component, Config, FinalStatus, FromTask, Member, Plan, Scope, TaskPlan
from zeroflow.functions.pipeline.resources import Resources, resources_of
from zeroflow.functions.pipeline.taskspec import parameter_source, read_task

SCHEMA_VERSIONS = ("2.0.0", "2.1.0")
MAX_NESTING = 40
MAX_TOLD = 5
"""How many of the components around a fault a message names."""
_SPEC_FIELDS = (
    "pipelineInfo", "deploymentSpec", "sdkVersion", "schemaVersion", "components", "root", "defaultPipelineRoot",
)  # fmt: skip
_COMPONENT_FIELDS = (
    "inputDefinitions", "outputDefinitions", "dag", "executorLabel", "singlePlatformSpecs", "taskConfigPassthroughs",
)  # fmt: skip
PASSTHROUGHS = (
    "NONE", "RESOURCES", "ENV", "KUBERNETES_AFFINITY", "KUBERNETES_TOLERATIONS", "KUBERNETES_NODE_SELECTOR",
    "KUBERNETES_VOLUMES",
)  # fmt: skip
_PIPELINE_NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,126}[a-z0-9])?$")
_TASK_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$")


def plan_of(document: dict[str, Any]) -> Plan:
    """Build the plan of a submitted definition: a PipelineSpec, or {pipeline_spec, platform_spec}."""
    spec, platform = document, None
    if "pipeline_spec" in document or "platform_spec" in document:
        only(document, ("pipeline_spec", "platform_spec"), "the pipeline definition")
        spec = mapping(document.get("pipeline_spec"), "pipeline_spec")
        platform = mapping(document.get("platform_spec"), "platform_spec")
    return _Reader(spec).read(platform)


class _Reader:
    def __init__(self, spec: dict[str, Any]) -> None:
        only(spec, _SPEC_FIELDS, "the pipeline definition")
        self.spec = spec
        self.components = mapping(spec.get("components"), "components")
        deployment = mapping(spec.get("deploymentSpec"), "deploymentSpec")
        self.executors = mapping(deployment.get("executors"), "deploymentSpec.executors")
        self.configured: dict[str, dict[str, Any]] = {}
        self.config = Config()
        self.built: dict[str, Component] = {}
        self.reading: list[str] = []

    def read(self, platform: dict[str, Any] | None) -> Plan:
        version = required_text(self.spec.get("schemaVersion"), "schemaVersion")
        if version not in SCHEMA_VERSIONS:
            raise InvalidInput(f"schemaVersion {version!r} is unknown; expected one of {', '.join(SCHEMA_VERSIONS)}")
        info = mapping(self.spec.get("pipelineInfo"), "pipelineInfo")
        name = required_text(info.get("name"), "pipelineInfo.name")
        if not _PIPELINE_NAME.match(name):
            raise InvalidInput(f"pipelineInfo.name {name!r} must be 1-128 of a-z, 0-9 and '-', beginning with a letter")
        if "root" not in self.spec:
            raise InvalidInput("the pipeline definition has no root")
        self.configured, self.config = kubernetes.executors_of(platform), kubernetes.config_of(platform)
        root = self.component("root", mapping(self.spec["root"], "root"))
        if root.scope is None or not root.scope.tasks:
            raise InvalidInput("the pipeline has no tasks")
        return Plan(
            name,
            text(info.get("displayName"), "pipelineInfo.displayName") or name,
            text(info.get("description"), "pipelineInfo.description"),
            text(self.spec.get("defaultPipelineRoot"), "defaultPipelineRoot"),
            root,
            self.config,
        )

    def reference(self, name: str, where: str) -> Component:
        if name in self.built:
            return self.built[name]
        if name not in self.components:
            raise InvalidInput(f"{where} refers to component {name!r}, which is not defined")
        if name in self.reading:
            raise InvalidInput(f"{where}: component {name!r} contains itself")
        if len(self.reading) >= MAX_NESTING:
            raise InvalidInput(f"{where}: components are nested more than {MAX_NESTING} deep")
        self.reading.append(name)
        try:
            self.built[name] = self.component(name, mapping(self.components[name], f"component {name}"))
        except InvalidInput as error:  # the way to the fault, as far as it helps
            raise error if len(self.reading) > MAX_TOLD else InvalidInput(f"{where}: {error}") from error
        self.reading.pop()
        return self.built[name]

    def component(self, name: str, spec: dict[str, Any]) -> Component:
        where = "root" if name == "root" else f"component {name}"
        only(spec, _COMPONENT_FIELDS, where)
        if spec.get("singlePlatformSpecs"):
            raise InvalidInput(f"{where}: singlePlatformSpecs is not supported yet")
        parameters, artifacts = inputs_of(mapping(spec.get("inputDefinitions"), f"{where}.inputDefinitions"), where)
        outputs, output_artifacts = outputs_of(
            mapping(spec.get("outputDefinitions"), f"{where}.outputDefinitions"), where
        )
        scope = container = importer = platform = None
        resources: Resources = {}
        if "dag" in spec:
            scope = self.scope(mapping(spec["dag"], f"{where}.dag"), where, (parameters, artifacts))
        else:
            label = required_text(spec.get("executorLabel"), f"{where}: a dag or an executorLabel")
            if label not in self.executors:
                raise InvalidInput(f"{where} needs executor {label!r}, which deploymentSpec does not define")
            executor = mapping(self.executors[label], f"executor {label}")
            if "importer" in executor:
                importer = importer_of(executor, where)
                _check_importer(importer, parameters, output_artifacts, where)
            else:
                container = container_of(executor, where)
                resources = resources_of(container, where)
            platform = kubernetes.read(
                self.configured.get(label, {}), where, lambda given, place: parameter_source(given, None, place)
            )
            for key, artifact in output_artifacts.items():
                if artifact.is_list:
                    raise InvalidInput(f"{where}: output {key} is a list of artifacts, which only a pipeline can give")
        definitions: dict[str, Any] = {
            key: spec[key] for key in ("inputDefinitions", "outputDefinitions") if key in spec
        }
        component = Component(
            name,
            parameters,
            artifacts,
            outputs,
            output_artifacts,
            definitions,
            scope,
            container,
            importer,
            platform,
            resources,
            _passthroughs(spec.get("taskConfigPassthroughs"), where),
            claim_of(container) if container else "",
        )
        _check_outputs(component, where)
        _check_command(component, where)
        return component

    def scope(self, spec: dict[str, Any], where: str, inputs: tuple[Any, Any]) -> Scope:
        only(spec, ("tasks", "outputs"), f"{where}.dag")
        tasks: dict[str, TaskPlan] = {}
        for name, task in mapping(spec.get("tasks"), f"{where}.dag.tasks").items():
            if not _TASK_NAME.match(name):
                raise InvalidInput(f"{where}: task name {name!r} must be 1-128 letters, digits, '-' and '_'")
            tasks[name] = read_task(name, mapping(task, f"task {name}"), inputs, self.reference, self.config.workspace)
        _check_sources(tasks)
        _check_order(tasks)
        outputs = mapping(spec.get("outputs"), f"{where}.dag.outputs")
        only(outputs, ("parameters", "artifacts"), f"{where}.dag.outputs")
        return Scope(
            _linked(tasks),
            {
                key: _selectors(value, f"{where}: output {key}", "outputParameterKey", tasks)
                for key, value in mapping(outputs.get("parameters"), f"{where}: output parameters").items()
            },
            {
                key: _selectors(value, f"{where}: output {key}", "outputArtifactKey", tasks)
                for key, value in mapping(outputs.get("artifacts"), f"{where}: output artifacts").items()
            },
            _survivors(tasks),
        )


def _passthroughs(value: Any, where: str) -> tuple[tuple[str, bool], ...]:
    found = []
    for item in sequence(value, f"{where}: taskConfigPassthroughs"):
        spec = mapping(item, f"{where}: taskConfigPassthroughs")
        only(spec, ("field", "applyToTask"), f"{where}: taskConfigPassthroughs")
        field = required_text(spec.get("field"), f"{where}: taskConfigPassthroughs: field")
        if field not in PASSTHROUGHS:
            raise InvalidInput(f"{where}: taskConfigPassthroughs: field {field!r} is unknown")
        found.append((field, flag(spec.get("applyToTask"), f"{where}: applyToTask")))
    return tuple(found)


def _check_sources(tasks: dict[str, TaskPlan]) -> None:
    """Follow each reference to another task, now that all of them are known."""
    for task in tasks.values():
        for name in task.upstream:
            if name not in tasks:
                raise InvalidInput(f"task {task.name} depends on task {name!r}, which is not in its scope")
        for kind, sources in (("parameter", task.parameters), ("artifact", task.artifacts)):
            for key, given in sources.items():
                source = given.source if isinstance(given, Member) else given
                if isinstance(source, FinalStatus) and source.task not in tasks:
                    raise InvalidInput(
                        f"task {task.name}: input {key} is the status of {source.task!r}, which is not in its scope"
                    )
                if isinstance(source, FromTask):
                    _check_output(tasks, source, kind, f"task {task.name}: input {key}")


def _check_output(tasks: dict[str, TaskPlan], source: FromTask, kind: str, where: str) -> None:
    if source.task not in tasks:
        raise InvalidInput(f"{where} comes from task {source.task!r}, which is not in its scope")
    component = tasks[source.task].component
    known = component.output_parameters if kind == "parameter" else component.output_artifacts
    if source.key not in known:
        raise InvalidInput(f"{where} comes from {kind} {source.key!r} of task {source.task}, which it does not give")


def _check_order(tasks: dict[str, TaskPlan]) -> None:
    """Refuse a cycle, naming the tasks on it."""
    waiting = {name: len(task.upstream) for name, task in tasks.items()}
    dependents = _dependents(tasks)
    ready = [name for name, count in waiting.items() if count == 0]
    while ready:
        name = ready.pop()
        del waiting[name]
        for dependent in dependents[name]:
            waiting[dependent] -= 1
            if waiting[dependent] == 0:
                ready.append(dependent)
    if waiting:
        walked, name = [], next(iter(waiting))
        while name not in walked:
            walked.append(name)
            name = next(up for up in tasks[name].upstream if up in waiting)
        cycle = [*walked[walked.index(name) :], name]
        raise InvalidInput(f"tasks depend on each other in a cycle: {' <- '.join(cycle)}")


def _dependents(tasks: dict[str, TaskPlan]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {name: [] for name in tasks}
    for task in tasks.values():
        for name in task.upstream:
            found[name].append(task.name)
    return found


def _linked(tasks: dict[str, TaskPlan]) -> dict[str, TaskPlan]:
    dependents = _dependents(tasks)
    return {name: TaskPlan(**{**task.__dict__, "dependents": tuple(dependents[name])}) for name, task in tasks.items()}


def _selectors(value: Any, where: str, key: str, tasks: dict[str, TaskPlan]) -> tuple[FromTask, ...]:
    spec = mapping(value, where)
    only(spec, ("valueFromParameter", "valueFromOneof", "artifactSelectors"), where)
    if "valueFromParameter" in spec:
        chosen = [spec["valueFromParameter"]]
    elif "valueFromOneof" in spec:
        chosen = sequence(mapping(spec["valueFromOneof"], where).get("parameterSelectors"), where)
    else:
        chosen = sequence(spec.get("artifactSelectors"), where)
    if not chosen:
        raise InvalidInput(f"{where} has no source")
    sources = []
    for item in chosen:
        selector = mapping(item, where)
        source = FromTask(
            required_text(selector.get("producerSubtask"), where), required_text(selector.get(key), where)
        )
        _check_output(tasks, source, "parameter" if key == "outputParameterKey" else "artifact", where)
        sources.append(source)
    return tuple(sources)


def _check_outputs(component: Component, where: str) -> None:
    if component.scope is None:
        return
    for kind, declared, given in (
        ("parameter", component.output_parameters, component.scope.parameter_outputs),
        ("artifact", component.output_artifacts, component.scope.artifact_outputs),
    ):
        for key in given:
            if key not in declared:
                raise InvalidInput(f"{where} gives {kind} {key!r}, which its outputDefinitions do not declare")
        for key in declared:
            if key not in given:
                raise InvalidInput(f"{where} declares output {kind} {key!r}, which none of its tasks gives")


def _check_command(component: Component, where: str) -> None:
    """Refuse a command that names an input which the component does not have; in a Python source it is only a text."""
    container = component.container or {}
    words = [*(container.get("command") or ()), *(container.get("args") or ())]
    if any(LIGHTWEIGHT_ENTRY in word for word in words):
        return
    for expression in placeholders.expressions(words):
        name = placeholders.parameter_of(expression)
        if name is not None and name not in component.parameters:
            raise InvalidInput(f"{where}: its command names input {name!r}, which it does not have")


def _survivors(tasks: dict[str, TaskPlan]) -> frozenset[str]:
    """Return the tasks that run anyway, and all that depends on them."""
    dependents = _dependents(tasks)
    found, reached = set[str](), [name for name, task in tasks.items() if task.runs_anyway]
    while reached:
        name = reached.pop()
        if name not in found:
            found.add(name)
            reached += dependents[name]
    return frozenset(found)


def _check_importer(importer: dict[str, Any], parameters: Any, artifacts: Any, where: str) -> None:
    if len(artifacts) != 1:
        raise InvalidInput(f"{where}: an importer gives one artifact, found {len(artifacts)}")
    named = importer["artifactUri"].get("runtimeParameter")
    if named and named not in parameters:
        raise InvalidInput(f"{where}: its artifactUri is {named!r}, which is no input of the importer")
    placeholders.check([importer.get("metadata"), importer["artifactUri"]], parameters, where)
