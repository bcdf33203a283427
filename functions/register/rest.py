"""The Model Registry's REST API, v1alpha3 and v1 over one store.

Each route is an edge: read the request, call one operation in one transaction, write the answer. What is not here
(experiments, serving environments, inference services) answers 404. Source: Model Registry OpenAPI v1alpha3 and v1;
error bodies are {"code": <HTTP status text>, "message": ...}.
"""

import json
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, request
from sqlalchemy.orm import Session
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from zeroflow.errors import InvalidInput, ZeroflowError
from zeroflow.events import FunctionApp, Transaction
from zeroflow.functions.register import listing, registration, registry
from zeroflow.functions.register.bodies import json_type, read_object
from zeroflow.functions.register.documents import Document, Row, read_change, read_id, read_new, write
from zeroflow.functions.register.entities import (
    ARTIFACT_TYPES,
    ENTITY_TYPES,
    MODEL_ARTIFACT,
    MODEL_VERSION,
    REGISTERED_MODEL,
    EntityType,
)
from zeroflow.functions.register.listing import Listing
from zeroflow.metadata.registry import RegistryArtifact, RegistryContext

logger = logging.getLogger(__name__)

PREFIX = "/api/model_registry"
VERSIONS = ("v1alpha3", "v1")
CHUNK_BYTES = 256 * 1024
DRAINED_CHUNKS = 256
"""How much of a body that is too large is read before the connection is given up: 64 MiB."""
CONTENT_TYPE = "application/json; charset=UTF-8"

_STATUS = {
    "InvalidInput": HTTPStatus.BAD_REQUEST,
    "MissingField": HTTPStatus.UNPROCESSABLE_ENTITY,
    "Forbidden": HTTPStatus.FORBIDDEN,
    "NotFound": HTTPStatus.NOT_FOUND,
    "Conflict": HTTPStatus.CONFLICT,
    "Unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
}
_CODES = {"MissingField": "Bad Request"}
"""Codes that are not the status's own words, as the reference server has them."""

ALL_ARTIFACTS = tuple(ARTIFACT_TYPES.values())


def mount(app: FunctionApp) -> None:
    """Add the API to the function, and its error bodies to everything below its prefix."""
    for version in VERSIONS:
        app.flask.register_blueprint(_blueprint(app, version))
    app.flask.get("/")(lambda: _error(HTTPStatus.NOT_FOUND, "nothing is here; the API is below /api/model_registry"))
    app.flask.register_error_handler(HTTPException, _answer_http)


def _blueprint(app: FunctionApp, version: str) -> Blueprint:
    api = Blueprint(f"model_registry_{version}", __name__, url_prefix=f"{PREFIX}/{version}")
    api.before_request(_refuse_nul)
    api.register_error_handler(ZeroflowError, _answer_error)
    api.register_error_handler(HTTPException, _answer_http)
    api.register_error_handler(Exception, _answer_unexpected)
    routes = _Routes(app, step_as_text=version == "v1")
    for rule, method, view in routes.table():
        api.add_url_rule(rule, f"{method} {rule}".replace(".", "_"), view, methods=[method])
    return api


class _Routes:
    """The operations of one API version."""

    def __init__(self, app: FunctionApp, *, step_as_text: bool) -> None:
        self._app, self._step_as_text = app, step_as_text

    def table(self) -> list[tuple[str, str, Callable[..., Response]]]:
        """Return (path, method, view) of each operation."""
        return [
            ("/registered_models", "POST", self.create_model),
            ("/registered_models", "GET", self.lists(REGISTERED_MODEL)),
            ("/registered_models/<entity_id>", "GET", self.gets(REGISTERED_MODEL)),
            ("/registered_models/<entity_id>", "PATCH", self.changes(REGISTERED_MODEL)),
            ("/registered_models/<model_id>/versions", "GET", self.list_versions_of),
            ("/registered_models/<model_id>/versions", "POST", self.create_version_of),
            ("/registered_model", "GET", self.finds(REGISTERED_MODEL)),
            ("/model_versions", "POST", self.create_version),
            ("/model_versions", "GET", self.lists(MODEL_VERSION)),
            ("/model_versions/<entity_id>", "GET", self.gets(MODEL_VERSION)),
            ("/model_versions/<entity_id>", "PATCH", self.changes(MODEL_VERSION)),
            ("/model_versions/<version_id>/artifacts", "GET", self.list_artifacts_of),
            ("/model_versions/<version_id>/artifacts", "POST", self.upsert_artifact_of),
            ("/model_version", "GET", self.finds(MODEL_VERSION)),
            ("/model_artifacts", "POST", self.create_model_artifact),
            ("/model_artifacts", "GET", self.lists(MODEL_ARTIFACT)),
            ("/model_artifacts/<entity_id>", "GET", self.gets(MODEL_ARTIFACT)),
            ("/model_artifacts/<entity_id>", "PATCH", self.changes(MODEL_ARTIFACT)),
            ("/model_artifact", "GET", self.finds(MODEL_ARTIFACT)),
            ("/artifacts", "POST", self.create_artifact),
            ("/artifacts", "GET", self.list_artifacts),
            ("/artifacts/<artifact_id>", "GET", self.get_artifact),
            ("/artifacts/<artifact_id>", "PATCH", self.change_artifact),
            ("/artifact", "GET", self.finds(*ALL_ARTIFACTS)),
        ]

    def lists(self, entity: EntityType) -> Callable[[], Response]:
        """Return the view that lists all entities of a type."""
        return lambda: self._page((entity,))

    def gets(self, entity: EntityType) -> Callable[[str], Response]:
        """Return the view that gets one entity by id."""

        def view(entity_id: str) -> Response:
            with self._app.database.reading() as session:
                return self._answer(registry.get(session, entity, read_id(entity_id, entity.title)))

        return view

    def changes(self, entity: EntityType) -> Callable[[str], Response]:
        """Return the view that changes one entity."""

        def view(entity_id: str) -> Response:
            number = read_id(entity_id, entity.title)
            document = read_change(entity, _body())
            with self._app.transaction() as tx:
                registry.tick(tx.session)
                row = registry.get(tx.session, entity, number, lock=True)
                return self._changed(tx, entity, row, document)

        return view

    def finds(self, *entities: EntityType) -> Callable[[], Response]:
        """Return the view that finds one entity by name or externalId."""

        def view() -> Response:
            parent = request.args.get("parentResourceId")
            with self._app.database.reading() as session:
                row = registry.find(
                    session,
                    entities,
                    name=request.args.get("name") or None,
                    external_id=request.args.get("externalId") or None,
                    parent_id=read_id(parent, "parent resource") if parent else None,
                )
                return self._answer(row)

        return view

    def create_model(self) -> Response:
        """Create a registered model."""
        document = read_new(REGISTERED_MODEL, _body())
        with self._app.transaction() as tx:
            return self._answer(registry.create(tx.session, REGISTERED_MODEL, document), HTTPStatus.CREATED)

    def create_version(self) -> Response:
        """Create a version of the model that the body names."""
        return self._create_version(read_new(MODEL_VERSION, _body()))

    def create_version_of(self, model_id: str) -> Response:
        """Create a version of the model in the path."""
        number = read_id(model_id, REGISTERED_MODEL.title)
        body = _body()
        if not body.get("registeredModelId"):
            body["registeredModelId"] = str(number)
        document = read_new(MODEL_VERSION, body, full=True)
        if document.values["registeredModelId"] != number:
            raise InvalidInput(f"field 'registeredModelId' must be {number} as in the path, or absent")
        return self._create_version(document)

    def list_versions_of(self, model_id: str) -> Response:
        """List the versions of one model."""
        number = read_id(model_id, REGISTERED_MODEL.title)
        return self._page((MODEL_VERSION,), number, lambda session: registry.get_model(session, number))

    def list_artifacts_of(self, version_id: str) -> Response:
        """List the artifacts of one version."""
        number = read_id(version_id, MODEL_VERSION.title)
        return self._page(_asked_types(), number, lambda session: registry.get_version(session, number))

    def upsert_artifact_of(self, version_id: str) -> Response:
        """Create or update an artifact of one version."""
        number = read_id(version_id, MODEL_VERSION.title)
        body = _body()
        entity = _type_of(body)
        document = read_change(entity, body) if body.get("id") else read_new(entity, body, full=True)
        with self._app.transaction() as tx:
            registry.tick(tx.session)
            version = registry.get_version(tx.session, number)
            row, is_new = registry.upsert_below(tx.session, entity, document, version)
            _registered(tx, row, version if is_new or document.id else None)
            return self._answer(row, HTTPStatus.CREATED if is_new else HTTPStatus.OK)

    def create_model_artifact(self) -> Response:
        """Create a model artifact that belongs to no version."""
        return self._create_artifact(MODEL_ARTIFACT, _body())

    def create_artifact(self) -> Response:
        """Create an artifact of any type that belongs to no version."""
        body = _body()
        return self._create_artifact(_type_of(body), body)

    def list_artifacts(self) -> Response:
        """List artifacts of all types, or of the one that is asked for."""
        return self._page(_asked_types())

    def get_artifact(self, artifact_id: str) -> Response:
        """Get an artifact of any type."""
        with self._app.database.reading() as session:
            return self._answer(registry.get_artifact(session, read_id(artifact_id, "artifact"))[1])

    def change_artifact(self, artifact_id: str) -> Response:
        """Change an artifact of any type."""
        number = read_id(artifact_id, "artifact")
        body = _body()
        with self._app.transaction() as tx:
            registry.tick(tx.session)
            entity, row = registry.get_artifact(tx.session, number, lock=True)
            return self._changed(tx, entity, row, read_change(entity, body))

    def _create_version(self, document: Document) -> Response:
        with self._app.transaction() as tx:
            registry.tick(tx.session)
            model = registry.get_model(tx.session, document.values["registeredModelId"])
            return self._answer(registry.create(tx.session, MODEL_VERSION, document, model), HTTPStatus.CREATED)

    def _create_artifact(self, entity: EntityType, body: dict[str, Any]) -> Response:
        document = read_new(entity, body)
        with self._app.transaction() as tx:
            row = registry.create(tx.session, entity, document)
            _registered(tx, row, None)
            return self._answer(row, HTTPStatus.CREATED)

    def _changed(self, tx: Transaction, entity: EntityType, row: Row, document: Document) -> Response:
        registry.change(tx.session, entity, row, document)
        _registered(tx, row, None)
        return self._answer(row)

    def _page(
        self,
        entities: tuple[EntityType, ...],
        parent_id: int | None = None,
        check: Callable[[Session], object] = lambda _session: None,
    ) -> Response:
        asked = Listing.from_query(request.args)
        with self._app.database.reading() as session:
            check(session)
            page = listing.page(session, entities, asked, parent_id)
            return _json(
                {
                    "items": [self._document(row) for row in page.rows],
                    "nextPageToken": page.next_token,
                    "pageSize": asked.page_size,
                    "size": len(page.rows),
                }
            )

    def _answer(self, row: Row, status: HTTPStatus = HTTPStatus.OK) -> Response:
        return _json(self._document(row), status)

    def _document(self, row: Row) -> dict[str, Any]:
        return write(ENTITY_TYPES[row.kind], row, step_as_text=self._step_as_text)


def _registered(tx: Transaction, row: Row, version: RegistryContext | None) -> None:
    """Record the bytes of a model artifact that a client wrote; announce it when it has just come under a version."""
    if not isinstance(row, RegistryArtifact) or row.kind != MODEL_ARTIFACT.kind:
        return
    registration.record(tx.session, row)
    if version is not None:
        registration.announce(tx, registry.get_model(tx.session, version.parent_id), version, row)


def _body() -> dict[str, Any]:
    body = request.get_data()
    announced = request.content_length
    if announced is not None and len(body) < announced:  # the server passes on what came before the connection ended
        raise InvalidInput(f"the body ended after {len(body)} of the {announced} bytes that Content-Length announced")
    return read_object(body)


def _type_of(body: dict[str, Any]) -> EntityType:
    asked = body.get("artifactType")
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


def _refuse_nul() -> None:
    for name, value in request.args.items(multi=True):
        if "\0" in name or "\0" in value:
            raise InvalidInput(f"query parameter {name.replace(chr(0), '')[:40]!r} has a NUL character")


def _answer_error(error: ZeroflowError) -> Response:
    status = _STATUS.get(error.reason, HTTPStatus.INTERNAL_SERVER_ERROR)
    return _error(status, str(error), _CODES.get(error.reason))


def _answer_http(error: HTTPException) -> Response | HTTPException:
    """Answer what Flask refuses below the prefix - unknown paths, wrong methods, oversized bodies - as the API does."""
    if not request.path.startswith(PREFIX):
        return error
    if isinstance(error, RequestEntityTooLarge):
        _drain()
    return _error(HTTPStatus(error.code or 500), error.description or error.name)


def _answer_unexpected(error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    return _error(HTTPStatus.INTERNAL_SERVER_ERROR, f"internal error ({type(error).__name__}); see the function's log")


def _drain() -> None:
    """Read on to the end of a refused body, so that the connection can be used again; a flood is cut off."""
    stream = request.environ["wsgi.input"]
    for _ in range(DRAINED_CHUNKS):
        if not stream.read(CHUNK_BYTES):
            return


def _error(status: HTTPStatus, message: str, code: str | None = None) -> Response:
    return _json({"code": code or status.phrase, "message": message}, status)


def _json(document: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(json.dumps(document, ensure_ascii=False), status, content_type=CONTENT_TYPE)
