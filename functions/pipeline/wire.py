"""Rows as KFP's v2beta1 API writes them (run.proto, experiment.proto, pipeline.proto in their JSON form).

Beside the contract's fields a run has ours, which official clients ignore: `pipeline_name`, `namespace`, `cause`,
`outputs`.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from zeroflow.functions.pipeline.catalog import DEFAULT_NAMESPACE
from zeroflow.functions.pipeline.executions import task_id
from zeroflow.functions.pipeline.plan import Plan
from zeroflow.functions.pipeline.plans import document_of
from zeroflow.functions.pipeline.states import rfc3339
from zeroflow.metadata.pipelines import Experiment, Pipeline, PipelineVersion, RecurringRun, Run, Task

UNKNOWN = 2
"""google.rpc.Code for a step that failed for reasons of its own."""
_ROW = Task.__table__.c
_TASKS = (
    select(
        *(_ROW.id, _ROW.parent_id, _ROW.name, _ROW.display_name, _ROW.kind, _ROW.state, _ROW.error),
        *(_ROW.created_ms, _ROW.requested_ms, _ROW.started_ms, _ROW.finished_ms),
    )
    .where(_ROW.run_id == bindparam("of_run"))
    .order_by(_ROW.created_ms, _ROW.name)
)
"""Without their values and without objects: who waits for a run of 10,000 steps asks every second."""


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
        tasks = session.connection().execute(_TASKS, {"of_run": row.id}).all()
        body["run_details"] = {"task_details": _task_details(row.id, tasks, plan)}
        root = session.get(Task, task_id(row.id, ""))
        body["outputs"] = {} if root is None else _outputs(root)
    return body


def _task_details(run_id: str, tasks: Sequence[Any], plan: Plan) -> list[dict[str, Any]]:
    """Write rows of `_TASKS` as PipelineTaskDetail.

    `child_tasks` are the tasks below a DAG, or those that depend on a step.
    """
    ids = {task.name: task.id for task in tasks}
    below: dict[str | None, list[dict[str, str]]] = defaultdict(list)
    for task in tasks:
        below[task.parent_id].append({"task_id": task.id})
    details = []
    for own_id, parent_id, name, shown, kind, state, error, created_ms, requested_ms, started_ms, finished_ms in tasks:
        children = below.get(own_id) or [{"task_id": ids[other]} for other in _dependents(name, kind, plan)]
        detail = {
            "run_id": run_id,
            "task_id": own_id,
            "display_name": shown,
            "create_time": rfc3339(created_ms),
            "state": state,
            "child_tasks": children,
        }
        if begun_ms := started_ms or requested_ms:
            detail["start_time"] = rfc3339(begun_ms)
        if finished_ms is not None:
            detail["end_time"] = rfc3339(finished_ms)
        if error and state in ("FAILED", "CANCELED"):
            detail["error"] = _error(error)
        if parent_id is not None:
            detail["parent_task_id"] = parent_id
        details.append(detail)
    return details


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


def _dependents(path: str, kind: str, plan: Plan) -> list[str]:
    if not path or kind == "iteration":
        return []
    prefix = path.rpartition(".")[0]
    return [f"{prefix}.{name}" if prefix else name for name in plan.task(path).dependents]


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
