"""Routes of a run's tasks, with all that is known of them, and of their logs."""

from flask import Blueprint, Response, request
from sqlalchemy import select

from zeroflow.errors import InvalidInput, NotFound
from zeroflow.functions.pipeline import runs, wire
from zeroflow.functions.pipeline.api import Context, answer, list_of
from zeroflow.functions.pipeline.executions import log_uri
from zeroflow.functions.pipeline.logs import read_log
from zeroflow.metadata.pipelines import Task

_TASKS = {
    "id": Task.id, "task_id": Task.id, "name": Task.name, "state": Task.state, "kind": Task.kind,
    "created_at": Task.created_ms, "started_at": Task.started_ms, "finished_at": Task.finished_ms,
}  # fmt: skip
_PAGING = {"page_size", "page_token", "sort_by", "filter"}


def register(routes: Blueprint, context: Context) -> None:
    """Add the routes."""
    app = context.app

    @routes.get("/runs/<run_id>/tasks")
    def list_tasks(run_id: str) -> Response:
        """Answer with all tasks as they began, or with a page of them when one is asked for."""
        if _PAGING.intersection(request.args):
            with app.database.reading() as session:
                runs.get(session, run_id)
            base = select(Task).where(Task.run_id == run_id)
            return list_of(context, base, _TASKS, "tasks", lambda _, row: wire.task(row))
        with app.database.reading() as session:
            run = runs.get(session, run_id)
            rows = session.scalars(select(Task).where(Task.run_id == run_id)).all()
            tasks = [wire.task(row) for row in sorted(rows, key=_began)]
        return answer({"run_id": run_id, "state": run.state, "error": run.error, "tasks": tasks})

    @routes.get("/runs/<run_id>/tasks/<task>")
    def get_task(run_id: str, task: str) -> Response:
        with app.database.reading() as session:
            return answer(wire.task(runs.task(session, run_id, task)))

    @routes.get("/runs/<run_id>/tasks/<task>/log")
    def get_log(run_id: str, task: str) -> Response:
        attempt, offset = _number("attempt"), _number("offset")
        with app.database.reading() as session:
            row = runs.task(session, run_id, task)
        number = attempt or row.attempt
        if row.kind != "step" or not 1 <= number <= row.attempt:
            reason = "its outputs came from the cache" if row.cached_from else f"its state is {row.state}"
            raise NotFound(f"task {row.name or 'root'} has no log of attempt {number}: {reason}")
        uri = row.log_uri if number == row.attempt and row.log_uri else log_uri(run_id, row.name, number)
        return Response(read_log(context.stores, uri, offset), mimetype="text/plain")


def _began(row: Task) -> tuple[float, str]:
    """Sort tasks as they began, those that did not at the end."""
    return row.requested_ms or row.started_ms or float("inf"), row.name


def _number(name: str) -> int:
    value = request.args.get(name, "0")
    if not value.isdigit():
        raise InvalidInput(f"{name} must be a whole number, found {value!r}")
    return int(value)
