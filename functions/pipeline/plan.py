"""What a pipeline does, as the engine sees it: components, scopes and tasks, checked and linked.

Built once per definition by `ir`, immutable afterwards, shared between threads. A component that is used twice is one
object; tasks below it exist per run, as rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from zeroflow.errors import NotFound
from zeroflow.functions.pipeline.conditions import Expression

MAX_BACKOFF_S = 3600.0


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


Source = Constant | FromScope | FromTask


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


@dataclass(frozen=True)
class Scope:
    """The tasks of a DAG component, and where its outputs come from.

    An output with several sources takes the first whose task succeeded (OneOf).
    """

    tasks: dict[str, TaskPlan]
    parameter_outputs: dict[str, tuple[FromTask, ...]]
    artifact_outputs: dict[str, tuple[FromTask, ...]]


@dataclass(frozen=True)
class Plan:
    """A whole pipeline."""

    pipeline_name: str
    display_name: str
    description: str
    default_root: str
    root: Component

    def scope(self, path: str) -> Scope:
        """Return the scope of the DAG task with this path; the root's path is empty."""
        component = self.task(path).component if path else self.root
        if component.scope is None:
            raise NotFound(f"task {path!r} has no tasks below it")
        return component.scope

    def task(self, path: str) -> TaskPlan:
        """Return the task with this path."""
        component, found = self.root, None
        for name in path.split("."):
            found = component.scope.tasks.get(name) if component.scope else None
            if found is None:
                raise NotFound(f"pipeline {self.pipeline_name!r} has no task {path!r}")
            component = found.component
        assert found is not None
        return found

    def tasks(self) -> Iterator[TaskPlan]:
        """Yield the root's tasks in the order of the definition."""
        if self.root.scope:
            yield from self.root.scope.tasks.values()
