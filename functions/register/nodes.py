"""What a user means by the name of something in the lineage graph.

Read, in this order: `TYPE:ID` of a node; a URI (the artifact that lies there, newest first); `MODEL` (all its
versions) or `MODEL/VERSION`; the id of a run (all its tasks), an artifact or a task; `NAMESPACE/NAME` of an
InferenceService or a revision that has been seen to serve a version, of a trial or of an Experiment (all its trials);
the id of a drift event.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from zeroflow.errors import NotFound
from zeroflow.functions.register.entities import MODEL_VERSION, REGISTERED_MODEL
from zeroflow.functions.register.graph_nodes import Node
from zeroflow.metadata.artifacts import Artifact
from zeroflow.metadata.pipelines import Task
from zeroflow.metadata.registry import LineageEdge, RegistryArtifact, RegistryContext

TYPES = (
    "artifact",
    "run",
    "task",
    "experiment",
    "trial",
    "training_job",
    "model_version",
    "revision",
    "inference_service",
    "drift_event",
)
MAX_NODES = 100
"""How many nodes one name may mean: a run's tasks, a model's versions."""


def find(session: Session, asked: str) -> list[Node]:
    """Return the nodes that are meant; raise NotFound saying what was looked for."""
    kind, colon, rest = asked.partition(":")
    if colon and kind in TYPES:
        return [(kind, rest)]
    found = _at(session, asked) if "://" in asked else _named(session, asked)
    if not found:
        raise NotFound(
            f"nothing is known of {asked[:300]!r}: expected a URI, MODEL, MODEL/VERSION, the id of a run, task, "
            "artifact or drift event, NAMESPACE/NAME of an InferenceService, revision, trial or Experiment, or TYPE:ID "
            f"with one of {', '.join(TYPES)}"
        )
    return found[:MAX_NODES]


def _at(session: Session, uri: str) -> list[Node]:
    at = select(Artifact.id).where(Artifact.uri == uri).order_by(Artifact.created_ms.desc())
    registered = select(RegistryArtifact.parent_id).where(
        RegistryArtifact.uri == uri, RegistryArtifact.kind == "model-artifact", RegistryArtifact.parent_id.is_not(None)
    )
    nodes: list[Node] = [("artifact", one) for one in session.scalars(at)]
    return nodes + [("model_version", str(one)) for one in session.scalars(registered)]


def _named(session: Session, asked: str) -> list[Node]:
    versions = select(RegistryContext.id).where(RegistryContext.kind == MODEL_VERSION.kind)
    if model := _model(session, asked):
        return _versions(session, versions.where(RegistryContext.parent_id == model))
    owner, slash, name = asked.rpartition("/")
    if slash and (model := _model(session, owner)):
        one = versions.where(RegistryContext.parent_id == model, RegistryContext.name == name)
        if found := _versions(session, one):
            return found
    if session.get(Artifact, asked) is not None:
        return [("artifact", asked)]
    if tasks := session.scalars(select(Task.id).where((Task.run_id == asked) | (Task.id == asked))).all():
        return [("task", task) for task in tasks]
    return _noted(session, asked)


def _noted(session: Session, asked: str) -> list[Node]:
    """Return what lineage edges know by this id."""
    for kind in ("inference_service", "revision", "trial", "drift_event"):
        at_end = select(LineageEdge.id).where(LineageEdge.to_type == kind, LineageEdge.to_id == asked)
        at_start = select(LineageEdge.id).where(LineageEdge.from_type == kind, LineageEdge.from_id == asked)
        if session.execute(at_end.limit(1)).first() or session.execute(at_start.limit(1)).first():
            return [(kind, asked)]
    trials = select(LineageEdge.to_id).where(
        LineageEdge.from_type == "experiment", LineageEdge.from_id == asked, LineageEdge.to_type == "trial"
    )
    return [("trial", trial) for trial in sorted(set(session.scalars(trials)))]


def _model(session: Session, name: str) -> int | None:
    return session.scalar(
        select(RegistryContext.id).where(RegistryContext.kind == REGISTERED_MODEL.kind, RegistryContext.name == name)
    )


def _versions(session: Session, wanted: object) -> list[Node]:
    return [("model_version", str(one)) for one in session.scalars(wanted)]  # type: ignore[call-overload]  # a Select
