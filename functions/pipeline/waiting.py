"""Runs that wait for others of their pipeline to end, where the pipeline says how many may go on at once."""

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from zeroflow.functions.pipeline.plan import Plan
from zeroflow.metadata.pipelines import Run


def must_wait(session: Session, run: Run, plan: Plan) -> bool:
    """Say whether a new run has to wait: enough of its pipeline go on, or others have waited for longer."""
    most = plan.config.max_active_runs
    if most is None:
        return False
    count = _count(session, run)
    return count.get("PENDING", 0) > 0 or count.get("RUNNING", 0) >= most


def next_of(session: Session, ended: Run, plan: Plan) -> Run | None:
    """Return the run that has waited longest and may begin now that one of the pipeline has ended, locked."""
    most = plan.config.max_active_runs
    if most is None:
        return None
    session.flush()
    if _count(session, ended).get("RUNNING", 0) >= most:
        return None
    first = select(Run).where(*_siblings(ended), Run.state == "PENDING").order_by(Run.created_ms, Run.id).limit(1)
    return session.scalars(first.with_for_update(skip_locked=True)).first()


def _count(session: Session, run: Run) -> dict[str, int]:
    states = select(Run.state, func.count()).where(*_siblings(run), Run.id != run.id).group_by(Run.state)
    return {row[0]: row[1] for row in session.execute(states)}


def _siblings(run: Run) -> tuple[ColumnElement[bool], ...]:
    return Run.namespace == run.namespace, Run.pipeline_name == run.pipeline_name
