"""The operations of the REST API as views: read the request, do one thing in one transaction, write the answer."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import Any

from flask import Response, request
from sqlalchemy import ColumnElement, Connection

from zeroflow.errors import InvalidInput
from zeroflow.events import FunctionApp
from zeroflow.functions.register import listing, lookup, preconditions, reading, registration, registry
from zeroflow.functions.register.answers import as_json, body
from zeroflow.functions.register.bodies import json_type
from zeroflow.functions.register.documents import Document, Row, read_change, read_id, read_new, write
from zeroflow.functions.register.entities import (
    ARTIFACT_TYPES,
    DATASET_ARTIFACT,
    ENTITY_TYPES,
    EXPERIMENT_RUN,
    INFERENCE_SERVICE,
    METRIC_POINT,
    MODEL_ARTIFACT,
    MODEL_VERSION,
    EntityType,
)
from zeroflow.functions.register.identity import Identify
from zeroflow.functions.register.listing import Listing
from zeroflow.functions.register.policy import PolicyFile
from zeroflow.functions.register.reading import Shown
from zeroflow.functions.register.writing import Writing, writing
from zeroflow.metadata.registry import RegistryArtifact, RegistryContext, RegistryMetricPoint

View = Callable[[], Response]
ViewOfOne = Callable[[str], Response]

ALL_ARTIFACTS = tuple(ARTIFACT_TYPES.values())
_STEPS = re.compile(r"[0-9]{1,9}(,[0-9]{1,9}){0,499}\Z")


class Operations:
    """The operations of one API version."""

    def __init__(self, app: FunctionApp, policy: PolicyFile, identify: Identify, *, v1: bool) -> None:
        self._app, self._policy, self._identify, self._v1 = app, policy, identify, v1

    def lists(self, entity: EntityType) -> View:
        """Return the view that lists all entities of a type."""
        return lambda: self._page((entity,))

    def lists_below(self, parent: EntityType, entity: EntityType) -> ViewOfOne:
        """Return the view that lists the children of one entity."""

        def view(parent_id: str) -> Response:
            number = read_id(parent_id, parent.title)
            return self._page((entity,), number, lambda connection: reading.get(connection, parent, number))

        return view

    def lists_artifacts_of(self, parent: EntityType) -> ViewOfOne:
        """Return the view that lists the artifacts of one version or run."""

        def view(parent_id: str) -> Response:
            number = read_id(parent_id, parent.title)
            return self._page(_asked_types(), number, lambda connection: reading.get(connection, parent, number))

        return view

    def gets(self, entity: EntityType) -> ViewOfOne:
        """Return the view that gets one entity by id."""

        def view(entity_id: str) -> Response:
            number = read_id(entity_id, entity.title)
            with self._app.database.looking() as connection:
                return self._answer(reading.get(connection, entity, number))

        return view

    def finds(self, *entities: EntityType) -> View:
        """Return the view that finds one entity by name or externalId."""

        def view() -> Response:
            parent = request.args.get("parentResourceId")
            with self._app.database.looking() as connection:
                row = reading.find(
                    connection,
                    entities,
                    name=request.args.get("name") or None,
                    external_id=request.args.get("externalId") or None,
                    parent_id=read_id(parent, "parent resource") if parent else None,
                )
                return self._answer(row)

        return view

    def creates(self, entity: EntityType) -> View:
        """Return the view that creates an entity, below the parent that the body names if it has one."""
        # The v1alpha3 document says 200 of this one operation, and its generated clients read nothing else.
        plain = entity is INFERENCE_SERVICE and not self._v1
        status = HTTPStatus.OK if plain else HTTPStatus.CREATED

        def view() -> Response:
            return self._create(entity, read_new(entity, body()), status)

        return view

    def creates_below(self, parent: EntityType, entity: EntityType) -> ViewOfOne:
        """Return the view that creates a child of the entity in the path."""

        def view(parent_id: str) -> Response:
            number = read_id(parent_id, parent.title)
            given = body()
            if entity.parent_field is None:
                return self._create(entity, read_new(entity, given, full=True), HTTPStatus.CREATED, (parent, number))
            if not given.get(entity.parent_field):
                given[entity.parent_field] = str(number)
            document = read_new(entity, given, full=True)
            if document.values[entity.parent_field] != number:
                raise InvalidInput(f"field '{entity.parent_field}' must be {number} as in the path, or absent")
            return self._create(entity, document, HTTPStatus.CREATED)

        return view

    def changes(self, entity: EntityType) -> ViewOfOne:
        """Return the view that changes one entity."""

        def view(entity_id: str) -> Response:
            number = read_id(entity_id, entity.title)
            document = read_change(entity, body())
            with self._writing() as opened:
                row = lookup.get(opened.session, entity, number, lock=True)
                preconditions.check(row)
                return self._changed(opened, entity, row, document)

        return view

    def upserts_artifact_of(self, parent: EntityType) -> ViewOfOne:
        """Return the view that creates or updates an artifact of one version or run."""

        def view(parent_id: str) -> Response:
            number = read_id(parent_id, parent.title)
            given = body()
            entity = _type_of(given)
            document = read_change(entity, given) if given.get("id") else read_new(entity, given, full=True)
            with self._writing() as opened:
                owner = lookup.context(opened.session, parent, number)
                row, is_new = registry.upsert_below(opened, entity, document, owner)
                comes_under = owner if parent is MODEL_VERSION and (is_new or document.id) else None
                _registered(opened, row, comes_under)
                return self._answer(row, HTTPStatus.CREATED if is_new else HTTPStatus.OK)

        return view

    def create_artifact(self) -> Response:
        """Create an artifact of any type that belongs to nothing."""
        given = body()
        entity = _type_of(given)
        return self._create(entity, read_new(entity, given), HTTPStatus.CREATED)

    def list_artifacts(self) -> Response:
        """List artifacts of all types, or of the one that is asked for."""
        return self._page(_asked_types())

    def get_artifact(self, artifact_id: str) -> Response:
        """Get an artifact of any type."""
        number = read_id(artifact_id, "artifact")
        with self._app.database.looking() as connection:
            return self._answer(reading.get_artifact(connection, number))

    def change_artifact(self, artifact_id: str) -> Response:
        """Change an artifact of any type."""
        number = read_id(artifact_id, "artifact")
        given = body()
        with self._writing() as opened:
            entity, row = lookup.get_artifact(opened.session, number, lock=True)
            preconditions.check(row)
            return self._changed(opened, entity, row, read_change(entity, given))

    def model_of_service(self, service_id: str) -> Response:
        """Get the registered model of an inference service."""
        number = read_id(service_id, INFERENCE_SERVICE.title)
        with self._app.database.reading() as session:
            service = lookup.context(session, INFERENCE_SERVICE, number)
            return self._answer(lookup.get_model(session, service.fields["registeredModelId"]))

    def version_of_service(self, service_id: str) -> Response:
        """Get the version that an inference service serves."""
        number = read_id(service_id, INFERENCE_SERVICE.title)
        with self._app.database.reading() as session:
            service = lookup.context(session, INFERENCE_SERVICE, number)
            return self._answer(lookup.deployed_version(session, service))

    def list_metric_history(self, run_id: str | None = None) -> Response:
        """List the values that metrics have had, of one run or of all."""
        number = read_id(run_id, EXPERIMENT_RUN.title) if run_id is not None else None
        conditions: list[ColumnElement[bool]] = []
        if name := request.args.get("name"):
            conditions.append(RegistryMetricPoint.name == name)
        if steps := request.args.get("stepIds"):
            if not _STEPS.match(steps):
                raise InvalidInput(f"stepIds must be up to 500 whole numbers with commas between, got {steps[:40]!r}")
            conditions.append(RegistryMetricPoint.step.in_([int(step) for step in steps.split(",")]))

        def check(connection: Connection) -> None:
            if number is not None:
                reading.get(connection, EXPERIMENT_RUN, number)

        return self._page((METRIC_POINT,), number, check, tuple(conditions))

    def _create(
        self,
        entity: EntityType,
        document: Document,
        status: HTTPStatus,
        below: tuple[EntityType, int] | None = None,
    ) -> Response:
        with self._writing() as opened:
            if below is None and entity.parent_field is not None:
                owner = entity.field(entity.parent_field)
                assert owner is not None
                below = (ENTITY_TYPES[owner.refers_to], document.values[entity.parent_field])
            parent = lookup.context(opened.session, *below) if below else None
            row = registry.create(opened, entity, document, parent)
            _registered(opened, row, None)
            return self._answer(row, status)

    def _changed(self, opened: Writing, entity: EntityType, row: Row, document: Document) -> Response:
        registry.change(opened, entity, row, document)
        _registered(opened, row, None)
        return self._answer(row)

    def _writing(self) -> AbstractContextManager[Writing]:
        policy = self._policy.now()
        return writing(self._app, self._identify(request.headers.get, request.remote_addr, policy), policy)

    def _page(
        self,
        entities: tuple[EntityType, ...],
        parent_id: int | None = None,
        check: Callable[[Connection], object] = lambda _connection: None,
        conditions: tuple[ColumnElement[bool], ...] = (),
    ) -> Response:
        asked = Listing.from_query(request.args)
        with self._app.database.looking() as connection:
            check(connection)
            page = listing.page(connection, entities, asked, parent_id, conditions)
            return as_json(
                {
                    "items": [self._document(row) for row in page.rows],
                    "nextPageToken": page.next_token,
                    "pageSize": asked.page_size,
                    "size": len(page.rows),
                }
            )

    def _answer(self, row: Row | Shown, status: HTTPStatus = HTTPStatus.OK) -> Response:
        if preconditions.is_known(row):
            return preconditions.unchanged(row)
        return preconditions.tagged(as_json(self._document(row), status), row)

    def _document(self, row: Row | Shown) -> dict[str, Any]:
        return write(ENTITY_TYPES[row.kind], row, v1=self._v1)


def _registered(opened: Writing, row: Row, version: RegistryContext | None) -> None:
    """Record the bytes of an artifact that a client wrote; announce a model that has just come under a version."""
    if not isinstance(row, RegistryArtifact) or row.kind not in (MODEL_ARTIFACT.kind, DATASET_ARTIFACT.kind):
        return
    if row.kind == DATASET_ARTIFACT.kind:
        if version is not None:
            registration.link_data(opened.session, row, version, opened.origin)
        return
    registration.record(opened.session, row)
    if version is not None:
        registration.link_bytes(opened.session, row, version, opened.origin)
        model = lookup.get_model(opened.session, version.parent_id)
        needs_approval = opened.policy.approval(model.name) is not None
        registration.announce(opened.tx, model, version, row, needs_approval=needs_approval)


def _type_of(given: dict[str, Any]) -> EntityType:
    asked = given.get("artifactType")
    if not isinstance(asked, str) or asked not in ARTIFACT_TYPES:
        shown = repr(asked[:40]) if isinstance(asked, str) else json_type(asked)
        raise InvalidInput(f"field 'artifactType' must be one of {', '.join(ARTIFACT_TYPES)}, got {shown}")
    return ARTIFACT_TYPES[asked]


def _asked_types() -> tuple[EntityType, ...]:
    asked = request.args.get("artifactType")
    if not asked:
        return ALL_ARTIFACTS
    if asked not in ARTIFACT_TYPES:
        raise InvalidInput(f"artifactType must be one of {', '.join(ARTIFACT_TYPES)}, got {asked[:40]!r}")
    return (ARTIFACT_TYPES[asked],)
