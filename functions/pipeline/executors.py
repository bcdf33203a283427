"""Executors: which kinds of step this platform runs."""

from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.functions.pipeline.fields import mapping, only, sequence, text

LIGHTWEIGHT_ENTRY = "kfp.dsl.executor_main"
"""The module that every lightweight Python component's command starts."""

KINDS = {"importer": "importers", "resolver": "resolvers", "customJob": "custom jobs"}


def container_of(executor: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the container of a lightweight Python component; raise InvalidInput for any other kind of executor."""
    for kind, name in KINDS.items():
        if kind in executor:
            raise InvalidInput(f"{where}: {name} are not supported yet")
    only(executor, ("container",), f"{where}: its executor")
    container = mapping(executor.get("container"), f"{where}: container")
    only(container, ("image", "command", "args", "env", "resources", "lifecycle"), f"{where}: container")
    command = [text(part, f"{where}: command") for part in sequence(container.get("command"), f"{where}: command")]
    for part in sequence(container.get("args"), f"{where}: args"):
        text(part, f"{where}: args")
    if not any(LIGHTWEIGHT_ENTRY in part and "--component_module_path" in part for part in command):
        kind = "containerized Python" if LIGHTWEIGHT_ENTRY in command else "container"
        raise InvalidInput(
            f"{where}: {kind} components are not supported yet, only lightweight Python components (@dsl.component)"
        )
    if container.get("lifecycle"):
        raise InvalidInput(f"{where}: container lifecycle hooks are not supported yet")
    resources = mapping(container.get("resources"), f"{where}: resources")
    if resources.get("accelerator"):
        raise InvalidInput(f"{where}: accelerators are not supported yet")
    for item in sequence(container.get("env"), f"{where}: env"):
        only(mapping(item, f"{where}: env"), ("name", "value"), f"{where}: env")
    return container
