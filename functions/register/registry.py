"""The registry's operations on one database session: create, change, get, find.

Knows no HTTP. Every write ticks the clock first, which takes the registry's write lock until the transaction ends;
what is read after it (a name that is free, the highest version number) stays true until the commit.
"""

import uuid
from typing import Any

from sqlalchemy import delete, insert, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from zeroflow.errors import Conflict, InvalidInput, NotFound
from zeroflow.functions.register.documents import Document, Row
from zeroflow.functions.register.entities import (
    ARTIFACT_TYPES,
    METRIC,
    MODEL_VERSION,
    REGISTERED_MODEL,
    UPSERTED_BY_NAME,
    EntityType,
)
from zeroflow.functions.register.properties import INT64, MAX_NAME, indexed
from zeroflow.metadata import now_ms
from zeroflow.metadata.registry import NO_PARENT, RegistryArtifact, RegistryContext

_TICK = text(
    "INSERT INTO registry_clock (id, last_ms) VALUES (1, :now) ON CONFLICT (id) DO UPDATE SET last_ms = CASE WHEN"
    " excluded.last_ms > registry_clock.last_ms THEN excluded.last_ms ELSE registry_clock.last_ms + 1 END"
    " RETURNING last_ms"
)

_COLUMNS = ("name", "state", "uri", "externalId", "description")
"""Wire names that have a column of their own; all other typed fields are in the row's `fields`."""


def tick(session: Session) -> int:
    """Take the registry's write lock and return this write's time, later than that of every write before it."""
    return int(session.execute(_TICK, {"now": now_ms()}).scalar_one())


def create(session: Session, entity: EntityType, document: Document, parent: RegistryContext | None = None) -> Row:
    """Add an entity; raise Conflict when its name or externalId is taken."""
    time_ms = tick(session)
    values = document.values
    name = values.get("name") or str(uuid.uuid4())
    if parent is not None and len(f"{parent.id}:{name}") > MAX_NAME:
        room = MAX_NAME - len(f"{parent.id}:")
        raise InvalidInput(f"field 'name' has {len(name)} characters; at most {room} fit below {parent.id}")
    if entity is METRIC and values.get("value") is None:
        raise InvalidInput("field 'value' is required for a metric")
    row: Row
    if entity.is_artifact:
        row = RegistryArtifact(parent_id=parent.id if parent else None, uri=values.get("uri"))
    else:
        row = RegistryContext(parent_id=parent.id if parent else NO_PARENT, latest_number=0)
    row.kind, row.name, row.created_ms, row.updated_ms = entity.kind, name, time_ms, time_ms
    row.external_id, row.description = values.get("externalId"), values.get("description")
    row.fields = _own_fields(entity, values)
    state = entity.field("state")
    row.state = values.get("state", state.default if state else None)
    row.custom_properties = document.custom_properties or {}
    _refuse_taken(session, entity, row)
    session.add(row)
    _flush(session, entity, row)
    _index(session, entity, row)
    if entity is MODEL_VERSION and parent is not None:
        _count(parent, name)
    return row


def change(session: Session, entity: EntityType, row: Row, document: Document) -> Row:
    """Take over what the document gives; everything else stays. Raise Conflict when its externalId is taken."""
    values = document.values
    row.updated_ms = tick(session)
    if "externalId" in values and values["externalId"] != row.external_id:
        row.external_id = values["externalId"]
        _refuse_taken_external_id(session, entity, row)
    if "description" in values:
        row.description = values["description"]
    if "state" in values:
        row.state = values["state"]
    if "uri" in values and isinstance(row, RegistryArtifact):
        row.uri = values["uri"]
    row.fields = row.fields | _own_fields(entity, values)
    if document.custom_properties is not None:
        row.custom_properties = document.custom_properties
        session.execute(delete(entity.properties).where(entity.properties.owner_id == row.id))
        _index(session, entity, row)
    _flush(session, entity, row)
    return row


def get(session: Session, entity: EntityType, entity_id: int, *, lock: bool = False) -> Row:
    """Return an entity by id; an id of another kind is NotFound. `lock`: it is read to be changed."""
    table: Any = entity.table
    found = select(table).where(table.id == entity_id, table.kind == entity.kind)
    row: Row | None = session.scalars(found.with_for_update() if lock else found).one_or_none()
    if row is None:
        raise NotFound(f"no {entity.title} found for id={entity_id}")
    return row


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


def find(
    session: Session,
    entities: tuple[EntityType, ...],
    *,
    name: str | None = None,
    external_id: str | None = None,
    parent_id: int | None = None,
) -> Row:
    """Return the one entity with this name (among its parent's, for a child) or externalId; NotFound otherwise."""
    table: Any = entities[0].table
    if entities[0] is REGISTERED_MODEL:
        parent_id = NO_PARENT
    wanted = select(table).where(table.kind.in_([entity.kind for entity in entities])).limit(2)
    if external_id is not None:
        wanted = wanted.where(table.external_id == external_id)
    if name is not None and parent_id is not None:
        wanted = wanted.where(table.parent_id == parent_id, table.name == name)
    elif external_id is None:
        raise InvalidInput(f"finding one {_titles(entities)} needs {_what_finds(entities)}")
    rows = session.scalars(wanted).all()
    if len(rows) != 1:
        shown = f"externalId={external_id!r}" if external_id is not None else f"name={name!r}"
        many = "more than one" if rows else "no"
        raise NotFound(f"{many} {_titles(entities)} found for {shown[:300]}")
    row: Row = rows[0]
    return row


def upsert_below(
    session: Session, entity: EntityType, document: Document, version: RegistryContext
) -> tuple[Row, bool]:
    """Put an artifact under a version; return it, and whether it is new.

    An id in the document means an update, and takes a free artifact under the version. A metric or parameter whose
    name is there already is updated too.
    """
    if document.id is not None:
        tick(session)
        known, row = get_artifact(session, document.id, lock=True)
        if known is not entity:
            raise InvalidInput(f"cannot change artifact type from '{known.kind}' to '{entity.kind}'")
        if row.parent_id not in (None, version.id):
            raise InvalidInput(f"artifact {row.id} belongs to model version {row.parent_id}, not to {version.id}")
        if row.parent_id is None:
            row.parent_id = version.id
            _refuse_taken(session, entity, row)
        return change(session, entity, row, document), False
    name = document.values.get("name")
    if entity in UPSERTED_BY_NAME and name:
        tick(session)
        there = session.scalars(
            select(RegistryArtifact).where(
                RegistryArtifact.kind == entity.kind,
                RegistryArtifact.parent_id == version.id,
                RegistryArtifact.name == name,
            )
        ).one_or_none()
        if there is not None:
            if entity is METRIC and document.values.get("value") is None:
                raise InvalidInput("field 'value' is required for a metric")
            return change(session, entity, there, document), False
    return create(session, entity, document, version), True


def next_version_name(model: RegistryContext) -> str:
    """Return the name of a model's next version: the number after the highest that it has had."""
    return str(model.latest_number + 1)


def _own_fields(entity: EntityType, values: dict[str, Any]) -> dict[str, Any]:
    own = {field.name for field in entity.fields} - {*_COLUMNS, entity.parent_field}
    return {name: value for name, value in values.items() if name in own}


def _count(model: RegistryContext, name: str) -> None:
    if name.isascii() and name.isdigit() and model.latest_number < int(name) < INT64:
        model.latest_number = int(name)


def _index(session: Session, entity: EntityType, row: Row) -> None:
    rows = [{"owner_id": row.id, "name": name, **vars(value)} for name, value in indexed(row.custom_properties).items()]
    if rows:
        session.execute(insert(entity.properties), rows)


def _refuse_taken(session: Session, entity: EntityType, row: Row) -> None:
    table: Any = entity.table
    if row.parent_id is not None:
        same = select(table.id).where(table.kind == row.kind, table.parent_id == row.parent_id, table.name == row.name)
        with session.no_autoflush:
            taken = session.execute(same).first()
        if taken is not None and taken.id != row.id:
            raise _taken(entity, row)
    _refuse_taken_external_id(session, entity, row)


def _refuse_taken_external_id(session: Session, entity: EntityType, row: Row) -> None:
    table: Any = entity.table
    if row.external_id is not None:
        with session.no_autoflush:
            taken = session.execute(select(table.id).where(table.external_id == row.external_id)).first()
        if taken is not None and taken.id != row.id:
            raise _taken(entity, row, f"an entity with externalId {row.external_id!r}")


def _flush(session: Session, entity: EntityType, row: Row) -> None:
    try:
        session.flush()
    except IntegrityError as error:
        raise _taken(entity, row) from error


def _taken(entity: EntityType, row: Row, what: str | None = None) -> Conflict:
    return Conflict(f"{what or f'a {entity.title} named {row.name!r}'} already exists: conflict")


def _context(row: Row) -> RegistryContext:
    assert isinstance(row, RegistryContext)
    return row


def _titles(entities: tuple[EntityType, ...]) -> str:
    return entities[0].title if len(entities) == 1 else "artifact"


def _what_finds(entities: tuple[EntityType, ...]) -> str:
    if entities[0] is REGISTERED_MODEL:
        return "name or externalId"
    return "name and parentResourceId, or externalId"
