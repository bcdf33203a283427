"""Recurring runs: declared once, started by a clock, at most `max_concurrency` of them at once.

The row says what is due; a tick only makes it look. A due time starts at most one run, whose id follows from both. One
that finds all places taken stays due until a run of the series ends. Each change of the schedule that the clock
needs is an event in the same transaction, whose handler declares it (`clock`).
"""

import re
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from zeroflow.errors import InvalidInput, NotFound, ZeroflowError
from zeroflow.events import Transaction
from zeroflow.functions.pipeline import catalog, inputs, runs
from zeroflow.functions.pipeline.engine import Engine
from zeroflow.functions.pipeline.executions import NAMESPACE
from zeroflow.functions.pipeline.schedules import Schedule
from zeroflow.functions.pipeline.states import FINAL, rfc3339
from zeroflow.metadata import now_ms
from zeroflow.metadata.pipelines import RecurringRun, Run

CHANGED = "dev.zeroflow.recurringrun.changed"
MAX_CONCURRENCY = 10
MAX_MISSED = 100_000
_MACRO = re.compile(r"\[\[(ScheduledTime|CurrentTime|Index|RunUUID)\]\]")


def create(tx: Transaction, engine: Engine, asked: runs.Submission, schedule: Schedule, **options: Any) -> RecurringRun:
    """Check what is asked for and declare it; raise InvalidInput or NotFound naming the fault."""
    session, version_id, sha256 = tx.session, None, None
    if not asked.name:
        raise InvalidInput("display_name is required")
    if asked.document is not None:
        sha256, plan = engine.plans.submit(session, asked.document)
    elif asked.pipeline_id or asked.version_id:
        version = catalog.version(session, asked.pipeline_id, asked.version_id)
        asked, version_id = replace(asked, pipeline_id=version.pipeline_id), asked.version_id or None
        plan = engine.plans.of(session, version.spec_sha256)
    else:
        raise InvalidInput("a recurring run needs a pipeline_spec or a pipeline_version_reference")
    inputs.of_run(plan, asked.parameters)
    group, now = runs.experiment_of(tx, asked.namespace, asked.experiment_id), now_ms()
    row = RecurringRun(
        id=str(uuid.uuid4()),
        namespace=group.namespace,
        experiment_id=group.id,
        name=asked.name,
        description=asked.description,
        pipeline_id=asked.pipeline_id or None,
        pipeline_version_id=version_id,
        spec_sha256=sha256,
        parameters=asked.parameters,
        pipeline_root=asked.pipeline_root,
        service_account=asked.service_account,
        cron=schedule.cron,
        interval_s=schedule.interval_s,
        start_ms=schedule.start_ms,
        end_ms=schedule.end_ms,
        next_ms=schedule.first(now),
        fired=0,
        declared=None,
        generation=0,
        error=None,
        created_ms=now,
        updated_ms=now,
        **options,
    )
    session.add(row)
    session.flush()
    _declare(tx, row, now)
    return row


def get(session: Session, recurring_run_id: str, *, lock: bool = False) -> RecurringRun:
    """Return a recurring run; raise NotFound."""
    row = session.get(RecurringRun, recurring_run_id, with_for_update=lock or None)
    if row is None:
        raise NotFound(f"there is no recurring run {recurring_run_id}")
    return row


def locked(session: Session, recurring_run_id: str) -> RecurringRun:
    """Return a recurring run, locked until the transaction ends; raise NotFound."""
    return get(session, recurring_run_id, lock=True)


def set_enabled(tx: Transaction, recurring_run_id: str, enabled: bool) -> None:
    """Enable or disable; what was due while it was disabled is not made up for."""
    row, now = locked(tx.session, recurring_run_id), now_ms()
    if enabled and not row.enabled:
        row.next_ms = max(schedule_of(row).first(row.created_ms) or 0, _after(row, now) or 0) or None
    row.enabled, row.updated_ms = enabled, now
    _declare(tx, row, now)


def remove(tx: Transaction, recurring_run_id: str) -> None:
    """Delete a recurring run; the runs that it started stay."""
    row = locked(tx.session, recurring_run_id)
    row.enabled = False
    _declare(tx, row, now_ms())
    tx.session.delete(row)


def disable_of(tx: Transaction, experiment_id: str) -> None:
    """Disable all recurring runs of an experiment."""
    enabled = select(RecurringRun.id).where(RecurringRun.experiment_id == experiment_id, RecurringRun.enabled)
    for recurring_run_id in tx.session.scalars(enabled).all():
        set_enabled(tx, recurring_run_id, False)


def end_runs(tx: Transaction, engine: Engine, recurring_run_id: str) -> None:
    """Terminate the runs of the series that are not finished."""
    locked(tx.session, recurring_run_id)
    for run_id in tx.session.scalars(_unfinished(Run.id, recurring_run_id)).all():
        engine.terminate(tx, run_id)


def fire(tx: Transaction, engine: Engine, row: RecurringRun, now: int) -> None:
    """Start the runs that are due and have a place."""
    if not row.enabled:
        return
    schedule = schedule_of(row)
    due: list[int] = []
    for tick in schedule.due(row.next_ms, now, row.created_ms):
        due.append(tick)
        if len(due) >= MAX_MISSED:
            break
    if row.no_catchup:
        due = due[-1:]
    free = row.max_concurrency - _active(tx.session, row)
    for tick in due[: max(free, 0)]:
        try:
            with tx.session.begin_nested():
                runs.submit(tx, engine, _submission(row, tick, now))
                row.fired += 1
            row.error = None
        except ZeroflowError as error:  # such as a version that was deleted: the next time is tried again
            row.error = str(error)
        row.next_ms, row.updated_ms = schedule.after(tick, row.created_ms), now
    if row.no_catchup and len(due) == 1 and free <= 0:
        row.next_ms = due[0]
    _declare(tx, row, now)


def schedule_of(row: RecurringRun) -> Schedule:
    """Return when a recurring run is due."""
    return Schedule(row.cron, row.interval_s, row.start_ms, row.end_ms)


def _declare(tx: Transaction, row: RecurringRun, now: int) -> None:
    """Say what the clock should be, when that has changed."""
    wanted = schedule_of(row).declared(row.next_ms, now) if row.enabled and row.next_ms is not None else None
    if wanted == row.declared:
        return
    row.declared, row.generation = wanted, row.generation + 1
    tx.emit(
        CHANGED,
        subject=f"recurringruns/{row.id}",
        event_id=f"{row.id}.{row.generation}.changed",
        data={"recurring_run_id": row.id, "schedule": wanted},
    )


def _after(row: RecurringRun, now: int) -> int | None:
    return schedule_of(row).after(now, row.created_ms)


def _active(session: Session, row: RecurringRun) -> int:
    return session.scalar(_unfinished(func.count(), row.id)) or 0


def _unfinished(what: Any, recurring_run_id: str) -> Select[Any]:
    return select(what).where(Run.recurring_run_id == recurring_run_id, Run.state.not_in(FINAL))


def _submission(row: RecurringRun, tick: int, now: int) -> runs.Submission:
    run_id = str(uuid.uuid5(NAMESPACE, f"{row.id}/{tick}"))
    macros = {
        "ScheduledTime": _compact(tick), "CurrentTime": _compact(now), "Index": str(row.fired + 1), "RunUUID": run_id,
    }  # fmt: skip
    return runs.Submission(
        namespace=row.namespace,
        name=f"{row.name} {rfc3339(tick)}",
        spec_sha256=row.spec_sha256 or "",
        pipeline_id=row.pipeline_id or "",
        version_id=row.pipeline_version_id or "",
        experiment_id=row.experiment_id,
        description=f"started by the recurring run {row.name}",
        parameters={name: _filled(value, macros) for name, value in row.parameters.items()},
        pipeline_root=row.pipeline_root,
        service_account=row.service_account,
        run_id=run_id,
        recurring_run_id=row.id,
    )


def _filled(value: Any, macros: dict[str, str]) -> Any:
    return _MACRO.sub(lambda match: macros[match[1]], value) if isinstance(value, str) else value


def _compact(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y%m%d%H%M%S")
