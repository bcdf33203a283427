"""The task that an event asks for: `dev.zeroflow.task.requested`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zeroflow.errors import InvalidInput

_TASK_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$")


@dataclass(frozen=True)
class Attempt:
    """Which attempt at which task; its words are safe in a file name."""

    run_id: str
    task_id: str
    attempt: int

    @property
    def key(self) -> str:
        """The attempt's name among all attempts."""
        return f"{self.task_id}.{self.attempt}"

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "Attempt":
        """Read which attempt is meant; raise InvalidInput when that cannot be told."""
        run_id, task_id, attempt = data.get("run_id"), data.get("task_id"), data.get("attempt")
        if not isinstance(run_id, str) or not run_id:
            raise InvalidInput(f"run_id must be a non-empty string, got {run_id!r}")
        if not isinstance(task_id, str) or not _TASK_ID.match(task_id):
            raise InvalidInput(f"task_id must be 1-128 letters, digits, '-' or '_', got {task_id!r}")
        if not isinstance(attempt, int) or isinstance(attempt, bool) or attempt < 0:
            raise InvalidInput(f"attempt must be a whole number, got {attempt!r}")
        return cls(run_id, task_id, attempt)


@dataclass(frozen=True)
class Task:
    """What to run, what it gets, and where its outputs and its log go."""

    name: str
    executor: Mapping[str, Any]
    """The IR's PipelineContainerSpec."""
    component: Mapping[str, Any]
    """`inputDefinitions` and `outputDefinitions` of the IR's ComponentSpec."""
    executor_input: Mapping[str, Any]
    """KFP's ExecutorInput; artifacts have their real URIs, parameters no output files yet."""
    log_uri: str
    timeout_s: float | None
    namespace: str = "default"
    platform: Mapping[str, Any] = field(default_factory=dict)
    """What kfp-kubernetes asks for, with names filled in."""
    context: Mapping[str, str] = field(default_factory=dict)
    """run_name, run_id, task_name, task_id, pipeline_root, created_at: what placeholders stand for."""

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "Task":
        """Read the task; raise InvalidInput naming the field at fault."""
        timeout_s = data.get("timeout_s")
        if timeout_s is not None and (isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float)):
            raise InvalidInput(f"timeout_s must be a number of seconds or null, got {timeout_s!r}")
        return cls(
            name=_field(data, "task_name", str),
            executor=_field(data, "executor", dict),
            component=_field(data, "component", dict),
            executor_input=_field(data, "executor_input", dict),
            log_uri=_field(data, "log_uri", str),
            timeout_s=timeout_s if timeout_s and timeout_s > 0 else None,
            namespace=str(data.get("namespace") or "default"),
            platform=_field(data, "platform", dict) if data.get("platform") else {},
            context=_field(data, "context", dict) if data.get("context") else {},
        )


def _field(data: Mapping[str, Any], name: str, kind: type) -> Any:
    value = data.get(name)
    if not isinstance(value, kind):
        expected = {"dict": "a JSON object", "str": "a string"}[kind.__name__]
        raise InvalidInput(f"{name} must be {expected}, got {type(value).__name__}")
    return value
