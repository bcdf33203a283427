"""Selector expressions: `parseJson(string_value)["key"]`, all that the SDK compiles, for members of loop items.

Source: TaskInputsSpec.InputParameterSpec.parameter_expression_selector of KFP's pipeline_spec.proto.
"""

import json
import re
from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.functions.pipeline.fields import found

_SELECTOR = re.compile(r"""^parseJson\(string_value\)((?:\[(?:"[^"]*"|'[^']*')\])+)$""")
_KEY = re.compile(r"""\[(?:"([^"]*)"|'([^']*)')\]""")

ABSENT: Any = object()
"""Stands for a value that nothing gives."""


def keys_of(selector: str, where: str) -> tuple[str, ...]:
    """Read a selector; raise InvalidInput for any other expression."""
    match = _SELECTOR.match(selector)
    if match is None:
        raise InvalidInput(f"{where}: the expression selector {selector!r} is not supported")
    return tuple(double or single for double, single in _KEY.findall(match[1]))


def member(value: Any, keys: tuple[str, ...]) -> Any:
    """Return a member of an object, or of an object's JSON text; raise InvalidInput when it is not there."""
    if value is ABSENT:
        return ABSENT
    for key in keys:
        value = from_json(value)
        if not isinstance(value, dict) or key not in value:
            raise InvalidInput(f"there is no member {key!r} in {found(value)}")
        value = value[key]
    return value


def from_json(value: Any) -> Any:
    """Return what a JSON text stands for, and anything else as it is."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value
