"""The data of `dev.zeroflow.model.produced`, checked.

The event comes from `pipeline` when a task's system.Model output asks for registration with `register_as` in its
metadata. Guarantees: what cannot be registered is refused with the name of the field at fault, before anything is done.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.functions.register.bodies import check_text, json_type
from zeroflow.functions.register.documents import MAX_URI_BYTES
from zeroflow.functions.register.properties import INT64, MAX_NAME

PRODUCED = "dev.zeroflow.model.produced"


@dataclass(frozen=True)
class Input:
    """An artifact that the producing task read."""

    artifact_id: str
    name: str
    uri: str
    sha256: str | None


@dataclass(frozen=True)
class ModelProduced:
    """The event's data, checked."""

    artifact_id: str
    name: str
    uri: str
    sha256: str | None
    size_bytes: int | None
    namespace: str
    register_as: str
    run_id: str
    run_name: str
    pipeline_name: str
    task_name: str
    metadata: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    inputs: tuple[Input, ...] = ()

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> "ModelProduced":
        """Read the event's data; raise InvalidInput naming the field at fault."""
        check_text(data, "the event's data")
        metrics = _object(data, "metrics")
        return cls(
            artifact_id=_text(data, "artifact_id"),
            name=_text(data, "name"),
            uri=_uri(data),
            sha256=_optional_text(data, "sha256"),
            size_bytes=_size(data),
            namespace=_text(data, "namespace"),
            register_as=_text(data, "register_as"),
            run_id=_text(data, "run_id"),
            run_name=_optional_text(data, "run_name") or "",
            pipeline_name=_optional_text(data, "pipeline_name") or "",
            task_name=_text(data, "task_name"),
            metadata=_object(data, "metadata"),
            metrics={_short("metrics", name): _finite(f"metrics.{name}", value) for name, value in metrics.items()},
            inputs=tuple(_input(index, item) for index, item in enumerate(_array(data, "inputs"))),
        )

    def of_metadata(self, *names: str) -> str | None:
        """Return the first of these metadata values that is there, as text."""
        for name in names:
            value = self.metadata.get(name)
            if isinstance(value, (str, int, float)) and not isinstance(value, bool) and value != "":
                return str(value)
        return None


def _text(data: dict[str, Any], name: str, where: str = "") -> str:
    value = data.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"{where}{name} must be a string that is not empty, got {_shown(value)}")
    return _short(f"{where}{name}", value)


def _optional_text(data: dict[str, Any], name: str, where: str = "") -> str | None:
    return None if data.get(name) in (None, "") else _text(data, name, where)


def _short(where: str, value: str) -> str:
    if not 0 < len(value) <= MAX_NAME:
        raise InvalidInput(f"{where} must have 1 to {MAX_NAME} characters, got {len(value)}")
    return value


def _uri(data: dict[str, Any], where: str = "") -> str:
    value = data.get("uri")
    if not isinstance(value, str) or not 0 < len(value.encode()) <= MAX_URI_BYTES:
        raise InvalidInput(f"{where}uri must be a location of 1 to {MAX_URI_BYTES} bytes, got {_shown(value)}")
    return value


def _size(data: dict[str, Any]) -> int | None:
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


def _object(data: dict[str, Any], name: str) -> dict[str, Any]:
    value = data.get(name)
    if value is not None and not isinstance(value, dict):
        raise InvalidInput(f"{name} must be an object, got {_shown(value)}")
    return value or {}


def _array(data: dict[str, Any], name: str) -> list[Any]:
    value = data.get(name)
    if value is not None and not isinstance(value, list):
        raise InvalidInput(f"{name} must be an array, got {_shown(value)}")
    return value or []


def _input(index: int, item: Any) -> Input:
    where = f"inputs[{index}]."
    if not isinstance(item, dict):
        raise InvalidInput(f"inputs[{index}] must be an object, got {_shown(item)}")
    return Input(
        artifact_id=_text(item, "artifact_id", where),
        name=_text(item, "name", where),
        uri=_uri(item, where),
        sha256=_optional_text(item, "sha256", where),
    )


def _shown(value: Any) -> str:
    return repr(value)[:40] if isinstance(value, (str, int, float)) else json_type(value)
