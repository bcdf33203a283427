"""Routes of time travel: what happened in a run, why, at what cost, how it differs from another, and forks of it."""

from flask import Blueprint, Response, request
from sqlalchemy import select

from zeroflow.functions.pipeline import comparison, costs, history, reasons, runs, wire
from zeroflow.functions.pipeline.api import Context, answer, body_of_request
from zeroflow.functions.pipeline.api_runs import submission_of
from zeroflow.functions.pipeline.fields import only, text
from zeroflow.functions.pipeline.listing import MAX_PAGE, Page
from zeroflow.metadata.pipelines import Task

_OF_A_FORK = (
    "from", "display_name", "description", "runtime_config", "pipeline_spec", "experiment_id", "service_account",
)  # fmt: skip


def register(routes: Blueprint, context: Context) -> None:
    """Add the routes."""
    app, engine = context.app, context.engine

    @routes.get("/runs/<run_id>/events")
    def list_events(run_id: str) -> Response:
        page = Page.of({"page_size": str(MAX_PAGE), **request.args.to_dict()})
        with app.database.reading() as session:
            runs.get(session, run_id)
            found, token = history.of_run(session, run_id, page.size, page.token)
        return answer({"events": found, "next_page_token": token})

    @routes.get("/runs/<run_id>/cost")
    def get_cost(run_id: str) -> Response:
        with app.database.reading() as session:
            run = runs.get(session, run_id)
            rows = session.scalars(select(Task).where(Task.run_id == run_id)).all()
            elapsed_ms = run.finished_ms - run.created_ms if run.finished_ms else None
            return answer({"run_id": run_id, "state": run.state, "elapsed_ms": elapsed_ms, **costs.of_run(rows)})

    @routes.get("/runs/<run_id>/reuse")
    def get_reuse(run_id: str) -> Response:
        with app.database.reading() as session:
            run = runs.get(session, run_id)
            steps = select(Task).where(Task.run_id == run_id, Task.kind == "step")
            rows = session.scalars(steps.order_by(Task.created_ms, Task.name).limit(reasons.LATEST)).all()
            began = sorted(rows, key=lambda row: row.requested_ms or row.created_ms)
            told = [reasons.of_task(session, engine.plans, run, row) for row in began]
        return answer({"run_id": run_id, "steps": told})

    @routes.get("/runs/<run_id>/tasks/<task>/reuse")
    def get_reuse_of_task(run_id: str, task: str) -> Response:
        with app.database.reading() as session:
            run, row = runs.get(session, run_id), runs.step(session, run_id, task)
            return answer(reasons.of_task(session, engine.plans, run, row))

    @routes.get("/runs/<run_id>/diff/<other>")
    def get_differences(run_id: str, other: str) -> Response:
        with app.database.reading() as session:
            before, after = runs.get(session, run_id), runs.get(session, other)
            return answer(comparison.of_runs(session, engine.plans, before, after))

    @routes.post("/runs/<run_id>:fork")
    def fork_run(run_id: str) -> Response:
        body = body_of_request()
        only(body, _OF_A_FORK, "the fork")
        asked, at = submission_of(body), text(body.get("from"), "from")
        with app.transaction() as tx:
            row = runs.fork(tx, engine, run_id, at, asked)
            tx.session.flush()
            return answer(wire.run(tx.session, row, engine.plans.of(tx.session, row.spec_sha256)))
