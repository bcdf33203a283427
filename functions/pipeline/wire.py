"""Rows as KFP's v2beta1 API writes them (run.proto, experiment.proto, pipeline.proto in their JSON form).

Beside the contract's fields a run has ours, which official clients ignore: `pipeline_name`, `namespace`, `cause`,
`outputs`.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import orjson
from sqlalchemy import select
from sqlalchemy.orm import Session

from zeroflow.functions.pipeline.catalog import DEFAULT_NAMESPACE
from zeroflow.functions.pipeline.plan import Plan
from zeroflow.functions.pipeline.plans import document_of
from zeroflow.functions.pipeline.states import rfc3339
from zeroflow.metadata.pipelines import Experiment, Pipeline, PipelineVersion, RecurringRun, Run, Task

UNKNOWN = 2
"""google.rpc.Code for a step that failed for reasons of its own."""


def experiment(row: Experiment) -> dict[str, Any]:
    """Write an experiment."""
    return _present(
        experiment_id=row.id,
        display_name=row.name,
        description=row.description,
        created_at=rfc3339(row.created_ms),
        namespace=_namespace(row.namespace),
        storage_state=row.storage_state,
        last_run_created_at=_time(row.last_run_created_ms),
    )


def pipeline(row: Pipeline) -> dict[str, Any]:
    """Write a pipeline."""
    return _present(
        pipeline_id=row.id,
        name=row.name,
        display_name=row.display_name,
        description=row.description,
        created_at=rfc3339(row.created_ms),
        namespace=_namespace(row.namespace),
        tags=row.tags or None,
    )


def recurring_run(session: Session, row: RecurringRun) -> dict[str, Any]:
    """Write a recurring run."""
    times = _present(start_time=_time(row.start_ms), end_time=_time(row.end_ms))
    if row.cron:
        trigger = {"cron_schedule": {**times, "cron": row.cron}}
    else:
        trigger = {"periodic_schedule": {**times, "interval_second": str(row.interval_s)}}
    body = _present(
        recurring_run_id=row.id,
        display_name=row.name,
        description=row.description,
        experiment_id=row.experiment_id,
        namespace=_namespace(row.namespace),
        runtime_config=_present(parameters=row.parameters, pipeline_root=row.pipeline_root),
        service_account=row.service_account,
        max_concurrency=str(row.max_concurrency),
        no_catchup=row.no_catchup,
        trigger=trigger,
        mode="ENABLE" if row.enabled else "DISABLE",
        status="ENABLED" if row.enabled else "DISABLED",
        created_at=rfc3339(row.created_ms),
        updated_at=rfc3339(row.updated_ms),
        error=_error(row.error),
        next_run_at=_time(row.next_ms if row.enabled else None),
    )
    if row.spec_sha256:
        body["pipeline_spec"] = orjson.Fragment(document_of(session, row.spec_sha256))
    else:
        reference = _present(pipeline_id=row.pipeline_id, pipeline_version_id=row.pipeline_version_id)
        body["pipeline_version_reference"] = reference
    return body


def version(session: Session, row: PipelineVersion) -> dict[str, Any]:
    """Write a pipeline version with its definition."""
    return _present(
        pipeline_id=row.pipeline_id,
        pipeline_version_id=row.id,
        name=row.name,
        display_name=row.display_name,
        description=row.description,
        code_source_url=row.code_source_url,
        tags=row.tags or None,
        created_at=rfc3339(row.created_ms),
        pipeline_spec=orjson.Fragment(document_of(session, row.spec_sha256)),
    )


def run(session: Session, row: Run, plan: Plan | None = None) -> dict[str, Any]:
    """Write a run; with its plan, also the details of its tasks."""
    body = _present(
        experiment_id=row.experiment_id,
        run_id=row.id,
        display_name=row.name,
        storage_state=row.storage_state,
        description=row.description,
        runtime_config=_present(parameters=row.parameters, pipeline_root=row.pipeline_root),
        service_account=row.service_account,
        created_at=rfc3339(row.created_ms),
        scheduled_at=rfc3339(row.created_ms),
        finished_at=_time(row.finished_ms),
        state=row.state,
        error=_error(row.error),
        state_history=[
            _present(update_time=rfc3339(item["update_ms"]), state=item["state"], error=_error(item.get("error")))
            for item in row.state_history
        ],
        namespace=row.namespace,
        pipeline_name=row.pipeline_name,
        cause=row.cause,
        forked_from=row.forked_from,
        forked_at=row.forked_at,
    )
    if row.recurring_run_id:
        body["recurring_run_id"] = row.recurring_run_id
    if row.pipeline_version_id:
        body["pipeline_version_reference"] = {
            "pipeline_id": row.pipeline_id,
            "pipeline_version_id": row.pipeline_version_id,
        }
    elif plan is not None:
        body["pipeline_spec"] = orjson.Fragment(document_of(session, row.spec_sha256))
    if plan is not None:
        tasks = list(session.scalars(select(Task).where(Task.run_id == row.id).order_by(Task.created_ms, Task.name)))
        body["run_details"] = {"task_details": task_details(tasks, plan)}
        body["outputs"] = next((_outputs(task) for task in tasks if task.parent_id is None), {})
    return body


def task_details(rows: Iterable[Task], plan: Plan) -> list[dict[str, Any]]:
    """Write tasks as PipelineTaskDetail; `child_tasks` are the tasks below a DAG, or those that depend on a step."""
    ids = {row.name: row.id for row in rows}
    below: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.parent_id is not None:
            below[row.parent_id].append(row.id)
    return [
        _present(
            run_id=row.run_id,
            task_id=row.id,
            display_name=row.display_name,
            create_time=rfc3339(row.created_ms),
            start_time=_time(row.started_ms or row.requested_ms),
            end_time=_time(row.finished_ms),
            state=row.state,
            error=_error(row.error if row.state in ("FAILED", "CANCELED") else None),
            parent_task_id=row.parent_id,
            child_tasks=[
                {"task_id": task_id} for task_id in (below[row.id] or [ids[name] for name in _dependents(row, plan)])
            ],
        )
        for row in rows
    ]


def task(row: Task) -> dict[str, Any]:
    """Write a task with all that is known of it, in our own shape."""
    return {
        "task_id": row.id,
        "name": row.name,
        "display_name": row.display_name,
        "kind": row.kind,
        "parent_task_id": row.parent_id,
        "state": row.state,
        "attempt": row.attempt,
        "created_at": rfc3339(row.created_ms),
        "requested_at": _time(row.requested_ms),
        "started_at": _time(row.started_ms),
        "finished_at": _time(row.finished_ms),
        "retry_at": _time(row.not_before_ms),
        "duration_ms": row.finished_ms - row.started_ms if row.finished_ms and row.started_ms else None,
        "timings_ms": row.timings,
        "cache_hit": row.cached_from is not None,
        "cached_from_task_id": row.cached_from,
        "cache_note": row.cache_note,
        "usage": row.usage,
        "inputs": row.inputs,
        "outputs": _outputs(row),
        "error": row.error,
        "exit_code": row.exit_code,
        "log_uri": row.log_uri,
    }


def _dependents(row: Task, plan: Plan) -> list[str]:
    if not row.name or row.kind == "iteration":
        return []
    prefix = row.name.rpartition(".")[0]
    return [f"{prefix}.{name}" if prefix else name for name in plan.task(row.name).dependents]


def _outputs(row: Task) -> dict[str, Any]:
    return row.outputs or {"parameters": {}, "artifacts": {}}


def _namespace(namespace: str) -> str:
    """Clients of a single-user installation know one namespace, whose name is empty."""
    return "" if namespace == DEFAULT_NAMESPACE else namespace


def _error(message: str | None) -> dict[str, Any] | None:
    return {"code": UNKNOWN, "message": message} if message else None


def _time(at_ms: int | None) -> str | None:
    return None if at_ms is None else rfc3339(at_ms)


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
