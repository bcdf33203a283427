"""Parameter values and their types (ParameterType of KFP's pipeline_spec.proto).

A number that came through protobuf is always a double; `from_proto` gives integral ones back as integers, as the JSON
of a Kubeflow cluster does. Values that steps return are JSON already and keep their types.
"""

import math
from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.functions.pipeline.fields import found

EXPECTED = {
    "NUMBER_INTEGER": "an integer",
    "NUMBER_DOUBLE": "a number",
    "STRING": "a string",
    "BOOLEAN": "true or false",
    "LIST": "a list",
    "STRUCT": "an object",
    "TASK_CONFIG": "the configuration of a task",
    "TASK_FINAL_STATUS": "the final status of a task",
}
MAX_INTEGER = 2**53 - 1
"""Beyond it a double no longer holds each integer; the proto asks for STRING parameters instead."""


class WrongType(InvalidInput):
    """A value is not of its parameter's type."""


def typed(value: Any, parameter_type: str, what: str) -> Any:
    """Return the value as its type spells it (an integral double as an integer, ...) or raise WrongType naming it."""
    match parameter_type:
        case "NUMBER_INTEGER" if _is_number(value) and float(value).is_integer() and abs(value) <= MAX_INTEGER:
            return int(value)
        case "NUMBER_DOUBLE" if _is_number(value):
            return float(value)
        case "STRING" if isinstance(value, str):
            return value
        case "BOOLEAN" if isinstance(value, bool):
            return value
        case "LIST" if isinstance(value, list):
            return value
        case "STRUCT" | "TASK_FINAL_STATUS" | "TASK_CONFIG" if isinstance(value, dict):
            return value
    if parameter_type == "NUMBER_INTEGER" and isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise WrongType(f"{what} must be an integer within ±{MAX_INTEGER}, found {found(value)}; use a string instead")
    raise WrongType(f"{what} must be {EXPECTED.get(parameter_type, parameter_type)}, found {found(value)}")


def from_proto(value: Any) -> Any:
    """Turn integral doubles into integers, at any depth."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_INTEGER:
        return int(value)
    if isinstance(value, list):
        return [from_proto(item) for item in value]
    if isinstance(value, dict):
        return {key: from_proto(item) for key, item in value.items()}
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
