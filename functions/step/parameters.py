"""Output parameters as JSON values of the type that the component declares (ParameterType in pipeline_spec.proto)."""

import json
import math
from typing import Any

from zeroflow.functions.step.errors import InvalidOutput

MAX_SHOWN = 80
_TRUE, _FALSE = ("true", "1", "t", "yes"), ("false", "0", "f", "no")


def typed(name: str, kind: str, value: Any) -> Any:
    """Return the value as `kind` has it in JSON; raise InvalidOutput when it is of another type."""
    match kind:
        case "STRING":
            fits = isinstance(value, str)
        case "NUMBER_INTEGER":
            if isinstance(value, bool):  # a Python bool is an int
                value = int(value)
            fits = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            value = int(value) if fits else value
        case "NUMBER_DOUBLE":
            fits = isinstance(value, int | float) and not isinstance(value, bool)
        case "BOOLEAN":
            fits = isinstance(value, bool)
        case "LIST":
            fits = isinstance(value, list)
        case "STRUCT":
            fits = isinstance(value, dict)
        case _:
            fits = True
    if not fits:
        shown = json.dumps(value)
        shown = shown if len(shown) <= MAX_SHOWN else shown[: MAX_SHOWN - 3] + "..."
        raise InvalidOutput(f"output parameter {name!r} is declared {kind}, the step wrote {shown}")
    if not _finite(value):
        raise InvalidOutput(f"output parameter {name!r} holds NaN or an infinity, which JSON does not have")
    if not _storable(value):
        raise InvalidOutput(
            f"output parameter {name!r} holds the character U+0000 or half of a surrogate pair; write an artifact"
            " instead"
        )
    return value


def from_text(name: str, kind: str, text: str) -> Any:
    """Return the value that the text of an output file stands for."""
    if kind == "STRING":
        return typed(name, kind, text)
    stripped = text.strip()
    if kind == "BOOLEAN" and stripped.lower() in (*_TRUE, *_FALSE):
        return stripped.lower() in _TRUE
    try:
        value = json.loads(stripped)
    except (ValueError, RecursionError):
        value = text
    return typed(name, kind, value)


def _finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(_finite(item) for item in value.values())
    if isinstance(value, list):
        return all(_finite(item) for item in value)
    return True


def storable(text: str) -> str:
    """Return the text without the characters that no database holds."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


def _storable(value: Any) -> bool:
    if isinstance(value, str):
        return storable(value) == value
    if isinstance(value, dict):
        return all(_storable(name) and _storable(item) for name, item in value.items())
    if isinstance(value, list):
        return all(map(_storable, value))
    return True
