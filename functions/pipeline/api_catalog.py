"""Routes of experiments, pipelines and pipeline versions."""

from flask import Blueprint, Response, request
from sqlalchemy import select

from zeroflow.errors import InvalidInput, NotFound
from zeroflow.functions.pipeline import catalog, packages, wire
from zeroflow.functions.pipeline.api import Context, answer, body_of_request
from zeroflow.functions.pipeline.errors import Unimplemented
from zeroflow.functions.pipeline.fields import text
from zeroflow.functions.pipeline.listing import Page, page_of
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
        with app.database.reading() as session:
            rows, total, token = page_of(session, base, _EXPERIMENTS, Page.of(request.args))
        found = [wire.experiment(row) for row in rows]
        return answer({"experiments": found, "total_size": total, "next_page_token": token})

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
            catalog.set_experiment_archived(tx.session, experiment_id, True)
        return answer({})

    @routes.post("/experiments/<experiment_id>:unarchive")
    def unarchive_experiment(experiment_id: str) -> Response:
        with app.transaction() as tx:
            catalog.set_experiment_archived(tx.session, experiment_id, False)
        return answer({})


def _pipelines(routes: Blueprint, context: Context) -> None:
    app = context.app

    @routes.get("/pipelines")
    def list_pipelines() -> Response:
        base = select(Pipeline).where(Pipeline.namespace == catalog.namespace_of(request.args.get("namespace")))
        with app.database.reading() as session:
            rows, total, token = page_of(session, base, _PIPELINES, Page.of(request.args))
        return answer(
            {"pipelines": [wire.pipeline(row) for row in rows], "total_size": total, "next_page_token": token}
        )

    @routes.post("/pipelines")
    def create_pipeline() -> Response:
        body = body_of_request()
        display_name = text(body.get("display_name"), "display_name")
        with app.transaction() as tx:
            row = catalog.create_pipeline(
                tx.session,
                catalog.namespace_of(text(body.get("namespace"), "namespace")),
                text(body.get("name"), "name") or display_name,
                display_name,
                text(body.get("description"), "description"),
            )
            row.tags = catalog.tags_of(body)
        return answer(wire.pipeline(row))

    @routes.post("/pipelines/create")
    def create_pipeline_and_version() -> Response:
        raise Unimplemented("a version cannot be fetched from a URL yet; POST its file to /pipelines/upload")

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
        document, args = packages.document_of(_uploaded()), request.args
        plan_name = args.get("name") or args.get("display_name") or _name_in(document)
        with app.transaction() as tx:
            row = catalog.create_pipeline(
                tx.session,
                catalog.namespace_of(args.get("namespace")),
                plan_name,
                args.get("display_name", ""),
                args.get("description", ""),
            )
            catalog.add_version(
                tx.session,
                context.engine.plans,
                row,
                document,
                plan_name,
                display_name=args.get("display_name", ""),
                description=args.get("description", ""),
                code_source_url=args.get("code_source_url", ""),
            )
        return answer(wire.pipeline(row))

    @routes.post("/pipelines/upload_version")
    def upload_version() -> Response:
        document, args = packages.document_of(_uploaded()), request.args
        with app.transaction() as tx:
            row = catalog.add_version(
                tx.session,
                context.engine.plans,
                catalog.pipeline(tx.session, args.get("pipelineid", "")),
                document,
                args.get("name") or args.get("display_name") or _name_in(document),
                display_name=args.get("display_name", ""),
                description=args.get("description", ""),
                code_source_url=args.get("code_source_url", ""),
            )
            return answer(wire.version(tx.session, row))


def _versions(routes: Blueprint, context: Context) -> None:
    app = context.app

    @routes.get("/pipelines/<pipeline_id>/versions")
    def list_versions(pipeline_id: str) -> Response:
        base = select(PipelineVersion).where(PipelineVersion.pipeline_id == pipeline_id)
        with app.database.reading() as session:
            rows, total, token = page_of(session, base, _VERSIONS, Page.of(request.args))
            found = [wire.version(session, row) for row in rows]
        return answer({"pipeline_versions": found, "total_size": total, "next_page_token": token})

    @routes.post("/pipelines/<pipeline_id>/versions")
    def create_version(pipeline_id: str) -> Response:
        raise Unimplemented("a version cannot be fetched from a URL yet; POST its file to /pipelines/upload_version")

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


def _uploaded() -> bytes:
    file = request.files.get("uploadfile")
    if file is None:
        raise InvalidInput("expected a multipart form with the pipeline package in the part `uploadfile`")
    return bytes(file.read(packages.MAX_BYTES + 1))


def _name_in(document: dict[str, object]) -> str:
    spec = document.get("pipeline_spec", document)
    info = spec.get("pipelineInfo") if isinstance(spec, dict) else None
    return str((info or {}).get("name") or "") if isinstance(info, dict | None) else ""
