"""A container component's command: placeholders, Concat and IfPresent filled in.

What is put in is never read as a placeholder again, so a parameter that holds `{{$...}}` stays as it is.
Source: placeholders of KFP's PipelineContainerSpec; the structures that the SDK writes as JSON texts.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zeroflow.errors import InvalidInput

_PLACEHOLDER = re.compile(r"\{\{\$(.*?)\}\}", re.DOTALL)
_PATH = re.compile(
    r"""^\.(?P<side>inputs|outputs)\.(?P<kind>parameters|artifacts)\[(?P<quote>['"])(?P<name>.+?)(?P=quote)\]"""
    r"""(?P<rest>(?:\.\w+)?)(?:\[(['"])(?P<key>.+?)\6\])?$"""
)
_CONTEXT = {
    ".pipeline_job_name": "run_name",
    ".pipeline_job_resource_name": "resource_name",
    ".pipeline_job_uuid": "run_id",
    ".pipeline_task_name": "task_name",
    ".pipeline_task_uuid": "task_id",
    ".pipeline_root": "pipeline_root",
    ".pipeline_job_create_time_utc": "created_at",
    ".pipeline_job_schedule_time_utc": "created_at",
}

Place = Callable[[str], Path]
"""Returns where the bytes of a URI lie on this machine."""


class Placeholders:
    """Fills in what one attempt knows."""

    def __init__(self, executor_input: Mapping[str, Any], context: Mapping[str, str], place: Place) -> None:
        self._input, self._context, self._place = executor_input, context, place

    def words(self, words: list[str]) -> list[str]:
        """Return a command line; an absent optional part leaves no word."""
        return [filled for word in words for filled in self._word(word)]

    def _word(self, word: str) -> list[str]:
        structure = _structure(word)
        return [self._text(word)] if structure is None else self._structured(structure)

    def _structured(self, value: Any) -> list[str]:
        if isinstance(value, str):
            return self._word(value)
        if isinstance(value, list):
            return [word for item in value for word in self._structured(item)]
        if isinstance(value, dict) and set(value) == {"Concat"} and isinstance(value["Concat"], list):
            return ["".join(word for item in value["Concat"] for word in self._structured(item))]
        if isinstance(value, dict) and set(value) == {"IfPresent"} and isinstance(value["IfPresent"], dict):
            chosen = value["IfPresent"]
            return self._structured(chosen.get("Then" if self._present(chosen.get("InputName")) else "Else") or [])
        raise InvalidInput(f"the command holds a structure that is neither Concat nor IfPresent: {str(value)[:120]}")

    def _present(self, name: Any) -> bool:
        inputs = self._input.get("inputs") or {}
        if (inputs.get("parameterValues") or {}).get(name) is not None:
            return True
        return bool(((inputs.get("artifacts") or {}).get(name) or {}).get("artifacts"))

    def _text(self, word: str) -> str:
        return _PLACEHOLDER.sub(lambda match: _as_text(self._value(match[1].strip())), word)

    def _value(self, expression: str) -> Any:
        if expression == "":
            return self._input
        if expression in _CONTEXT:
            return self._context.get(_CONTEXT[expression], "")
        if expression == ".outputs.output_file":
            return self._input["outputs"]["outputFile"]
        match = _PATH.match(expression)
        if match is None:
            raise InvalidInput(f"placeholder {{{{${expression}}}}} is not supported")
        side, name, rest = self._input.get(match["side"]) or {}, match["name"], match["rest"]
        if match["kind"] == "parameters":
            return self._parameter(side, name, rest, expression)
        held = ((side.get("artifacts") or {}).get(name) or {}).get("artifacts") or []
        if not rest:
            return held if len(held) != 1 or match["side"] == "inputs" else held[0]
        if not held:
            return ""
        return self._of_artifact(held[0], rest, match["key"], expression)

    def _parameter(self, side: Mapping[str, Any], name: str, rest: str, expression: str) -> Any:
        if "parameterValues" in side and not rest:
            return side["parameterValues"].get(name)
        given = (side.get("parameters") or {}).get(name)
        if rest == ".output_file" and given:
            return given["outputFile"]
        if not rest and "outputs" not in expression:
            return None
        raise InvalidInput(f"placeholder {{{{${expression}}}}} names no output of the component")

    def _of_artifact(self, artifact: Mapping[str, Any], rest: str, key: str | None, expression: str) -> Any:
        uri = str(artifact.get("uri") or "")
        match rest:
            case ".uri":
                return uri
            case ".path":
                return str(self._place(uri)) if "://" in uri else uri
            case ".metadata":
                metadata = artifact.get("metadata") or {}
                return metadata if key is None else metadata.get(key)
            case ".name":
                return artifact.get("name")
        raise InvalidInput(f"placeholder {{{{${expression}}}}} is not supported")


def _structure(word: str) -> Any:
    if not word.startswith(('{"Concat"', '{"IfPresent"')):
        return None
    try:
        return json.loads(word)
    except (ValueError, RecursionError):
        return None


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)
