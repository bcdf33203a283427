"""What a pipeline does, as the engine sees it: components, scopes and tasks, checked and linked.

Built once per definition by `ir`, immutable afterwards, shared between threads. A component that is used twice is one
object; tasks below it exist per run, as rows.
"""

import collections.abc
from dataclasses import dataclass, field
from typing import Any

from zeroflow.errors import NotFound
from zeroflow.functions.pipeline.conditions import Expression

MAX_BACKOFF_S = 3600.0
MAX_ITERATIONS = 1_000_000
"""Items of one loop."""


@dataclass(frozen=True)
class ParameterSpec:
    """An input or output parameter; `default` counts only when `has_default`."""

    type: str
    has_default: bool = False
    default: Any = None
    optional: bool = False
    literals: tuple[Any, ...] = ()


@dataclass(frozen=True)
class ArtifactSpec:
    """An input or output artifact."""

    schema_title: str
    schema_version: str
    optional: bool = False
    is_list: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Constant:
    """A value from the definition, perhaps with placeholders."""

    value: Any


@dataclass(frozen=True)
class FromScope:
    """An input of the component that the task belongs to."""

    name: str


@dataclass(frozen=True)
class FromTask:
    """An output of another task of the same scope."""

    task: str
    key: str


@dataclass(frozen=True)
class FinalStatus:
    """How another task of the same scope ended."""

    task: str


@dataclass(frozen=True)
class Member:
    """A member of what another source gives, which may be an object or its JSON text."""

    source: Constant | FromScope | FromTask
    keys: tuple[str, ...]


Source = Constant | FromScope | FromTask | FinalStatus | Member


def producer(source: Source) -> str | None:
    """Return the name of the task that a source depends on."""
    if isinstance(source, Member):
        return producer(source.source)
    return source.task if isinstance(source, FromTask | FinalStatus) else None


@dataclass(frozen=True)
class Iterator:
    """What a ParallelFor goes over: given items, or those of an input."""

    item: str
    """The component's input that takes one item."""
    kind: str
    """`parameter` or `artifact`."""
    source: Constant | FromScope
    """FromScope names an input of the task itself."""
    parallelism: int
    """How many iterations may run side by side; 0 leaves it to the engine."""


@dataclass(frozen=True)
class RetryPolicy:
    """How a failed step is tried again."""

    max_retries: int = 0
    backoff_s: float = 0.0
    factor: float = 2.0
    max_backoff_s: float = MAX_BACKOFF_S

    def delay_ms(self, retry: int) -> int:
        """Return how long to wait before the given retry (the first is 1)."""
        if self.backoff_s <= 0:
            return 0
        growth = self.factor ** min(retry - 1, 64)
        return int(min(self.backoff_s * growth, self.max_backoff_s) * 1000)


@dataclass(frozen=True)
class Component:
    """What a task runs: a scope of tasks, or an executor."""

    name: str
    parameters: dict[str, ParameterSpec]
    artifacts: dict[str, ArtifactSpec]
    output_parameters: dict[str, ParameterSpec]
    output_artifacts: dict[str, ArtifactSpec]
    definitions: dict[str, Any]
    """`inputDefinitions` and `outputDefinitions` as submitted."""
    scope: "Scope | None" = None
    container: dict[str, Any] | None = None
    """The PipelineContainerSpec of an executor, as submitted."""
    importer: dict[str, Any] | None = None
    """The ImporterSpec of an executor, as submitted."""
    platform: "Platform | None" = None
    """What kfp-kubernetes adds to the executor."""
    resources: dict[str, dict[str, str]] = field(default_factory=dict)
    """Limits and requests as Kubernetes spells them, perhaps with placeholders."""
    passthroughs: tuple[tuple[str, bool], ...] = ()
    """Parts of the configuration that the component is handed, and whether its own pod has them too."""
    claim: str = ""
    """`create` or `delete`: the step makes or deletes a PersistentVolumeClaim."""


@dataclass(frozen=True)
class Volume:
    """A volume of a step's pod, and where the step finds it."""

    kind: str
    """The field of a Kubernetes Volume: secret, configMap, persistentVolumeClaim, emptyDir, ephemeral."""
    mount_path: str
    name: str
    """Empty: it is called what `resource` gives."""
    resource: Source | None
    """Gives the name of the Secret, ConfigMap or claim."""
    spec: dict[str, Any]
    """What the field holds besides that name."""
    sub_path: str = ""


@dataclass(frozen=True)
class Scheduling:
    """Which node a step's pod may run on, and as whom."""

    pod: dict[str, Any]
    """Fields of a PodSpec."""
    given: tuple[tuple[str, Source], ...] = ()
    """Fields that the run gives, as JSON."""
    pull_policy: str = ""
    security_context: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Platform:
    """What kfp-kubernetes asks for a step."""

    environment: tuple["FromResource", ...] = ()
    fields: dict[str, str] = field(default_factory=dict)
    """Environment variable -> field path of the pod."""
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    timeout_s: float | None = None
    volumes: tuple[Volume, ...] = ()
    init_containers: tuple[dict[str, Any], ...] = ()
    """As Kubernetes spells them."""
    scheduling: Scheduling | None = None


@dataclass(frozen=True)
class FromResource:
    """Environment variables that come from the keys of a Secret or a ConfigMap."""

    kind: str
    name: Source
    keys: dict[str, str]
    """Environment variable -> key."""
    optional: bool


@dataclass(frozen=True)
class TaskPlan:
    """A task of a scope."""

    name: str
    display_name: str
    component: Component
    parameters: dict[str, Source]
    artifacts: dict[str, Source]
    upstream: tuple[str, ...]
    dependents: tuple[str, ...]
    condition: Expression | None
    enable_cache: bool
    cache_key: str
    retry: RetryPolicy
    iterator: Iterator | None = None
    runs_anyway: bool = False
    """Runs once its upstream is final, however that ended: exit tasks, ignore_upstream_failure."""
    workspace: dict[str, Any] | None = None
    """What is asked of the volume that the run's tasks share; None when the pipeline has none."""


@dataclass(frozen=True)
class Scope:
    """The tasks of a DAG component, and where its outputs come from.

    An output with several sources takes the first whose task succeeded (OneOf).
    """

    tasks: dict[str, TaskPlan]
    parameter_outputs: dict[str, tuple[FromTask, ...]]
    artifact_outputs: dict[str, tuple[FromTask, ...]]
    survivors: frozenset[str] = frozenset()
    """Tasks that a failure elsewhere in the scope does not end: those that run anyway, and what depends on them."""


@dataclass(frozen=True)
class Config:
    """PipelineConfig: what holds for a run as a whole."""

    workspace: dict[str, Any] | None = None
    """Spec of the claim that the run's tasks share, as Kubernetes has it."""
    deadline_s: float | None = None
    """How long a run may take."""
    ttl_s: dict[str, int] = field(default_factory=dict)
    """Seconds after which what a run leaves in the cluster is removed, by how it ended: SUCCEEDED, FAILED."""
    max_active_runs: int | None = None
    """How many runs of this pipeline may go on at the same time; others wait, PENDING."""


@dataclass(frozen=True)
class Plan:
    """A whole pipeline."""

    pipeline_name: str
    display_name: str
    description: str
    default_root: str
    root: Component
    config: Config = field(default_factory=Config)

    def scope(self, path: str) -> Scope:
        """Return the scope of the DAG task with this path; the root's path is empty."""
        component = self.task(path).component if path else self.root
        if component.scope is None:
            raise NotFound(f"task {path!r} has no tasks below it")
        return component.scope

    def task(self, path: str) -> TaskPlan:
        """Return the task with this path; a loop's name may be followed by the number of an iteration."""
        return self._way(path)[-1]

    def retry(self, path: str) -> RetryPolicy:
        """Return the retry policy of a step: its own, or that of the nearest task around it which has one."""
        return next((task.retry for task in reversed(self._way(path)) if task.retry.max_retries), RetryPolicy())

    def _way(self, path: str) -> list[TaskPlan]:
        component, way = self.root, list[TaskPlan]()
        names = iter(path.split("."))
        for name in names:
            found = component.scope.tasks.get(name) if component.scope else None
            if found is None:
                raise NotFound(f"pipeline {self.pipeline_name!r} has no task {path!r}")
            component = found.component
            way.append(found)
            if found.iterator is not None:
                next(names, None)
        return way

    def tasks(self) -> collections.abc.Iterator[TaskPlan]:
        """Yield the root's tasks in the order of the definition."""
        if self.root.scope:
            yield from self.root.scope.tasks.values()
