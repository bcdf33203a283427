"""What a step wrote: output parameters with their JSON types, output artifacts with their hashes.

Everything here comes from the user's code, so nothing is believed: parameters are checked against the component's
`outputDefinitions`; an artifact is stored only below the task's own root; links are refused, since they may lead to
bytes that are not the step's.
"""

import json
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zeroflow.artifacts import Content, Stores, content
from zeroflow.artifacts.uris import SCHEMES
from zeroflow.errors import InvalidInput, NotFound
from zeroflow.functions.step.errors import InvalidOutput, MissingOutput
from zeroflow.functions.step.inputs import artifacts_of, place, task_root
from zeroflow.functions.step.parameters import from_text, storable, typed
from zeroflow.functions.step.workspace import OUTPUT, Workspace

MAX_OUTPUT_BYTES = 16 << 20
"""The most that output parameters may take: they travel in events; what is larger is an artifact."""


@dataclass(frozen=True)
class Outputs:
    """What the task hands on, as `task.finished` tells it."""

    parameters: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the event's form."""
        return {"parameterValues": self.parameters, "artifacts": self.artifacts}


def collect(
    component: Mapping[str, Any], executor_input: Mapping[str, Any], workspace: Workspace, stores: Stores
) -> Outputs:
    """Check and store what the step wrote; raise MissingOutput or InvalidOutput naming the output at fault."""
    definitions = component.get("outputDefinitions") or {}
    written = _executor_output(task_root(executor_input, workspace) / OUTPUT)
    return Outputs(
        _parameters(definitions.get("parameters") or {}, written.get("parameterValues") or {}, workspace),
        _Artifacts(executor_input, workspace, stores).collect(
            definitions.get("artifacts") or {}, written.get("artifacts") or {}
        ),
    )


def _executor_output(path: Path) -> dict[str, Any]:
    try:
        written = json.loads(_read(path, "the output parameters") or b"{}")
    except FileNotFoundError:
        return {}  # the code left before its end, or has nothing to say
    except (ValueError, RecursionError) as error:
        raise InvalidOutput(f"{OUTPUT} is not JSON: {error}") from error
    if not isinstance(written, dict) or not all(isinstance(part, dict) for part in written.values()):
        raise InvalidOutput(f"{OUTPUT} must be an object of objects")
    return written


def _read(path: Path, what: str) -> bytes:
    if path.stat().st_size > MAX_OUTPUT_BYTES:
        raise InvalidOutput(f"{what} take more than {MAX_OUTPUT_BYTES >> 20} MiB; write an artifact instead")
    return path.read_bytes()


def _parameters(definitions: Mapping[str, Any], values: Mapping[str, Any], workspace: Workspace) -> dict[str, Any]:
    found = {}
    for name, definition in definitions.items():
        kind = str(definition.get("parameterType", ""))
        file = workspace.parameters / name
        if name in values:
            found[name] = typed(name, kind, values[name])
        elif file.is_file() and not file.is_symlink():
            text = _read(file, f"output parameter {name!r}").decode(errors="replace")
            found[name] = from_text(name, kind, text)
        elif not definition.get("isOptional"):
            raise MissingOutput(f"the step ended without writing its output parameter {name!r} ({kind})")
    return found


class _Artifacts:
    def __init__(self, executor_input: Mapping[str, Any], workspace: Workspace, stores: Stores) -> None:
        self._given = (executor_input.get("outputs") or {}).get("artifacts") or {}
        self._inputs = {str(artifact.get("uri")) for artifact in artifacts_of(executor_input, "inputs")}
        self._root = task_root(executor_input, workspace)
        self._workspace, self._stores = workspace, stores

    def collect(self, definitions: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
        return {
            name: [self._artifact(name, definition, written.get(name) or {})]
            for name, definition in definitions.items()
        }

    def _artifact(self, name: str, definition: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
        given = ((self._given.get(name) or {}).get("artifacts") or [{}])[0]
        if not given.get("uri"):
            raise InvalidInput(f"outputs.artifacts[{name!r}] of the executor input has no uri")
        told = (written.get("artifacts") or [{}])[0]
        if not isinstance(told, dict):
            raise InvalidOutput(f"output artifact {name!r} must be an object in {OUTPUT}")
        metadata = told.get("metadata", given.get("metadata")) or {}
        if not isinstance(metadata, dict):
            raise InvalidOutput(f"the metadata of output artifact {name!r} must be an object")
        uri, path = self._location(name, given["uri"], told)
        found = self._passed_on(uri) if uri in self._inputs else self._store(name, uri, path)
        return {
            "name": str(told.get("name") or given.get("name") or name),
            "uri": uri,
            "type": str((definition.get("artifactType") or {}).get("schemaTitle") or "system.Artifact"),
            "metadata": _recordable(metadata),
            "sha256": found.sha256 if found else None,
            "size_bytes": found.size_bytes if found else None,
        }

    def _location(self, name: str, given: str, told: Mapping[str, Any]) -> tuple[str, Path | None]:
        """Return where the artifact belongs, and where its bytes are now if they are the step's to give."""
        uri = str(told.get("uri") or given)
        custom = told.get("custom_path") or (uri if "://" not in uri else None)
        if custom:
            return (given if "://" not in uri else uri), self._workspace.work / str(custom)
        if uri.partition("://")[0] not in SCHEMES or uri in self._inputs:
            return uri, None  # by reference: the bytes are not the step's
        try:
            path = place(uri, self._workspace)
        except InvalidInput as error:
            raise InvalidOutput(f"output artifact {name!r}: {error}") from error
        if not path.is_relative_to(self._root):
            if path.exists():
                raise InvalidOutput(
                    f"output artifact {name!r} was written to {uri}, outside of this task's own location"
                )
            return uri, None
        return uri, path

    def _passed_on(self, uri: str) -> Content | None:
        """Describe an input that the step gives on as its output, by the stored bytes and not by the step's copy."""
        try:
            path = self._stores.local_path(uri)
        except (NotFound, InvalidInput):
            return None
        return content.of(path) if path else None

    def _store(self, name: str, uri: str, path: Path | None) -> Content | None:
        if path is None or not _has_bytes(name, path, self._workspace.path):
            return None
        try:
            return self._stores.put(path, uri)
        except InvalidInput as error:
            raise InvalidOutput(f"output artifact {name!r}: {error}") from error


def _has_bytes(name: str, path: Path, folder: Path) -> bool:
    """Say whether there is a file, or a directory with one; raise InvalidOutput for links and special files."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    inside = path.is_relative_to(folder)
    if stat.S_ISLNK(mode) or (inside and not path.resolve().is_relative_to(folder.resolve())):
        raise InvalidOutput(f"output artifact {name!r} is a symbolic link; write a file or a directory of files")
    if stat.S_ISREG(mode):
        return True
    if not stat.S_ISDIR(mode):
        raise InvalidOutput(f"output artifact {name!r} is neither a file nor a directory")
    files = 0
    for directory, folders, names in os.walk(path):
        for found in (*folders, *names):
            mode = os.lstat(os.path.join(directory, found)).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                where = os.path.relpath(os.path.join(directory, found), path)
                kind = "a symbolic link" if stat.S_ISLNK(mode) else "no file"
                raise InvalidOutput(f"output artifact {name!r} holds {where}, which is {kind}; only files are stored")
        files += len(names)
    return files > 0


def _recordable(value: Any) -> Any:
    """Return metadata as databases hold them: numbers that JSON does not have as strings, no odd characters."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {storable(key): _recordable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_recordable(item) for item in value]
    return value
