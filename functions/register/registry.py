"""The registry's changes: create, change, upsert; each leaves a record in the audit trail. Knows no HTTP.

Every write first ticks the clock, which takes the registry's write lock until the transaction ends; what is read after
it (a name that is free, the highest version number) stays true until the commit.
"""

import uuid
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from zeroflow.errors import Conflict, InvalidInput
from zeroflow.functions.register import approval, lookup
from zeroflow.functions.register.documents import Document, Row, write
from zeroflow.functions.register.entities import (
    EXPERIMENT_RUN,
    METRIC,
    METRIC_POINT,
    MODEL_VERSION,
    UPSERTED_BY_NAME,
    EntityType,
)
from zeroflow.functions.register.properties import INT64, MAX_NAME, indexed
from zeroflow.functions.register.references import check_references
from zeroflow.functions.register.writing import Writing
from zeroflow.metadata.registry import (
    NO_PARENT,
    RegistryArtifact,
    RegistryContext,
    RegistryExecution,
    RegistryMetricPoint,
)

_COLUMNS = ("name", "state", "uri", "externalId", "description")
"""Wire names that have a column of their own; all other typed fields are in the row's `fields`."""


def create(writing: Writing, entity: EntityType, document: Document, parent: RegistryContext | None = None) -> Row:
    """Add an entity; raise Conflict when its name or externalId is taken, NotFound when it refers to nothing."""
    session, time_ms, values = writing.session, writing.tick(), document.values
    name = values.get("name") or str(uuid.uuid4())
    if parent is not None and len(f"{parent.id}:{name}") > MAX_NAME:
        room = MAX_NAME - len(f"{parent.id}:")
        raise InvalidInput(f"field 'name' has {len(name)} characters; at most {room} fit below {parent.id}")
    if entity is METRIC and values.get("value") is None:
        raise InvalidInput("field 'value' is required for a metric")
    row = _new_row(entity, values, parent)
    row.kind, row.name, row.created_ms, row.updated_ms = entity.kind, name, time_ms, time_ms
    row.external_id, row.description = values.get("externalId"), values.get("description")
    defaults = {field.name: field.default for field in entity.fields if field.default is not None}
    row.fields = _own_fields(entity, defaults | values)
    row.state = values.get("state", defaults.get("state"))
    row.custom_properties = document.custom_properties or {}
    _say_run(entity, row, parent)
    check_references(session, entity, row)
    governed = False
    if entity is MODEL_VERSION and parent is not None:
        governed = approval.begin(writing, parent, row)
        _count(parent, name)
    session.add(row)
    _flush(session, entity, row)
    if governed and isinstance(row, RegistryContext):
        approval.keep(writing, row)
    _index(session, entity, row)
    writing.audit("create", (entity.kind, str(row.id), name), None, write(entity, row))
    _follow(writing, row, parent)
    return row


def change(writing: Writing, entity: EntityType, row: Row, document: Document) -> Row:
    """Take over what the document gives; everything else stays. Raise Conflict when its externalId is taken."""
    session, values = writing.session, document.values
    before = write(entity, row)
    row.updated_ms = writing.tick()
    if entity is MODEL_VERSION and isinstance(row, RegistryContext):
        approval.guard(writing, row, document)
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
    check_references(session, entity, row, tuple(values))
    if document.custom_properties is not None:
        row.custom_properties = document.custom_properties
        reindex(session, entity, row)
    _flush(session, entity, row)
    after = write(entity, row)
    changed = [name for name in before | after if before.get(name) != after.get(name)]
    writing.audit(
        "update",
        (entity.kind, str(row.id), row.name),
        {name: before[name] for name in changed if name in before},
        {name: after[name] for name in changed if name in after},
    )
    parent = lookup.artifact_parent(session, row) if isinstance(row, RegistryArtifact) else None
    _follow(writing, row, parent)
    return row


def upsert_below(writing: Writing, entity: EntityType, document: Document, parent: RegistryContext) -> tuple[Row, bool]:
    """Put an artifact under a version or an experiment run; return it, and whether it is new.

    An id in the document means an update, and takes a free artifact under the parent. A metric or parameter whose
    name is there already is updated too.
    """
    session = writing.session
    there: RegistryArtifact | None
    if document.id is not None:
        known, there = lookup.get_artifact(session, document.id, lock=True)
        if known is not entity:
            raise InvalidInput(f"cannot change artifact type from '{known.kind}' to '{entity.kind}'")
        if there.parent_id not in (None, parent.id):
            owner = lookup.artifact_parent(session, there)
            title = lookup.parent_type(owner).title if owner else "nothing"
            raise InvalidInput(f"artifact {there.id} belongs to {title} {there.parent_id}, not to {parent.id}")
        if there.parent_id is None:
            there.parent_id = parent.id
            _say_run(entity, there, parent)
            _refuse_taken(session, entity, there)
        return change(writing, entity, there, document), False
    name = document.values.get("name")
    if entity not in UPSERTED_BY_NAME or not name:
        return create(writing, entity, document, parent), True
    if entity is METRIC and document.values.get("value") is None:
        raise InvalidInput("field 'value' is required for a metric")
    there = session.scalars(
        select(RegistryArtifact).where(
            RegistryArtifact.kind == entity.kind,
            RegistryArtifact.parent_id == parent.id,
            RegistryArtifact.name == name,
        )
    ).one_or_none()
    if there is not None:
        return change(writing, entity, there, document), False
    return create(writing, entity, document, parent), True


def next_version_name(model: RegistryContext) -> str:
    """Return the name of a model's next version: the number after the highest that it has had."""
    return str(model.latest_number + 1)


def reindex(session: Session, entity: EntityType, row: Row) -> None:
    """Bring the search index in line with a row's custom properties."""
    if entity.properties is not None:
        session.execute(delete(entity.properties).where(entity.properties.owner_id == row.id))
        _index(session, entity, row)


def _new_row(entity: EntityType, values: dict[str, Any], parent: RegistryContext | None) -> Row:
    if entity.table is RegistryArtifact:
        return RegistryArtifact(parent_id=parent.id if parent else None, uri=values.get("uri"))
    if entity.table is RegistryContext:
        return RegistryContext(parent_id=parent.id if parent else NO_PARENT, latest_number=0)
    assert parent is not None
    return RegistryExecution(parent_id=parent.id)


def _say_run(entity: EntityType, row: Row, parent: RegistryContext | None) -> None:
    """Note on an artifact which experiment and run it belongs to."""
    if entity.is_artifact and parent is not None and parent.kind == EXPERIMENT_RUN.kind:
        row.fields = row.fields | {"experimentId": parent.parent_id, "experimentRunId": parent.id}


def _follow(writing: Writing, row: Row, parent: RegistryContext | None) -> None:
    """Do what follows from a change of an artifact: a run's metric has a history, a version's bytes an approval."""
    if not isinstance(row, RegistryArtifact) or parent is None:
        return
    if row.kind == METRIC.kind and parent.kind == EXPERIMENT_RUN.kind:
        writing.session.add(
            RegistryMetricPoint(
                kind=METRIC_POINT.kind,
                name=row.name,
                description=row.description,
                state=row.state,
                fields=row.fields,
                custom_properties=row.custom_properties,
                created_ms=row.updated_ms,
                updated_ms=row.updated_ms,
                parent_id=parent.id,
                step=row.fields.get("step", 0),
            )
        )
        writing.session.flush()
    if parent.kind == MODEL_VERSION.kind:
        approval.recheck(writing, parent)


def _own_fields(entity: EntityType, values: dict[str, Any]) -> dict[str, Any]:
    own = {field.name for field in entity.fields} - {*_COLUMNS, entity.parent_field}
    return {name: value for name, value in values.items() if name in own}


def _count(model: RegistryContext, name: str) -> None:
    if name.isascii() and name.isdigit() and model.latest_number < int(name) < INT64:
        model.latest_number = int(name)


def _index(session: Session, entity: EntityType, row: Row) -> None:
    rows = [{"owner_id": row.id, "name": name, **vars(value)} for name, value in indexed(row.custom_properties).items()]
    if rows and entity.properties is not None:
        session.execute(insert(entity.properties), rows)


def _refuse_taken(session: Session, entity: EntityType, row: Row) -> None:
    table: Any = entity.table
    if row.parent_id is not None:
        same = select(table.id).where(table.kind == row.kind, table.parent_id == row.parent_id, table.name == row.name)
        with session.no_autoflush:
            taken = session.execute(same).first()
        if taken is not None and taken.id != row.id:
            raise _taken(entity, row.name)
    _refuse_taken_external_id(session, entity, row)


def _refuse_taken_external_id(session: Session, entity: EntityType, row: Row) -> None:
    table: Any = entity.table
    if row.external_id is not None:
        with session.no_autoflush:
            taken = session.execute(select(table.id).where(table.external_id == row.external_id)).first()
        if taken is not None and taken.id != row.id:
            raise _taken(entity, row.name, f"an entity with externalId {row.external_id!r}")


def _flush(session: Session, entity: EntityType, row: Row) -> None:
    """Write the row; the database's own constraints say when its name or externalId is taken."""
    name, external_id = row.name, row.external_id
    try:
        session.flush()
    except IntegrityError as error:
        if external_id is not None and "external_id" in str(error.orig):
            raise _taken(entity, name, f"an entity with externalId {external_id!r}") from error
        raise _taken(entity, name) from error


def _taken(entity: EntityType, name: str, what: str | None = None) -> Conflict:
    return Conflict(f"{what or f'a {entity.title} named {name!r}'} already exists: conflict")
