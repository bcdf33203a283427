"""What was made and is to be registered: the data of `dev.zeroflow.model.produced`, checked.

The event comes from `pipeline` when a task's system.Model output asks for registration with `register_as` in its
metadata. Guarantees: what cannot be registered is refused with the name of the field at fault, before anything is done.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.functions.register.bodies import check_text, json_type
from zeroflow.functions.register.documents import MAX_URI_BYTES
from zeroflow.functions.register.properties import INT64, MAX_NAME

Scalar = str | int | float | bool
Node = tuple[str, str]
"""(type, id) in the lineage graph."""

PRODUCED = "dev.zeroflow.model.produced"


@dataclass(frozen=True)
class Input:
    """An artifact that the maker read."""

    artifact_id: str | None
    """None: whatever is recorded at the location."""
    name: str
    uri: str
    sha256: str | None


@dataclass(frozen=True)
class Maker:
    """What made a model: what official clients show as its source, and its node of the lineage graph."""

    node: Node
    source: Mapping[str, str]
    """The modelSource... fields of the model artifact."""
    actor: str
    told: Mapping[str, Scalar]
    """Custom properties of the version."""
    container: Node | None = None
    """The run of a task, the experiment of a trial."""
    run_id: str | None = None
    task_name: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelProduced:
    """A model that is to become a version."""

    artifact_id: str
    name: str
    uri: str
    sha256: str | None
    size_bytes: int | None
    namespace: str
    register_as: str
    maker: Maker
    metadata: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    inputs: tuple[Input, ...] = ()

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> "ModelProduced":
        """Read the data of `dev.zeroflow.model.produced`; raise InvalidInput naming the field at fault."""
        check_text(data, "the event's data")
        return cls(
            artifact_id=text(data, "artifact_id"),
            name=text(data, "name"),
            uri=location(data),
            sha256=optional_text(data, "sha256"),
            size_bytes=size(data),
            namespace=text(data, "namespace"),
            register_as=text(data, "register_as"),
            maker=_task(data),
            metadata=mapping(data, "metadata"),
            metrics=metrics(data),
            inputs=inputs(data),
        )

    def of_metadata(self, *names: str) -> str | None:
        """Return the first of these metadata values that is there, as text."""
        for name in names:
            value = self.metadata.get(name)
            if isinstance(value, (str, int, float)) and not isinstance(value, bool) and value != "":
                return str(value)
        return None


def _task(data: dict[str, Any]) -> Maker:
    run_id, task_name = text(data, "run_id"), text(data, "task_name")
    run_name, pipeline_name = optional_text(data, "run_name"), optional_text(data, "pipeline_name")
    told: dict[str, Scalar] = {"run_id": run_id, "task_name": task_name}
    told |= {name: value for name, value in (("run_name", run_name), ("pipeline_name", pipeline_name)) if value}
    source = {
        "modelSourceKind": "kfp",
        "modelSourceClass": "pipelinerun",
        "modelSourceGroup": text(data, "namespace"),
        "modelSourceId": run_id,
        "modelSourceName": run_name or "",
    }
    return Maker(("task", f"{run_id}/{task_name}"), source, f"run:{run_id}", told, ("run", run_id), run_id, task_name)


def text(data: dict[str, Any], name: str, where: str = "") -> str:
    """Return a string that must be there."""
    value = data.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"{where}{name} must be a string that is not empty, got {_shown(value)}")
    return _short(f"{where}{name}", value)


def optional_text(data: dict[str, Any], name: str, where: str = "") -> str | None:
    """Return a string, or None when it is absent or empty."""
    return None if data.get(name) in (None, "") else text(data, name, where)


def _short(where: str, value: str) -> str:
    if not 0 < len(value) <= MAX_NAME:
        raise InvalidInput(f"{where} must have 1 to {MAX_NAME} characters, got {len(value)}")
    return value


def location(data: dict[str, Any], where: str = "") -> str:
    """Return `uri`."""
    value = data.get("uri")
    if not isinstance(value, str) or not 0 < len(value.encode()) <= MAX_URI_BYTES:
        raise InvalidInput(f"{where}uri must be a location of 1 to {MAX_URI_BYTES} bytes, got {_shown(value)}")
    return value


def metrics(data: dict[str, Any]) -> dict[str, float]:
    """Read `metrics`: names to finite numbers."""
    given = mapping(data, "metrics")
    return {_short("metrics", name): _finite(f"metrics.{name}", value) for name, value in given.items()}


def size(data: dict[str, Any]) -> int | None:
    """Return `size_bytes`, if it is there."""
    value = data.get("size_bytes")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < INT64:
        raise InvalidInput(f"size_bytes must be a whole number of bytes, got {_shown(value)}")
    return value


def _finite(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InvalidInput(f"{where} must be a finite number, got {_shown(value)}")
    return float(value)


def mapping(data: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an object; an absent one is empty."""
    value = data.get(name)
    if value is not None and not isinstance(value, dict):
        raise InvalidInput(f"{name} must be an object, got {_shown(value)}")
    return value or {}


def array(data: dict[str, Any], name: str) -> list[Any]:
    """Return an array; an absent one is empty."""
    value = data.get(name)
    if value is not None and not isinstance(value, list):
        raise InvalidInput(f"{name} must be an array, got {_shown(value)}")
    return value or []


def inputs(data: dict[str, Any]) -> tuple[Input, ...]:
    """Return `inputs`: what the maker read."""
    return tuple(_input(index, item) for index, item in enumerate(array(data, "inputs")))


def _input(index: int, item: Any) -> Input:
    where = f"inputs[{index}]."
    if not isinstance(item, dict):
        raise InvalidInput(f"inputs[{index}] must be an object, got {_shown(item)}")
    return Input(
        artifact_id=optional_text(item, "artifact_id", where),
        name=text(item, "name", where),
        uri=location(item, where),
        sha256=optional_text(item, "sha256", where),
    )


def _shown(value: Any) -> str:
    return repr(value)[:40] if isinstance(value, (str, int, float)) else json_type(value)
