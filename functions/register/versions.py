"""A model was made: register it as a version, with what it is, where it came from and how good it is.

Guarantees: one produced artifact is one version, however often and from however many sides its event arrives; two
models made at once for one name become two versions; a version, its artifacts, its lineage edges and the event that
announces it are one transaction.

What later clients of the REST API can read is kept twice: as typed fields and lineage edges, and as custom properties
(`run_id`, `input.<name>`, `<metric>`, ...), which every official client shows. Source of the model_source_* values:
KFP's convention for registered models (kind kfp, class pipelinerun).
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from zeroflow.errors import InvalidInput
from zeroflow.events import Delivery
from zeroflow.functions.register import properties, registration, registry, reproductions
from zeroflow.functions.register.documents import Document
from zeroflow.functions.register.entities import (
    METRIC,
    MODEL_ARTIFACT,
    MODEL_VERSION,
    PARAMETER,
    REGISTERED_MODEL,
)
from zeroflow.functions.register.policy import Policy
from zeroflow.functions.register.produced import ModelProduced, Scalar
from zeroflow.functions.register.properties import INT64, MAX_NAME, MAX_TEXT
from zeroflow.functions.register.writing import Writing
from zeroflow.metadata.audit import Origin
from zeroflow.metadata.pipelines import Task
from zeroflow.metadata.registry import NO_PARENT, LineageEdge, RegistryArtifact, RegistryContext

_OWN_METADATA = ("register_as", "version", "version_description", "author", "signature")
"""Metadata that says how to register; it is not a property of the model."""
_INPUT_NAME = MAX_NAME - len(".1234567.sha256")
"""How much of an input's name fits into a property's."""
_PARAMETER_NAME = MAX_NAME - len("2147483647:")
_FORMAT_NAME = ("model_format_name", "model_format", "framework")
_FORMAT_VERSION = ("model_format_version", "framework_version")


def on_model_produced(delivery: Delivery, policy: Policy) -> None:
    """Handle the event."""
    register_told(delivery, policy, ModelProduced.from_data(delivery.data()))


def register_told(delivery: Delivery, policy: Policy, produced: ModelProduced) -> None:
    """Register what an event tells of, in the event's transaction and in the name of the model's maker."""
    cause = (delivery.source, delivery.id)
    with delivery.transaction() as tx:
        register(Writing(tx, Origin(produced.maker.actor, True, cause=cause), policy), produced)


def register(writing: Writing, produced: ModelProduced) -> RegistryContext | None:
    """Register what was produced; return the version; None for what is registered already or reproduces one."""
    session = writing.session
    writing.tick()  # from here on, nobody else registers until the commit
    if (again := reproductions.reproduced(session, produced)) is not None:
        reproductions.note(writing, again, produced)
        return None
    model = _model(writing, produced)
    if _registered_before(session, model, produced):
        return None
    version = _version(writing, model, produced)
    artifact = _artifact(writing, version, produced)
    for name, value in produced.metrics.items():
        registry.create(writing, METRIC, Document({"name": name, "value": value}), version)
    for name, text in _parameters(session, produced).items():
        registry.create(writing, PARAMETER, Document({"name": name, "value": text, "parameterType": "string"}), version)
    _link(session, produced, version, writing.origin)
    registration.announce(
        writing.tx,
        model,
        version,
        artifact,
        run_id=produced.maker.run_id,
        metrics=produced.metrics,
        metadata=produced.metadata,
        needs_approval=writing.policy.approval(model.name) is not None,
    )
    return version


def _model(writing: Writing, produced: ModelProduced) -> RegistryContext:
    """Return the registered model, made now when it is not there; refuse the model of another namespace."""
    model = writing.session.scalars(
        select(RegistryContext)
        .where(
            RegistryContext.kind == REGISTERED_MODEL.kind,
            RegistryContext.parent_id == NO_PARENT,
            RegistryContext.name == produced.register_as,
        )
        .with_for_update()
    ).one_or_none()
    if model is None:
        document = Document({"name": produced.register_as}, properties.wire({"namespace": produced.namespace}))
        row = registry.create(writing, REGISTERED_MODEL, document)
        assert isinstance(row, RegistryContext)
        return row
    owner = properties.text(model.custom_properties, "namespace")
    if owner is not None and owner != produced.namespace:
        raise InvalidInput(
            f"register_as: registered model {model.name!r} belongs to namespace {owner!r}; "
            f"what is made in namespace {produced.namespace!r} cannot add a version to it"
        )
    return model


def _registered_before(session: Session, model: RegistryContext, produced: ModelProduced) -> bool:
    """Say whether this very artifact is a version of this model, by whichever event it became one."""
    registered = select(LineageEdge.to_id).where(
        LineageEdge.kind == "registered_as",
        LineageEdge.from_type == "artifact",
        LineageEdge.from_id == produced.artifact_id,
    )
    versions = [session.get(RegistryContext, int(version)) for version in session.scalars(registered)]
    return any(version is not None and version.parent_id == model.id for version in versions)


def _version(writing: Writing, model: RegistryContext, produced: ModelProduced) -> RegistryContext:
    name = produced.of_metadata("version") or registry.next_version_name(model)
    taken = select(RegistryContext.id).where(
        RegistryContext.kind == MODEL_VERSION.kind,
        RegistryContext.parent_id == model.id,
        RegistryContext.name == name,
    )
    if writing.session.execute(taken).first() is not None:
        raise InvalidInput(
            f"metadata.version: registered model {model.name!r} has a version {name!r} already, of another artifact; "
            "leave metadata.version out to get the next number"
        )
    values: dict[str, Any] = {"name": name}
    for wire_name, stated in (
        ("author", produced.of_metadata("author")),
        ("description", produced.of_metadata("version_description")),
    ):
        if stated is not None:
            values[wire_name] = stated[:MAX_TEXT]
    row = registry.create(writing, MODEL_VERSION, Document(values, properties.wire(_told(produced))), model)
    assert isinstance(row, RegistryContext)
    return row


def _artifact(writing: Writing, version: RegistryContext, produced: ModelProduced) -> RegistryArtifact:
    values: dict[str, Any] = {
        "name": produced.name,
        "uri": produced.uri,
        "state": "LIVE",
        **produced.maker.source,
    }
    for wire_name, stated in (
        ("modelFormatName", produced.of_metadata(*_FORMAT_NAME)),
        ("modelFormatVersion", produced.of_metadata(*_FORMAT_VERSION)),
    ):
        if stated is not None:
            values[wire_name] = stated[:MAX_TEXT]
    told: dict[str, Scalar] = {
        name: value
        for name, value in produced.metadata.items()
        if name not in _OWN_METADATA and _is_property(name, value)
    }
    told |= _bytes_of(produced)
    row = registry.create(writing, MODEL_ARTIFACT, Document(values, properties.wire(told)), version)
    assert isinstance(row, RegistryArtifact)
    return row


def _bytes_of(produced: ModelProduced) -> dict[str, Scalar]:
    told: dict[str, Scalar] = {"artifact_id": produced.artifact_id, "namespace": produced.namespace}
    if produced.sha256 is not None:
        told["sha256"] = produced.sha256
    if produced.size_bytes is not None:
        told["size_bytes"] = produced.size_bytes
    return told


def _told(produced: ModelProduced) -> dict[str, Scalar]:
    """Return the version's custom properties; a metric never takes the place of where the model came from."""
    told: dict[str, Scalar] = dict(produced.metrics)
    told |= _bytes_of(produced)
    told |= produced.maker.told
    told |= signed(produced.metadata)
    for position, source in enumerate(produced.inputs):
        name = f"input.{source.name}"[:_INPUT_NAME]
        if name in told:
            name += f".{position}"
        told[name] = source.uri
        if source.sha256 is not None:
            told[f"{name}.sha256"] = source.sha256
    return told


def signed(metadata: Mapping[str, Any]) -> dict[str, Scalar]:
    """Return the signature that a model's metadata state, as properties that clients show: JSON lists of tensors."""
    signature = metadata.get("signature")
    if not isinstance(signature, dict):
        return {}
    sides = {side: signature.get(side) for side in ("inputs", "outputs")}
    told = {f"signature.{side}": json.dumps(tensors) for side, tensors in sides.items() if isinstance(tensors, list)}
    return {name: text for name, text in told.items() if len(text) <= MAX_TEXT}


def _parameters(session: Session, produced: ModelProduced) -> dict[str, str]:
    """Return what the maker was started with; a task's row knows its own."""
    maker = produced.maker
    if maker.run_id is None:
        return dict(maker.parameters)
    rows = session.scalars(select(Task).where(Task.run_id == maker.run_id, Task.name == maker.task_name).limit(1))
    task = rows.one_or_none()
    given = ((task.inputs or {}).get("parameters") or {}) if task is not None else {}
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}
    return {name: text for name, text in texts.items() if 0 < len(name) <= _PARAMETER_NAME and len(text) <= MAX_TEXT}


def _link(session: Session, produced: ModelProduced, version: RegistryContext, origin: Origin) -> None:
    """Add the edges of data -> maker -> artifact -> version that are not there yet."""
    maker, artifact = produced.maker, ("artifact", produced.artifact_id)
    edges = {
        ("registered_as", artifact, ("model_version", str(version.id))),
        ("wrote", maker.node, artifact),
    }
    if maker.container is not None:
        edges.add(("contains", maker.container, maker.node))
    for source in produced.inputs:
        read = source.artifact_id or registration.known_at(session, source.uri, source.sha256, source.name)
        edges.add(("read", ("artifact", read), maker.node))
    for kind, tail, head in sorted(edges):
        registration.link(session, kind, tail, head, origin)


def _is_property(name: str, value: Any) -> bool:
    """Say whether a metadata value can be a custom property; the event keeps what cannot."""
    if not 0 < len(name) <= MAX_NAME:
        return False
    match value:
        case bool():
            return True
        case str():
            return len(value) <= MAX_TEXT
        case int():
            return -INT64 <= value < INT64
        case float():
            return math.isfinite(value)
        case _:
            return False
