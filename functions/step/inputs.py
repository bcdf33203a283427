"""What a step reads: its executor input, and the input artifacts' bytes in the attempt's folder.

An artifact keeps its real URI; its bytes are copied to `<mount>/<bucket>/<key>`. A copy, because a hard link shares
the file with the store, where no permission stops the owner (or root) from writing, and a stored artifact never
changes: 100 MB take 60-100 ms from the page cache.
"""

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zeroflow.artifacts import Stores, parse
from zeroflow.artifacts.uris import SCHEMES
from zeroflow.errors import InvalidInput, NotFound
from zeroflow.functions.step.workspace import OUTPUT, Workspace


def localised(executor_input: Mapping[str, Any], workspace: Workspace, stores: Stores) -> dict[str, Any]:
    """Return the executor input with file:// locations as the store's, and with the paths of this attempt's outputs.

    Raises InvalidInput for an artifact or a parameter whose place would lie outside of the attempt's folder.
    """
    result = copy.deepcopy(dict(executor_input))
    for artifact in artifacts_of(result, "inputs"):
        if str(artifact.get("uri", "")).startswith("file://"):
            artifact["uri"] = str(stores.of(artifact["uri"])[1])
    outputs = result.setdefault("outputs", {})
    for name, parameter in (outputs.get("parameters") or {}).items():
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise InvalidInput(f"{name!r} cannot be the name of an output parameter")
        parameter["outputFile"] = str(workspace.parameters / name)
    outputs["outputFile"] = str(task_root(executor_input, workspace) / OUTPUT)
    return result


def task_root(executor_input: Mapping[str, Any], workspace: Workspace) -> Path:
    """Return the folder that holds the task's output artifacts, which `dsl.get_uri()` gives to the user's code."""
    for artifact in artifacts_of(executor_input, "outputs"):
        return place(str(artifact.get("uri") or ""), workspace).parent
    return workspace.path


def place(uri: str, workspace: Workspace) -> Path:
    """Return where the bytes of a store:// or s3:// location lie in the attempt's folder."""
    parsed = parse(uri)
    if parsed.scheme not in workspace.mounts:
        raise InvalidInput(f"an artifact cannot be written to {uri}: expected store:// or s3://")
    if not parsed.key:
        raise InvalidInput(f"{uri} names a bucket; an artifact needs a key")
    return workspace.mounts[parsed.scheme] / parsed.bucket / parsed.key


def artifacts_of(executor_input: Mapping[str, Any], side: str) -> Iterator[dict[str, Any]]:
    """Yield every runtime artifact of the `inputs` or `outputs`."""
    for named in ((executor_input.get(side) or {}).get("artifacts") or {}).values():
        yield from named.get("artifacts") or ()


def fetch(executor_input: Mapping[str, Any], workspace: Workspace, stores: Stores) -> list[str]:
    """Copy the input artifacts' bytes into the folder; return a line about each that has none to copy.

    An artifact may have no bytes (Metrics often has none), and one by reference lies where no store of ours is: the
    step gets its URI and metadata then, as on a Kubeflow cluster.
    """
    missing = []
    uris = {str(artifact.get("uri") or "") for artifact in artifacts_of(executor_input, "inputs")} - {""}
    for uri in sorted(uris, key=len):  # a directory before what may be inside of it
        if uri.partition("://")[0] not in SCHEMES:
            missing.append(f"the input at {uri} is not fetched: only store:// and s3:// are")
            continue
        path = place(uri, workspace)
        if path.exists():
            continue
        try:
            stores.fetch(uri, path)
        except NotFound:
            missing.append(f"the input at {uri} has no bytes")
    return missing


def make_room(executor_input: Mapping[str, Any], workspace: Workspace) -> None:
    """Make the folders in which the step's output artifacts are to be."""
    for artifact in artifacts_of(executor_input, "outputs"):
        place(str(artifact.get("uri") or ""), workspace).parent.mkdir(parents=True, exist_ok=True)
