"""The lineage graph from data to drift, walkable both ways.

One graph over two sources: what tasks read and wrote (artifact_uses), and the edges that functions noted
(lineage_edges). Nodes are (type, id):

    artifact <id> -> task <task id>, trial <ns>/<name> or training_job <ns>/<kind>/<name>/<uid> -> artifact <id>
    -> model_version <id> -> revision <ns>/<revision> -> inference_service <ns>/<name>
    revision -> drift_event <event id> -> run <run id>

Each level of a walk is a few queries, however many nodes it has. What a node is part of - a task's run, a trial's
experiment - is told as an edge `contains` from the whole, and not walked: a run's other tasks are no relatives.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from zeroflow.functions.register import graph_nodes
from zeroflow.functions.register.graph_nodes import Node, batches
from zeroflow.metadata.artifacts import ArtifactUse
from zeroflow.metadata.pipelines import Run, Task
from zeroflow.metadata.registry import LineageEdge

MAX_NODES = 5_000
"""A larger graph is cut, and says so."""

WALKED = ("registered_as", "reproduced", "trained_on", "deployed_as", "serves", "drifted", "read", "wrote")
"""Kinds of lineage_edges that lead from what was there first to what came of it."""
WHOLES = ("contains", "tried")
"""Kinds that lead from a whole to its part."""


@dataclass(frozen=True, order=True)
class Edge:
    """`tail` was there first, `head` came of it."""

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
    wholes = set(_wholes(session, sorted(reached)))
    graph.edges |= wholes
    graph.nodes = graph_nodes.describe(session, reached | {edge.tail for edge in wholes})
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
    yield from _noted(session, LineageEdge.to_type, LineageEdge.to_id, front, WALKED)
    for run in _rows(session, Run, _ids(front, "run")):
        if run.cause:
            yield Edge("triggered", ("drift_event", str(run.cause.get("id"))), ("run", run.id))


def _out_of(session: Session, front: Sequence[Node]) -> Iterator[Edge]:
    yield from _uses(session, _ids(front, "artifact"), "input", by_artifact=True)
    yield from _uses(session, _ids(front, "task"), "output", by_artifact=False)
    yield from _noted(session, LineageEdge.from_type, LineageEdge.from_id, front, WALKED)
    for some in batches(_ids(front, "drift_event")):
        cause = Run.cause["id"].as_string()
        for run, event in session.execute(select(Run.id, cause).where(cause.in_(some))):
            yield Edge("triggered", ("drift_event", event), ("run", run))


def _uses(session: Session, ids: Sequence[str], direction: str, *, by_artifact: bool) -> Iterator[Edge]:
    column: Any = ArtifactUse.artifact_id if by_artifact else ArtifactUse.task_id
    for some in batches(ids):
        found = select(ArtifactUse.task_id, ArtifactUse.artifact_id).where(
            column.in_(some), ArtifactUse.direction == direction
        )
        for task, artifact in session.execute(found):
            if direction == "input":
                yield Edge("read", ("artifact", artifact), ("task", task))
            else:
                yield Edge("wrote", ("task", task), ("artifact", artifact))


def _noted(
    session: Session, type_column: Any, id_column: Any, front: Sequence[Node], kinds: Sequence[str]
) -> Iterator[Edge]:
    """Yield noted edges at these nodes; those of a task that has a row of its own are among its uses already."""
    for of in sorted({kind for kind, _ in front}):
        for some in batches(_ids(front, of)):
            found = select(
                LineageEdge.kind, LineageEdge.from_type, LineageEdge.from_id, LineageEdge.to_type, LineageEdge.to_id
            ).where(type_column == of, id_column.in_(some), LineageEdge.kind.in_(kinds))
            edges = [Edge(kind, (a, b), (c, d)) for kind, a, b, c, d in session.execute(found)]
            known = _recorded_tasks(session, {node[1] for edge in edges for node in (edge.tail, edge.head)})
            yield from (edge for edge in edges if not {edge.tail, edge.head} & known)


def _recorded_tasks(session: Session, ids: Iterable[str]) -> set[Node]:
    """Return those of `<run id>/<task name>` that the pipeline function has a row for."""
    named = sorted(one for one in ids if "/" in one)
    runs = sorted({one.partition("/")[0] for one in named})
    found: set[Node] = set()
    for some in batches(runs):
        tasks = session.execute(select(Task.run_id, Task.name).where(Task.run_id.in_(some)))
        found |= {("task", f"{run}/{name}") for run, name in tasks}
    return found & {("task", one) for one in named}


def _wholes(session: Session, reached: Sequence[Node]) -> Iterator[Edge]:
    for task in _rows(session, Task, _ids(reached, "task")):
        yield Edge("contains", ("run", task.run_id), ("task", task.id))
    yield from _noted(session, LineageEdge.to_type, LineageEdge.to_id, reached, WHOLES)


def _ids(nodes: Iterable[Node], kind: str) -> list[str]:
    return [node for of, node in nodes if of == kind]


def _rows(session: Session, table: Any, ids: Sequence[Any]) -> list[Any]:
    return graph_nodes.rows(session, table, ids)
