"""Input and output definitions of components."""

import re
from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.functions.pipeline.fields import flag, mapping, only, required_text, sequence, text
from zeroflow.functions.pipeline.parameters import EXPECTED, from_proto, typed
from zeroflow.functions.pipeline.plan import ArtifactSpec, ParameterSpec

_KEY = re.compile(r"^[^/\\\x00-\x1f'\"\[\]{}]{1,200}$")
"""Names become parts of URIs and of placeholders."""


def inputs_of(spec: dict[str, Any], where: str) -> tuple[dict[str, ParameterSpec], dict[str, ArtifactSpec]]:
    """Read a component's input definitions."""
    only(spec, ("parameters", "artifacts"), f"{where}.inputDefinitions")
    parameters = mapping(spec.get("parameters"), f"{where}: input parameters")
    artifacts = mapping(spec.get("artifacts"), f"{where}: input artifacts")
    return (
        {key: _parameter(key, value, f"{where}: input {key}") for key, value in parameters.items()},
        {key: _artifact(key, value, f"{where}: input {key}") for key, value in artifacts.items()},
    )


def outputs_of(spec: dict[str, Any], where: str) -> tuple[dict[str, ParameterSpec], dict[str, ArtifactSpec]]:
    """Read a component's output definitions."""
    only(spec, ("parameters", "artifacts"), f"{where}.outputDefinitions")
    parameters = mapping(spec.get("parameters"), f"{where}: output parameters")
    artifacts = mapping(spec.get("artifacts"), f"{where}: output artifacts")
    return (
        {key: _parameter(key, value, f"{where}: output {key}") for key, value in parameters.items()},
        {key: _artifact(key, value, f"{where}: output {key}") for key, value in artifacts.items()},
    )


def _parameter(key: str, value: Any, where: str) -> ParameterSpec:
    _check_key(key, where)
    spec = mapping(value, where)
    only(spec, ("parameterType", "defaultValue", "isOptional", "description", "literals", "type"), where)
    kind = required_text(spec.get("parameterType"), f"{where}: parameterType")
    if kind not in EXPECTED:
        raise InvalidInput(f"{where}: parameterType {kind!r} is unknown")
    default = spec.get("defaultValue")
    if default is not None:
        default = typed(from_proto(default), kind, f"{where}: its default")
    literals = tuple(from_proto(item) for item in sequence(spec.get("literals"), f"{where}: literals"))
    return ParameterSpec(kind, default is not None, default, flag(spec.get("isOptional"), where), literals)


def _artifact(key: str, value: Any, where: str) -> ArtifactSpec:
    _check_key(key, where)
    spec = mapping(value, where)
    only(spec, ("artifactType", "isArtifactList", "isOptional", "description", "metadata"), where)
    schema = mapping(spec.get("artifactType"), f"{where}: artifactType")
    return ArtifactSpec(
        text(schema.get("schemaTitle"), f"{where}: schemaTitle") or "system.Artifact",
        text(schema.get("schemaVersion"), f"{where}: schemaVersion") or "0.0.1",
        flag(spec.get("isOptional"), f"{where}: isOptional"),
        flag(spec.get("isArtifactList"), f"{where}: isArtifactList"),
        from_proto(mapping(spec.get("metadata"), f"{where}: metadata")),
    )


def _check_key(key: str, where: str) -> None:
    if not _KEY.match(key) or key in (".", ".."):
        raise InvalidInput(f"{where}: {key!r} cannot be a name: it may not have slashes, quotes, brackets or controls")
