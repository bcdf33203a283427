"""Routes of experiments, pipelines and pipeline versions."""

from typing import Any

import orjson
from flask import Blueprint, Response, request
from sqlalchemy import select

from zeroflow.errors import InvalidInput, NotFound
from zeroflow.functions.pipeline import catalog, documents, fetching, packages, recurring, wire
from zeroflow.functions.pipeline.api import Context, answer, body_of_request, list_of
from zeroflow.functions.pipeline.catalog import NewVersion
from zeroflow.functions.pipeline.fields import mapping, required_text, text
from zeroflow.metadata.pipelines import Experiment, Pipeline, PipelineVersion

_EXPERIMENTS = {
    "id": Experiment.id, "experiment_id": Experiment.id, "name": Experiment.name, "display_name": Experiment.name,
    "description": Experiment.description, "created_at": Experiment.created_ms, "namespace": Experiment.namespace,
    "storage_state": Experiment.storage_state,
}  # fmt: skip
_PIPELINES = {
    "id": Pipeline.id, "pipeline_id": Pipeline.id, "name": Pipeline.name, "display_name": Pipeline.display_name,
    "description": Pipeline.description, "created_at": Pipeline.created_ms, "namespace": Pipeline.namespace,
}  # fmt: skip
_VERSIONS = {
    "id": PipelineVersion.id, "pipeline_version_id": PipelineVersion.id, "name": PipelineVersion.name,
    "display_name": PipelineVersion.display_name, "description": PipelineVersion.description,
    "created_at": PipelineVersion.created_ms,
}  # fmt: skip


def register(routes: Blueprint, context: Context) -> None:
    """Add the routes."""
    _experiments(routes, context)
    _pipelines(routes, context)
    _uploads(routes, context)
    _versions(routes, context)


def _experiments(routes: Blueprint, context: Context) -> None:
    app = context.app

    @routes.get("/experiments")
    def list_experiments() -> Response:
        base = select(Experiment).where(Experiment.namespace == catalog.namespace_of(request.args.get("namespace")))
        return list_of(context, base, _EXPERIMENTS, "experiments", lambda _, row: wire.experiment(row))

    @routes.post("/experiments")
    def create_experiment() -> Response:
        body = body_of_request()
        with app.transaction() as tx:
            row = catalog.create_experiment(
                tx.session,
                catalog.namespace_of(text(body.get("namespace"), "namespace")),
                text(body.get("display_name"), "display_name"),
                text(body.get("description"), "description"),
            )
        return answer(wire.experiment(row))

    @routes.get("/experiments/<experiment_id>")
    def get_experiment(experiment_id: str) -> Response:
        with app.database.reading() as session:
            return answer(wire.experiment(catalog.experiment(session, experiment_id)))

    @routes.delete("/experiments/<experiment_id>")
    def delete_experiment(experiment_id: str) -> Response:
        with app.transaction() as tx:
            tx.session.delete(catalog.experiment(tx.session, experiment_id))
        return answer({})

    @routes.post("/experiments/<experiment_id>:archive")
    def archive_experiment(experiment_id: str) -> Response:
        with app.transaction() as tx:
            catalog.archive_experiment(tx.session, experiment_id)
            recurring.disable_of(tx, experiment_id)
        return answer({})

    @routes.post("/experiments/<experiment_id>:unarchive")
    def unarchive_experiment(experiment_id: str) -> Response:
        with app.transaction() as tx:
            catalog.experiment(tx.session, experiment_id).storage_state = "AVAILABLE"
        return answer({})


def _pipelines(routes: Blueprint, context: Context) -> None:
    app = context.app

    @routes.get("/pipelines")
    def list_pipelines() -> Response:
        base = select(Pipeline).where(Pipeline.namespace == catalog.namespace_of(request.args.get("namespace")))
        return list_of(context, base, _PIPELINES, "pipelines", lambda _, row: wire.pipeline(row))

    @routes.post("/pipelines")
    def create_pipeline() -> Response:
        asked = _pipeline_asked(body_of_request())
        with app.transaction() as tx:
            row = catalog.create_pipeline(tx.session, **asked)
        return answer(wire.pipeline(row))

    @routes.post("/pipelines/create")
    def create_pipeline_and_version() -> Response:
        body = body_of_request()
        asked = _pipeline_asked(mapping(body.get("pipeline"), "pipeline"))
        version = _version_fetched(context, mapping(body.get("pipeline_version"), "pipeline_version"), asked["name"])
        with app.transaction() as tx:
            row = catalog.create_pipeline(tx.session, **asked)
            catalog.add_version(tx.session, context.engine.plans, row, version)
        return answer(wire.pipeline(row))

    @routes.patch("/pipelines/<pipeline_id>")
    def update_pipeline(pipeline_id: str) -> Response:
        body = body_of_request()
        with app.transaction() as tx:
            row = catalog.pipeline(tx.session, pipeline_id)
            catalog.change(row, body)
        return answer(wire.pipeline(row))

    @routes.get("/pipelines/<pipeline_id>")
    def get_pipeline(pipeline_id: str) -> Response:
        with app.database.reading() as session:
            return answer(wire.pipeline(catalog.pipeline(session, pipeline_id)))

    @routes.get("/pipelines/names/<name>")
    def get_pipeline_by_name(name: str) -> Response:
        namespace = catalog.namespace_of(request.args.get("namespace"))
        with app.database.reading() as session:
            row = catalog.find_pipeline(session, namespace, name)
        if row is None:
            raise NotFound(f"there is no pipeline {name!r} in namespace {namespace}")
        return answer(wire.pipeline(row))

    @routes.delete("/pipelines/<pipeline_id>")
    def delete_pipeline(pipeline_id: str) -> Response:
        with app.transaction() as tx:
            catalog.delete_pipeline(tx.session, pipeline_id, request.args.get("cascade", "").lower() == "true")
        return answer({})


def _uploads(routes: Blueprint, context: Context) -> None:
    app = context.app

    @routes.post("/pipelines/upload")
    def upload_pipeline() -> Response:
        version = _version_uploaded()
        with app.transaction() as tx:
            row = catalog.create_pipeline(
                tx.session,
                catalog.namespace_of(request.args.get("namespace")),
                version.name,
                request.args.get("display_name", ""),
                version.description,
                version.tags,
            )
            catalog.add_version(tx.session, context.engine.plans, row, version)
        return answer(wire.pipeline(row))

    @routes.post("/pipelines/upload_version")
    def upload_version() -> Response:
        version = _version_uploaded()
        with app.transaction() as tx:
            of_pipeline = catalog.pipeline(tx.session, request.args.get("pipelineid", ""))
            row = catalog.add_version(tx.session, context.engine.plans, of_pipeline, version)
            return answer(wire.version(tx.session, row))


def _versions(routes: Blueprint, context: Context) -> None:
    app = context.app

    @routes.get("/pipelines/<pipeline_id>/versions")
    def list_versions(pipeline_id: str) -> Response:
        base = select(PipelineVersion).where(PipelineVersion.pipeline_id == pipeline_id)
        with app.database.reading() as session:
            catalog.pipeline(session, pipeline_id)
        return list_of(context, base, _VERSIONS, "pipeline_versions", wire.version)

    @routes.post("/pipelines/<pipeline_id>/versions")
    def create_version(pipeline_id: str) -> Response:
        body = body_of_request()
        with app.database.reading() as session:
            catalog.pipeline(session, pipeline_id)
        version = _version_fetched(context, body)
        with app.transaction() as tx:
            of_pipeline = catalog.pipeline(tx.session, pipeline_id)
            row = catalog.add_version(tx.session, context.engine.plans, of_pipeline, version)
            return answer(wire.version(tx.session, row))

    @routes.get("/pipelines/<pipeline_id>/versions/<version_id>")
    def get_version(pipeline_id: str, version_id: str) -> Response:
        with app.database.reading() as session:
            return answer(wire.version(session, catalog.version(session, pipeline_id, version_id)))

    @routes.patch("/pipelines/<pipeline_id>/versions/<version_id>")
    def update_version(pipeline_id: str, version_id: str) -> Response:
        body = body_of_request()
        with app.transaction() as tx:
            row = catalog.version(tx.session, pipeline_id, version_id)
            catalog.change(row, body)
            return answer(wire.version(tx.session, row))

    @routes.delete("/pipelines/<pipeline_id>/versions/<version_id>")
    def delete_version(pipeline_id: str, version_id: str) -> Response:
        with app.transaction() as tx:
            tx.session.delete(catalog.version(tx.session, pipeline_id, version_id))
        return answer({})


def _pipeline_asked(body: dict[str, Any]) -> dict[str, Any]:
    """Read what a pipeline is to be called."""
    display_name = text(body.get("display_name"), "display_name")
    return {
        "namespace": catalog.namespace_of(text(body.get("namespace"), "namespace")),
        "name": text(body.get("name"), "name") or display_name,
        "display_name": display_name,
        "description": text(body.get("description"), "description"),
        "tags": catalog.tags_of(body),
    }


def _version_fetched(context: Context, body: dict[str, Any], name: str = "") -> NewVersion:
    """Read what a version is to be called, and fetch its definition from where the body says."""
    package = mapping(body.get("package_url"), "package_url")
    url = required_text(package.get("pipeline_url"), "package_url.pipeline_url")
    display_name = text(body.get("display_name"), "display_name")
    document = packages.document_of(fetching.fetch(url, context.stores, context.trusted_hosts))
    return NewVersion(
        document,
        text(body.get("name"), "name") or display_name or name or _name_in(document),
        display_name,
        text(body.get("description"), "description"),
        text(body.get("code_source_url"), "code_source_url"),
        catalog.tags_of(body),
    )


def _version_uploaded() -> NewVersion:
    """Read a version from an upload: the package in the form, everything else in the query."""
    file = request.files.get("uploadfile")
    if file is None:
        raise InvalidInput("expected a multipart form with the pipeline package in the part `uploadfile`")
    document, args = packages.document_of(file.read(documents.MAX_BYTES + 1)), request.args
    return NewVersion(
        document,
        args.get("name") or args.get("display_name") or _name_in(document),
        args.get("display_name", ""),
        args.get("description", ""),
        args.get("code_source_url", ""),
        _tags_in_query(args.get("tags", "")),
    )


def _tags_in_query(given: str) -> dict[str, str]:
    if not given:
        return {}
    try:
        return catalog.tags_of({"tags": orjson.loads(given)})
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"tags must be a JSON object, found {given[:60]!r}") from error


def _name_in(document: dict[str, Any]) -> str:
    spec = document.get("pipeline_spec", document)
    info = spec.get("pipelineInfo") if isinstance(spec, dict) else None
    return str((info or {}).get("name") or "") if isinstance(info, dict | None) else ""
