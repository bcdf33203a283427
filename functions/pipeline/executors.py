"""Executors: which kinds of step this platform runs."""

from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.functions.pipeline.fields import flag, mapping, only, sequence, text

LIGHTWEIGHT_ENTRY = "kfp.dsl.executor_main"
"""The module that every lightweight Python component's command starts."""

KINDS = {"resolver": "resolvers", "customJob": "custom jobs"}


def container_of(executor: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the container of a lightweight Python or a container component; raise InvalidInput for what cannot run.

    A container's command runs as a plain process on the machine of the step function, so it must have one: what an
    image would start by itself is not known here.
    """
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
        if LIGHTWEIGHT_ENTRY in command:
            raise InvalidInput(
                f"{where}: a containerized Python component's code is in its image, which is not run here; compile it"
                " without target_image"
            )
        if not command:
            raise InvalidInput(
                f"{where}: a container component without a command starts what its image {container.get('image')!r}"
                " says, which is not known here; give it a command"
            )
    if container.get("lifecycle"):
        raise InvalidInput(f"{where}: container lifecycle hooks are not supported yet")
    resources = mapping(container.get("resources"), f"{where}: resources")
    if resources.get("accelerator"):
        raise InvalidInput(f"{where}: accelerators are not supported yet")
    for item in sequence(container.get("env"), f"{where}: env"):
        only(mapping(item, f"{where}: env"), ("name", "value"), f"{where}: env")
    return container


def importer_of(executor: dict[str, Any], where: str) -> dict[str, Any]:
    """Return an importer's spec; `downloadToWorkspace` asks for nothing more, since a step fetches what it reads."""
    only(executor, ("importer",), f"{where}: its executor")
    spec = mapping(executor["importer"], f"{where}: importer")
    known = ("artifactUri", "typeSchema", "metadata", "reimport", "downloadToWorkspace")
    only(spec, known, f"{where}: importer")
    uri = mapping(spec.get("artifactUri"), f"{where}: artifactUri")
    if not (uri.get("runtimeParameter") or uri.get("constant")):
        raise InvalidInput(f"{where}: the importer has no artifactUri")
    flag(spec.get("reimport"), f"{where}: reimport")
    flag(spec.get("downloadToWorkspace"), f"{where}: downloadToWorkspace")
    mapping(spec.get("metadata"), f"{where}: metadata")
    return spec
