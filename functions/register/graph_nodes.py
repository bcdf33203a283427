"""What is known of the lineage graph's nodes."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from zeroflow.metadata.artifacts import Artifact
from zeroflow.metadata.pipelines import Run, Task
from zeroflow.metadata.registry import RegistryContext

Node = tuple[str, str]
Told = dict[str, Any]

BATCH = 400


def describe(session: Session, nodes: Iterable[Node]) -> dict[Node, Told]:
    """Return what is known of each node; one that nothing is known of has its type and id."""
    found: dict[Node, Told] = {(kind, node): {"type": kind, "id": node} for kind, node in sorted(nodes)}
    for artifact in rows(session, Artifact, _ids(found, "artifact")):
        found["artifact", artifact.id] |= _of_artifact(artifact)
    tasks = rows(session, Task, _ids(found, "task"))
    runs = {run.id: run for run in rows(session, Run, sorted({*_ids(found, "run"), *(one.run_id for one in tasks)}))}
    for task in tasks:
        found["task", task.id] |= _of_task(task, runs.get(task.run_id))
    for run in _ids(found, "run"):
        found["run", run] |= _of_run(runs[run]) if run in runs else {}
    numbers = [int(version) for version in _ids(found, "model_version") if version.isdecimal()]
    versions = rows(session, RegistryContext, numbers)
    models = {model.id: model for model in rows(session, RegistryContext, [one.parent_id for one in versions])}
    for version in versions:
        found["model_version", str(version.id)] |= _of_version(version, models.get(version.parent_id))
    return found


def _of_artifact(row: Artifact) -> Told:
    return {
        "name": row.name,
        "namespace": row.namespace,
        "artifact_type": row.type,
        "uri": row.uri,
        "sha256": row.sha256,
        "size_bytes": row.size_bytes,
        "created_ms": row.created_ms,
    }


def _of_task(row: Task, run: Run | None) -> Told:
    return {
        "name": row.name,
        "state": row.state,
        "run_id": row.run_id,
        "run_name": run.name if run else None,
        "pipeline_name": run.pipeline_name if run else None,
        "namespace": run.namespace if run else None,
        "spec_sha256": run.spec_sha256 if run else None,
        "cached_from": row.cached_from,
        "started_ms": row.started_ms,
        "finished_ms": row.finished_ms,
    }


def _of_run(row: Run) -> Told:
    return {
        "name": row.name,
        "namespace": row.namespace,
        "pipeline_name": row.pipeline_name,
        "state": row.state,
        "parameters": row.parameters,
        "spec_sha256": row.spec_sha256,
        "created_ms": row.created_ms,
        "finished_ms": row.finished_ms,
    }


def _of_version(row: RegistryContext, model: RegistryContext | None) -> Told:
    properties = {
        name: next((value for key, value in told.items() if key.endswith("_value")), None)
        for name, told in row.custom_properties.items()
    }
    return {
        "name": f"{model.name}/{row.name}" if model else row.name,
        "registered_model": model.name if model else None,
        "version": row.name,
        "state": row.state,
        "author": row.fields.get("author"),
        "description": row.description,
        "properties": properties,
        "created_ms": row.created_ms,
    }


def rows(session: Session, table: Any, ids: Sequence[Any]) -> list[Any]:
    """Return the rows with these ids, in a few queries."""
    found: list[Any] = []
    for some in batches(ids):
        found += session.scalars(select(table).where(table.id.in_(some))).all()
    return found


def batches(ids: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Cut a list into parts that fit into one query."""
    for at in range(0, len(ids), BATCH):
        yield ids[at : at + BATCH]


def _ids(nodes: Iterable[Node], kind: str) -> list[str]:
    return [node for of, node in nodes if of == kind]
