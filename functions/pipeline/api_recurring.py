"""Routes of recurring runs."""

from typing import Any

from flask import Blueprint, Response, request
from sqlalchemy import select

from zeroflow.errors import InvalidInput
from zeroflow.functions.pipeline import recurring, schedules, wire
from zeroflow.functions.pipeline.api import Context, answer, body_of_request, in_scope, list_of
from zeroflow.functions.pipeline.api_runs import submission_of
from zeroflow.functions.pipeline.fields import flag, found, mapping
from zeroflow.metadata.pipelines import RecurringRun

_COLUMNS = {
    "id": RecurringRun.id, "recurring_run_id": RecurringRun.id, "name": RecurringRun.name,
    "display_name": RecurringRun.name, "description": RecurringRun.description, "created_at": RecurringRun.created_ms,
    "updated_at": RecurringRun.updated_ms, "experiment_id": RecurringRun.experiment_id,
    "pipeline_id": RecurringRun.pipeline_id,
}  # fmt: skip
_MODES = {"ENABLE": True, "DISABLE": False, "MODE_UNSPECIFIED": True, 1: True, 2: False, 0: True}


def register(routes: Blueprint, context: Context) -> None:
    """Add the routes."""
    app, engine = context.app, context.engine

    @routes.get("/recurringruns")
    def list_recurring_runs() -> Response:
        base = in_scope(select(RecurringRun), RecurringRun)
        return list_of(context, base, _COLUMNS, "recurringRuns", wire.recurring_run)

    @routes.get("/recurringruns/<recurring_run_id>")
    def get_recurring_run(recurring_run_id: str) -> Response:
        with app.database.reading() as session:
            return answer(wire.recurring_run(session, recurring.get(session, recurring_run_id)))

    @routes.post("/recurringruns")
    def create_recurring_run() -> Response:
        body = body_of_request()
        schedule = schedules.read(mapping(body.get("trigger"), "trigger"))
        with app.transaction() as tx:
            row = recurring.create(
                tx,
                engine,
                submission_of(body),
                schedule,
                max_concurrency=_places(body),
                no_catchup=flag(body.get("no_catchup"), "no_catchup"),
                enabled=_enabled(body),
            )
            return answer(wire.recurring_run(tx.session, row))

    @routes.delete("/recurringruns/<recurring_run_id>")
    def delete_recurring_run(recurring_run_id: str) -> Response:
        with app.transaction() as tx:
            if _ends_runs(request.args.get("propagation_policy", "")):
                recurring.end_runs(tx, engine, recurring_run_id)
            recurring.remove(tx, recurring_run_id)
        return answer({})

    @routes.post("/recurringruns/<recurring_run_id>:enable")
    def enable_recurring_run(recurring_run_id: str) -> Response:
        with app.transaction() as tx:
            recurring.set_enabled(tx, recurring_run_id, True)
        return answer({})

    @routes.post("/recurringruns/<recurring_run_id>:disable")
    def disable_recurring_run(recurring_run_id: str) -> Response:
        with app.transaction() as tx:
            recurring.set_enabled(tx, recurring_run_id, False)
        return answer({})


def _ends_runs(policy: str) -> bool:
    """Say whether the runs of a deleted recurring run end with it; by default they stay."""
    if policy not in ("", "DELETE_PROPAGATION_POLICY_UNSPECIFIED", "ORPHAN", "FOREGROUND", "BACKGROUND"):
        raise InvalidInput(f"propagation_policy must be FOREGROUND, BACKGROUND or ORPHAN, found {policy!r}")
    return policy in ("FOREGROUND", "BACKGROUND")


def _places(body: dict[str, Any]) -> int:
    value = str(body.get("max_concurrency") or "1")
    if not (value.isascii() and value.isdigit()) or not 1 <= int(value) <= recurring.MAX_CONCURRENCY:
        raise InvalidInput(f"max_concurrency must be from 1 to {recurring.MAX_CONCURRENCY}, found {found(value)}")
    return int(value)


def _enabled(body: dict[str, Any]) -> bool:
    mode = body.get("mode", "MODE_UNSPECIFIED")
    if not isinstance(mode, str | int) or mode not in _MODES:
        raise InvalidInput(f"mode must be ENABLE or DISABLE, found {found(mode)}")
    return _MODES[mode]
