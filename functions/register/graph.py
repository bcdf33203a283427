"""The lineage graph from data to deployment, walkable both ways.

One graph over three sources: what tasks read and wrote (artifact_uses), the registry's own edges (lineage_edges), and
that a version belongs to its model and a task to its run. Nodes are (type, id):

    artifact <id> -> task <task id> -> artifact <id> -> model_version <id> -> inference_service <namespace>/<name>

Each level of a walk is a few queries, however many nodes it has; runs, pipelines and models are told on the nodes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from zeroflow.metadata.artifacts import Artifact, ArtifactUse
from zeroflow.metadata.pipelines import Run, Task
from zeroflow.metadata.registry import LineageEdge, RegistryContext

Node = tuple[str, str]

MAX_NODES = 5_000
"""A larger graph is cut, and says so."""
BATCH = 400


@dataclass(frozen=True, order=True)
class Edge:
    """`kind`: read, wrote, registered_as or deployed_as; `tail` was there first, `head` came of it."""

    kind: str
    tail: Node
    head: Node


@dataclass
class Graph:
    """What is reached from `start`; `truncated`: there is more."""

    start: Node
    edges: set[Edge] = field(default_factory=set)
    nodes: dict[Node, dict[str, Any]] = field(default_factory=dict)
    truncated: bool = False


def walk(session: Session, start: Node, *, upstream: bool = True, downstream: bool = True) -> Graph:
    """Follow the edges from `start` to the ends, against the data's way (upstream), with it, or both."""
    graph = Graph(start)
    reached = {start}
    for wanted, follow, far in (
        (upstream, _into, lambda edge: edge.tail),
        (downstream, _out_of, lambda edge: edge.head),
    ):
        if wanted:
            reached |= _follow(session, graph, follow, far)
    graph.nodes = describe(session, reached)
    return graph


def _follow(
    session: Session,
    graph: Graph,
    follow: Callable[[Session, Sequence[Node]], Iterator[Edge]],
    far: Callable[[Edge], Node],
) -> set[Node]:
    seen, front = {graph.start}, {graph.start}
    while front and not graph.truncated:
        edges = set(follow(session, sorted(front)))
        front = {far(edge) for edge in edges} - seen
        if len(seen) + len(front) > MAX_NODES:
            graph.truncated = True
            front = set(sorted(front)[: MAX_NODES - len(seen)])
        seen |= front
        graph.edges |= {edge for edge in edges if far(edge) in seen}
    return seen


def _into(session: Session, front: Sequence[Node]) -> Iterator[Edge]:
    yield from _uses(session, _ids(front, "artifact"), "output", by_artifact=True)
    yield from _uses(session, _ids(front, "task"), "input", by_artifact=False)
    for kind in ("model_version", "inference_service"):
        yield from _own(session, LineageEdge.to_type, LineageEdge.to_id, kind, _ids(front, kind))


def _out_of(session: Session, front: Sequence[Node]) -> Iterator[Edge]:
    yield from _uses(session, _ids(front, "artifact"), "input", by_artifact=True)
    yield from _uses(session, _ids(front, "task"), "output", by_artifact=False)
    for kind in ("artifact", "model_version"):
        yield from _own(session, LineageEdge.from_type, LineageEdge.from_id, kind, _ids(front, kind))


def _uses(session: Session, ids: Sequence[str], direction: str, *, by_artifact: bool) -> Iterator[Edge]:
    column: Any = ArtifactUse.artifact_id if by_artifact else ArtifactUse.task_id
    for some in _batches(ids):
        found = select(ArtifactUse.task_id, ArtifactUse.artifact_id).where(
            column.in_(some), ArtifactUse.direction == direction
        )
        for task, artifact in session.execute(found):
            if direction == "input":
                yield Edge("read", ("artifact", artifact), ("task", task))
            else:
                yield Edge("wrote", ("task", task), ("artifact", artifact))


def _own(session: Session, type_column: Any, id_column: Any, kind: str, ids: Sequence[str]) -> Iterator[Edge]:
    for some in _batches(ids):
        found = select(
            LineageEdge.kind, LineageEdge.from_type, LineageEdge.from_id, LineageEdge.to_type, LineageEdge.to_id
        ).where(type_column == kind, id_column.in_(some), LineageEdge.kind.in_(("registered_as", "deployed_as")))
        for edge, from_type, from_id, to_type, to_id in session.execute(found):
            yield Edge(edge, (from_type, from_id), (to_type, to_id))


def describe(session: Session, nodes: Iterable[Node]) -> dict[Node, dict[str, Any]]:
    """Return what is known of each node; one that nothing is known of has its type and id."""
    found: dict[Node, dict[str, Any]] = {(kind, node): {"type": kind, "id": node} for kind, node in sorted(nodes)}
    for artifact in _rows(session, Artifact, _ids(found, "artifact")):
        found["artifact", artifact.id] |= _of_artifact(artifact)
    tasks = _rows(session, Task, _ids(found, "task"))
    runs = {run.id: run for run in _rows(session, Run, sorted({task.run_id for task in tasks}))}
    for task in tasks:
        found["task", task.id] |= _of_task(task, runs.get(task.run_id))
    numbers = [int(version) for version in _ids(found, "model_version")]
    versions = _rows(session, RegistryContext, numbers)
    models = {model.id: model for model in _rows(session, RegistryContext, [one.parent_id for one in versions])}
    for version in versions:
        found["model_version", str(version.id)] |= _of_version(version, models.get(version.parent_id))
    return found


def _of_artifact(row: Artifact) -> dict[str, Any]:
    return {
        "name": row.name,
        "namespace": row.namespace,
        "artifact_type": row.type,
        "uri": row.uri,
        "sha256": row.sha256,
        "size_bytes": row.size_bytes,
        "created_ms": row.created_ms,
    }


def _of_task(row: Task, run: Run | None) -> dict[str, Any]:
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


def _of_version(row: RegistryContext, model: RegistryContext | None) -> dict[str, Any]:
    properties = {
        name: next((value for key, value in told.items() if key.endswith("_value")), None)
        for name, told in row.custom_properties.items()
    }
    return {
        "name": f"{model.name}/{row.name}" if model else row.name,
        "registered_model": model.name if model else None,
        "version": row.name,
        "state": row.state,
        "properties": properties,
        "created_ms": row.created_ms,
    }


def _ids(nodes: Iterable[Node], kind: str) -> list[str]:
    return [node for of, node in nodes if of == kind]


def _rows(session: Session, table: Any, ids: Sequence[Any]) -> list[Any]:
    rows: list[Any] = []
    for some in _batches(ids):
        rows += session.scalars(select(table).where(table.id.in_(some))).all()
    return rows


def _batches(ids: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for at in range(0, len(ids), BATCH):
        yield ids[at : at + BATCH]
