"""Runtime placeholders in constants, as the SDK compiles f-strings: `{{$.inputs.parameters['name']}}` and a few more.

Only text that the pipeline's author wrote is a template. What is put into it is never read as a template again, so a
parameter that holds `{{$...}}` stays as it is. Placeholders in a component's command are the step's business.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from zeroflow.errors import InvalidInput

_PLACEHOLDER = re.compile(r"\{\{\$(.*?)\}\}", re.DOTALL)
_PARAMETER = re.compile(r"^\.inputs\.parameters\[(?P<quote>['\"])(?P<name>.+)(?P=quote)\]$")

CONTEXT = {
    ".pipeline_job_name": "run_name",
    ".pipeline_job_resource_name": "resource_name",
    ".pipeline_job_uuid": "run_id",
    ".pipeline_task_name": "task_name",
    ".pipeline_task_uuid": "task_id",
    ".pipeline_root": "pipeline_root",
    ".pipeline_job_create_time_utc": "created_at",
    ".pipeline_job_schedule_time_utc": "created_at",
    ".workspace_path": "workspace_path",
}
"""Placeholders that are not about inputs, and the name of what stands for each in the context."""


def expressions(value: Any) -> Iterator[str]:
    """Yield the inside of each placeholder in a constant, at any depth."""
    if isinstance(value, str):
        for match in _PLACEHOLDER.finditer(value):
            yield match[1].strip()
    elif isinstance(value, list):
        for item in value:
            yield from expressions(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from expressions(key)
            yield from expressions(item)


def parameter_of(expression: str) -> str | None:
    """Return the name of the input parameter that a placeholder stands for."""
    match = _PARAMETER.match(expression)
    return match["name"] if match else None


def check(value: Any, known_parameters: Mapping[str, Any], where: str) -> None:
    """Refuse a placeholder that `fill` could not fill."""
    for expression in expressions(value):
        name = parameter_of(expression)
        if name is None and expression not in CONTEXT:
            raise InvalidInput(f"{where}: placeholder {{{{${expression}}}}} is not supported yet")
        if name is not None and name not in known_parameters:
            raise InvalidInput(f"{where}: placeholder {{{{${expression}}}}} names no input of the task")


def fill(value: Any, parameters: Callable[[str], Any], context: Mapping[str, str]) -> Any:
    """Fill the placeholders; a text that is nothing but one placeholder becomes the value itself, with its type."""
    if isinstance(value, str) and "{{$" in value:
        whole = _PLACEHOLDER.fullmatch(value)
        if whole and value.count("{{$") == 1:
            return _value(whole[1].strip(), parameters, context)
        return _PLACEHOLDER.sub(lambda match: as_text(_value(match[1].strip(), parameters, context)), value)
    if isinstance(value, list):
        return [fill(item, parameters, context) for item in value]
    if isinstance(value, dict):
        return {fill(key, parameters, context): fill(item, parameters, context) for key, item in value.items()}
    return value


def as_text(value: Any) -> str:
    """Write a value as it stands inside a text: strings as they are, everything else as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return json.dumps(value, separators=(", ", ": "), ensure_ascii=False)


def _value(expression: str, parameters: Callable[[str], Any], context: Mapping[str, str]) -> Any:
    name = parameter_of(expression)
    return parameters(name) if name is not None else context[CONTEXT[expression]]
