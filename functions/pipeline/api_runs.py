"""Routes of runs."""

from typing import Any

from flask import Blueprint, Response, request
from sqlalchemy import select

from zeroflow.errors import InvalidInput
from zeroflow.functions.pipeline import catalog, runs, wire
from zeroflow.functions.pipeline.api import Context, answer, body_of_request, in_scope, list_of
from zeroflow.functions.pipeline.fields import mapping, text
from zeroflow.metadata.pipelines import Run

_RUNS = {
    "id": Run.id, "run_id": Run.id, "name": Run.name, "display_name": Run.name, "description": Run.description,
    "created_at": Run.created_ms, "scheduled_at": Run.created_ms, "finished_at": Run.finished_ms, "state": Run.state,
    "status": Run.state, "storage_state": Run.storage_state, "experiment_id": Run.experiment_id,
    "pipeline_name": Run.pipeline_name, "pipeline_id": Run.pipeline_id, "pipeline_version_id": Run.pipeline_version_id,
}  # fmt: skip


def register(routes: Blueprint, context: Context) -> None:
    """Add the routes."""
    _reading(routes, context)
    _changing(routes, context)


def _reading(routes: Blueprint, context: Context) -> None:
    app, plans = context.app, context.engine.plans

    @routes.get("/runs")
    def list_runs() -> Response:
        return list_of(context, in_scope(select(Run), Run), _RUNS, "runs", wire.run)

    @routes.get("/runs/<run_id>")
    def get_run(run_id: str) -> Response:
        with app.database.reading() as session:
            row = runs.get(session, run_id)
            return answer(wire.run(session, row, plans.of(session, row.spec_sha256)))


def _changing(routes: Blueprint, context: Context) -> None:
    app, engine = context.app, context.engine

    @routes.post("/runs")
    def create_run() -> Response:
        asked = submission_of(body_of_request())
        with app.transaction() as tx:
            row = runs.submit(tx, engine, asked)
            tx.session.flush()
            return answer(wire.run(tx.session, row, engine.plans.of(tx.session, row.spec_sha256)))

    @routes.delete("/runs/<run_id>")
    def delete_run(run_id: str) -> Response:
        with app.transaction() as tx:
            runs.remove(tx, engine, run_id)
        return answer({})

    @routes.post("/runs/<run_id>:terminate")
    def terminate_run(run_id: str) -> Response:
        with app.transaction() as tx:
            engine.terminate(tx, run_id)
        return answer({})

    @routes.post("/runs/<run_id>:retry")
    def retry_run(run_id: str) -> Response:
        with app.transaction() as tx:
            engine.retry(tx, run_id)
        return answer({})

    @routes.post("/runs/<run_id>:archive")
    def archive_run(run_id: str) -> Response:
        with app.transaction() as tx:
            engine.locked(tx, run_id).storage_state = "ARCHIVED"
        return answer({})

    @routes.post("/runs/<run_id>:unarchive")
    def unarchive_run(run_id: str) -> Response:
        with app.transaction() as tx:
            runs.unarchive(tx, engine, run_id)
        return answer({})


def submission_of(body: dict[str, Any]) -> runs.Submission:
    """Read what a run is to be made of."""
    if body.get("plugins_input"):
        raise InvalidInput("plugins_input is not supported: this platform has no plugins")
    config = mapping(body.get("runtime_config"), "runtime_config")
    reference = mapping(body.get("pipeline_version_reference"), "pipeline_version_reference")
    document = body.get("pipeline_spec")
    return runs.Submission(
        namespace=catalog.namespace_of(text(body.get("namespace"), "namespace")),
        name=text(body.get("display_name"), "display_name"),
        document=None if document is None else mapping(document, "pipeline_spec"),
        pipeline_id=text(reference.get("pipeline_id"), "pipeline_id"),
        version_id=text(reference.get("pipeline_version_id") or body.get("pipeline_version_id"), "pipeline_version_id"),
        experiment_id=text(body.get("experiment_id"), "experiment_id") or request.args.get("experiment_id", ""),
        description=text(body.get("description"), "description"),
        parameters=mapping(config.get("parameters"), "runtime_config.parameters"),
        pipeline_root=text(config.get("pipeline_root"), "runtime_config.pipeline_root"),
        service_account=text(body.get("service_account"), "service_account"),
    )
