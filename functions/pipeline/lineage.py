"""The lineage graph around an artifact: what it was made from and what came of it, to the ends.

A task that took its outputs from the cache counts as a writer of them beside the task that made them.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from zeroflow.errors import NotFound
from zeroflow.functions.pipeline.states import rfc3339
from zeroflow.metadata.artifacts import Artifact, ArtifactUse
from zeroflow.metadata.pipelines import Run, Task

METRICS = ("system.Metrics", "system.ClassificationMetrics", "system.SlicedClassificationMetrics")
MAX_NODES = 2000
"""A larger graph is cut, and says so."""


def artifact(session: Session, artifact_id: str) -> dict[str, Any]:
    """Describe one artifact; raise NotFound."""
    return described(found(session, artifact_id))


def found(session: Session, artifact_id: str) -> Artifact:
    """Return one artifact; raise NotFound."""
    row = session.get(Artifact, artifact_id)
    if row is None:
        raise NotFound(f"there is no artifact {artifact_id}")
    return row


def metrics(session: Session, run_id: str) -> list[dict[str, Any]]:
    """Return what the steps of a run measured: the metadata of their Metrics artifacts, of every kind."""
    written = (
        select(Artifact, Task.name, ArtifactUse.key)
        .join(ArtifactUse, ArtifactUse.artifact_id == Artifact.id)
        .join(Task, Task.id == ArtifactUse.task_id)
        .where(Task.run_id == run_id, ArtifactUse.direction == "output", Artifact.type.in_(METRICS))
        .order_by(Task.created_ms, Task.name, ArtifactUse.key, ArtifactUse.position)
    )
    return [
        {"task": task, "output": key, "artifact_id": row.id, "type": row.type, "values": row.meta}
        for row, task, key in session.execute(written)
    ]


def of(session: Session, artifact_id: str) -> dict[str, Any]:
    """Return the graph as artifacts, tasks and edges `{from, to, key}` that point the way the data went."""
    start = artifact(session, artifact_id)
    upstream, up_cut = _walk(session, artifact_id, "output", "input")
    downstream, down_cut = _walk(session, artifact_id, "input", "output")
    edges = {(use.task_id, use.direction, use.key, use.position): use for use in (*upstream, *downstream)}.values()
    artifacts = _by_ids(session, Artifact, {use.artifact_id for use in edges})
    tasks = _by_ids(session, Task, {use.task_id for use in edges})
    runs = {run.id: run for run in _by_ids(session, Run, {task.run_id for task in tasks})}
    return {
        "artifact": start,
        "artifacts": [described(one) for one in artifacts],
        "tasks": [_task(task, runs.get(task.run_id)) for task in tasks],
        "edges": [_edge(use) for use in edges],
        "truncated": up_cut or down_cut,
    }


def _walk(session: Session, start: str, first: str, then: str) -> tuple[list[ArtifactUse], bool]:
    """Follow edges from an artifact to tasks by `first` and from those to artifacts by `then`, to the end."""
    seen_artifacts, seen_tasks, uses = {start}, set[str](), list[ArtifactUse]()
    front: set[str] = {start}
    while front:
        found = _uses(session, ArtifactUse.artifact_id, front, first)
        uses += found
        tasks = {use.task_id for use in found} - seen_tasks
        seen_tasks |= tasks
        found = _uses(session, ArtifactUse.task_id, tasks, then)
        uses += found
        front = {use.artifact_id for use in found} - seen_artifacts
        seen_artifacts |= front
        if len(seen_artifacts) + len(seen_tasks) > MAX_NODES:
            return uses, True
    return uses, False


def _uses(session: Session, column: Any, ids: Iterable[str], direction: str) -> list[ArtifactUse]:
    wanted, found = sorted(ids), list[ArtifactUse]()
    for at in range(0, len(wanted), 500):
        page = select(ArtifactUse).where(column.in_(wanted[at : at + 500]), ArtifactUse.direction == direction)
        found += session.scalars(page).all()
    return found


def _by_ids(session: Session, table: Any, ids: Iterable[str]) -> list[Any]:
    wanted, found = sorted(ids), list[Any]()
    for at in range(0, len(wanted), 500):
        found += session.scalars(select(table).where(table.id.in_(wanted[at : at + 500]))).all()
    return found


def described(row: Artifact) -> dict[str, Any]:
    """Write an artifact."""
    return {
        "artifact_id": row.id,
        "namespace": row.namespace,
        "name": row.name,
        "type": row.type,
        "uri": row.uri,
        "sha256": row.sha256,
        "size_bytes": row.size_bytes,
        "metadata": row.meta,
        "recorded_by": row.recorded_by,
        "created_at": rfc3339(row.created_ms),
    }


def _task(row: Task, run: Run | None) -> dict[str, Any]:
    return {
        "task_id": row.id,
        "name": row.name,
        "run_id": row.run_id,
        "run_name": run.name if run else None,
        "pipeline_name": run.pipeline_name if run else None,
        "state": row.state,
        "cached_from_task_id": row.cached_from,
    }


def _edge(use: ArtifactUse) -> dict[str, Any]:
    ends = (use.artifact_id, use.task_id) if use.direction == "input" else (use.task_id, use.artifact_id)
    return {"from": ends[0], "to": ends[1], "key": use.key, "position": use.position}
