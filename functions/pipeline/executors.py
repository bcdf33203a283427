"""Executors: which kinds of step there are, and what each asks for."""

from typing import Any, Literal

from zeroflow.errors import InvalidInput
from zeroflow.functions.pipeline.fields import flag, mapping, only, sequence, text
from zeroflow.functions.pipeline.resources import resources_of

LIGHTWEIGHT_ENTRY = "kfp.dsl.executor_main"
"""The module that every Python component's command starts."""

KINDS = {"resolver": "resolvers", "customJob": "custom jobs"}

Claim = Literal["", "create", "delete"]
CLAIMS: dict[str, Claim] = {"argostub/createpvc": "create", "argostub/deletepvc": "delete"}
"""Images that stand for work of the platform: kfp-kubernetes compiles CreatePVC and DeletePVC to them."""


def container_of(executor: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the container of a Python or a container component; raise InvalidInput for what is none."""
    for kind, name in KINDS.items():
        if kind in executor:
            raise InvalidInput(f"{where}: {name} are Vertex AI's and not Kubeflow's; use a component instead")
    only(executor, ("container",), f"{where}: its executor")
    container = mapping(executor.get("container"), f"{where}: container")
    only(container, ("image", "command", "args", "env", "resources", "lifecycle"), f"{where}: container")
    text(container.get("image"), f"{where}: image")
    for field in ("command", "args"):
        for part in sequence(container.get(field), f"{where}: {field}"):
            text(part, f"{where}: {field}")
    if container.get("lifecycle"):
        raise InvalidInput(f"{where}: container lifecycle hooks are not supported: Kubeflow does not run them either")
    resources_of(container, where)
    for item in sequence(container.get("env"), f"{where}: env"):
        only(mapping(item, f"{where}: env"), ("name", "value"), f"{where}: env")
    return container


def claim_of(container: dict[str, Any]) -> Claim:
    """Say whether the container stands for making or deleting a PersistentVolumeClaim."""
    return CLAIMS.get(str(container.get("image") or "").partition(":")[0], "")


def needs_image(container: dict[str, Any]) -> str:
    """Say what of a step is in its image alone and nowhere else; empty when a process can do without the image."""
    command = container.get("command") or []
    if any(LIGHTWEIGHT_ENTRY in part for part in command):
        inside = any("--component_module_path" in part for part in command)
        return "" if inside else "the code of a containerized Python component"
    return "" if command else "the command that it starts by itself"


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
