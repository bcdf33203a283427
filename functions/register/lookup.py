"""The registry's entities by id, as objects of a database session: to be changed, or asked about. Knows no HTTP."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from zeroflow.errors import NotFound
from zeroflow.functions.register.documents import Row
from zeroflow.functions.register.entities import (
    ARTIFACT_TYPES,
    CONTEXT_TYPES,
    MODEL_ARTIFACT,
    MODEL_VERSION,
    REGISTERED_MODEL,
    EntityType,
)
from zeroflow.metadata.registry import RegistryArtifact, RegistryContext


def get(session: Session, entity: EntityType, entity_id: int, *, lock: bool = False) -> Row:
    """Return an entity by id; an id of another kind is NotFound. `lock`: it is read to be changed."""
    table: Any = entity.table
    row: Any
    if lock:
        row = session.scalars(select(table).where(table.id == entity_id).with_for_update()).one_or_none()
    else:
        row = session.get(table, entity_id)  # what this session has read already is not read again
    if row is None or row.kind != entity.kind:
        raise NotFound(f"no {entity.title} found for id={entity_id}")
    found: Row = row
    return found


def get_model(session: Session, model_id: int) -> RegistryContext:
    """Return a registered model."""
    return _context(get(session, REGISTERED_MODEL, model_id))


def get_version(session: Session, version_id: int) -> RegistryContext:
    """Return a model version."""
    return _context(get(session, MODEL_VERSION, version_id))


def get_artifact(session: Session, artifact_id: int, *, lock: bool = False) -> tuple[EntityType, RegistryArtifact]:
    """Return an artifact of any type, with its type."""
    found = select(RegistryArtifact).where(RegistryArtifact.id == artifact_id)
    row = session.scalars(found.with_for_update() if lock else found).one_or_none()
    if row is None:
        raise NotFound(f"no artifact found for id={artifact_id}")
    return ARTIFACT_TYPES[row.kind], row


def context(session: Session, entity: EntityType, entity_id: int) -> RegistryContext:
    """Return an entity of the contexts' table: a model, a version, an environment, ..."""
    return _context(get(session, entity, entity_id))


def deployed_version(session: Session, service: RegistryContext) -> RegistryContext:
    """Return the version that an inference service serves: the one it names, or else its model's newest."""
    stated = service.fields.get("modelVersionId")
    if stated is not None:
        return get_version(session, stated)
    model = service.fields["registeredModelId"]
    newest = (
        select(RegistryContext)
        .where(RegistryContext.kind == MODEL_VERSION.kind, RegistryContext.parent_id == model)
        .order_by(RegistryContext.id.desc())
        .limit(1)
    )
    row = session.scalars(newest).one_or_none()
    if row is None:
        raise NotFound(f"registered model {model} of inference service {service.id} has no version yet")
    return row


def model_artifacts(session: Session, version: RegistryContext) -> list[RegistryArtifact]:
    """Return the model artifacts of a version, in the order of their ids."""
    return list(
        session.scalars(
            select(RegistryArtifact)
            .where(RegistryArtifact.kind == MODEL_ARTIFACT.kind, RegistryArtifact.parent_id == version.id)
            .order_by(RegistryArtifact.id)
        )
    )


def artifact_parent(session: Session, artifact: RegistryArtifact) -> RegistryContext | None:
    """Return the version or run that an artifact is under."""
    return None if artifact.parent_id is None else session.get(RegistryContext, artifact.parent_id)


def parent_type(row: RegistryContext) -> EntityType:
    """Return the type of a context."""
    return CONTEXT_TYPES[row.kind]


def _context(row: Row) -> RegistryContext:
    assert isinstance(row, RegistryContext)
    return row
