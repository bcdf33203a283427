"""Where two runs part: the first difference in parameters, code, inputs or outputs, and all the others."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from zeroflow.errors import NotFound
from zeroflow.functions.pipeline import differences
from zeroflow.functions.pipeline.plan import Plan
from zeroflow.functions.pipeline.plans import Plans
from zeroflow.functions.pipeline.rows import values
from zeroflow.metadata.pipelines import Run, Task

MAX_DIFFERENCES = 1000


def of_runs(session: Session, plans: Plans, before: Run, after: Run) -> dict[str, Any]:
    """Compare two runs in the order in which the first one's tasks began; `first` is where they part."""
    old, new = _tasks(session, before), _tasks(session, after)
    found = [{"task": "", **one} for one in _of_wholes(before, after, old, new)]
    plan, plan_after = (plans.of(session, run.spec_sha256) for run in (before, after))
    for name in dict.fromkeys((*old, *new)):
        if name and len(found) <= MAX_DIFFERENCES:
            found += [{"task": name, **one} for one in _of_tasks(old.get(name), new.get(name), plan, plan_after)]
    return {
        "runs": [{"run_id": run.id, "display_name": run.name, "state": run.state} for run in (before, after)],
        "first": found[0] if found else None,
        "differences": found[:MAX_DIFFERENCES],
        "truncated": len(found) > MAX_DIFFERENCES,
    }


def _tasks(session: Session, run: Run) -> dict[str, Task]:
    rows = session.scalars(select(Task).where(Task.run_id == run.id)).all()
    ordered = sorted(rows, key=lambda row: (row.requested_ms or row.started_ms or float("inf"), row.name))
    return {row.name: row for row in ordered}


def _of_wholes(before: Run, after: Run, old: dict[str, Task], new: dict[str, Task]) -> list[differences.Difference]:
    found = []
    if before.pipeline_name != after.pipeline_name:
        found.append({"kind": "pipeline", "name": "", "before": before.pipeline_name, "after": after.pipeline_name})
    given = [values(rows[""].inputs)["parameters"] if "" in rows else {} for rows in (old, new)]
    return found + differences.of_parameters(*given)


def _of_tasks(before: Task | None, after: Task | None, plan: Plan, plan_after: Plan) -> list[differences.Difference]:
    if before is None or after is None:
        there = ["(absent)" if row is None else row.state for row in (before, after)]
        return [{"kind": "task", "name": "", "before": there[0], "after": there[1]}]
    found: list[differences.Difference] = []
    if before.kind == after.kind == "step":
        try:
            components = plan.task(before.name).component, plan_after.task(after.name).component
            found += differences.of_components(*components)
        except NotFound:
            pass
        found += differences.of_inputs(values(before.inputs), values(after.inputs))
        found += differences.of_outputs(values(before.outputs), values(after.outputs))
    for kind, was, now in (("state", before.state, after.state), ("error", before.error, after.error)):
        if was != now:
            found.append({"kind": kind, "name": "", "before": was, "after": now})
    return found
