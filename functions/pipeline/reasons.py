"""Why a step ran, or why it did not have to: `zeroflow why`.

A miss is told by what differs from the nearest earlier execution: of the executions of the same step in the latest runs
of the same pipeline, the one that differs in the fewest things.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from zeroflow.errors import NotFound
from zeroflow.functions.pipeline import differences
from zeroflow.functions.pipeline.executions import task_id
from zeroflow.functions.pipeline.plan import Plan
from zeroflow.functions.pipeline.plans import Plans
from zeroflow.functions.pipeline.rows import values
from zeroflow.functions.pipeline.states import rfc3339
from zeroflow.metadata.pipelines import Run, Task

LATEST = 200
"""Runs that are looked at."""


@dataclass(frozen=True)
class _Candidate:
    run: Run
    row: Task
    differences: list[differences.Difference]

    @property
    def distance(self) -> tuple[bool, int]:
        """How far the execution is from another; one that did not succeed is farther than any that did."""
        return self.row.state != "SUCCEEDED", len(self.differences)


def of_task(session: Session, plans: Plans, run: Run, row: Task) -> dict[str, Any]:
    """Tell why a step's outputs were reused or were not."""
    told = {
        "run_id": run.id,
        "task_id": row.id,
        "name": row.name,
        "state": row.state,
        "hit": row.cached_from is not None,
    }
    if row.cached_from is not None:
        return {**told, **_hit(session, row)}
    plan = plans.of(session, run.spec_sha256)
    reason = _without_looking(row, plan)
    if reason is not None:
        return {**told, "reason": reason, "nearest": None, "differences": []}
    nearest = _nearest(session, plans, run, row, plan)
    if nearest is None:
        reason = f"no earlier execution of this step is known in namespace {run.namespace}"
        return {**told, "reason": reason, "nearest": None, "differences": []}
    if row.cache_note:
        reason = row.cache_note
    elif nearest.differences:
        reason = "; ".join(differences.said(one) for one in nearest.differences)
    elif plan.task(row.name).cache_key or nearest.row.cache_key is None:
        reason = "nothing differs, but the earlier execution was not kept under the same cache key"
    else:
        reason = "nothing differs, but the earlier execution had not succeeded when this one began"
    if nearest.row.state != "SUCCEEDED":
        reason = f"no earlier execution succeeded; the nearest is {nearest.row.state}: {reason}"
    return {**told, "reason": reason, "nearest": _named(nearest.run, nearest.row), "differences": nearest.differences}


def _hit(session: Session, row: Task) -> dict[str, Any]:
    source = session.get(Task, row.cached_from)
    of_run = session.get(Run, source.run_id) if source else None
    how = row.cache_note or "taken from the cache"
    same = "code, image, parameters and the content of the inputs are the same"
    return {
        "reason": f"{how}: {same}",
        "nearest": _named(of_run, source) if source else {"task_id": row.cached_from},
        "differences": [],
    }


def _without_looking(row: Task, plan: Plan) -> str | None:
    """Return the reason, when it lies in the step itself."""
    task = plan.task(row.name)
    if row.inputs is None:
        return f"it has not run: its state is {row.state}"
    if task.component.importer is not None:
        return "an importer always looks again: what lies at a place may have changed"
    if task.component.claim:
        return "a step that makes or deletes a volume claim always runs: the claims of a namespace may have changed"
    if row.cache_key is None and row.cache_note is None:
        return "caching is off for this task"
    return None


def _nearest(session: Session, plans: Plans, run: Run, row: Task, plan: Plan) -> _Candidate | None:
    earlier = (
        select(Run)
        .where(Run.namespace == run.namespace, Run.pipeline_name == run.pipeline_name, Run.id != run.id)
        .where(Run.created_ms <= run.created_ms)
        .order_by(Run.created_ms.desc())
        .limit(LATEST)
    )
    runs = {task_id(found.id, row.name): found for found in session.scalars(earlier)}
    rows = {found.id: found for found in session.scalars(select(Task).where(Task.id.in_(runs)))}
    best: _Candidate | None = None  # one that succeeded, if there is one
    component, given = plan.task(row.name).component, values(row.inputs)
    for found in (rows[id_] for id_ in runs if id_ in rows):  # the latest first
        if found.inputs is None:
            continue
        try:
            other = plans.of(session, runs[found.id].spec_sha256).task(found.name).component
        except NotFound:
            continue
        differing = differences.of_executions(other, values(found.inputs), component, given)
        candidate = _Candidate(runs[found.id], found, differing)
        if best is None or candidate.distance < best.distance:
            best = candidate
        if best.distance == (False, 0):
            break
    return best


def _named(run: Run | None, row: Task) -> dict[str, Any]:
    return {
        "run_id": row.run_id,
        "run_name": run.name if run else None,
        "task_id": row.id,
        "name": row.name,
        "finished_at": rfc3339(row.finished_ms) if row.finished_ms else None,
    }
