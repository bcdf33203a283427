"""Creating and removing runs."""

import uuid
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from zeroflow.artifacts import parse
from zeroflow.errors import InvalidInput, NotFound
from zeroflow.events import Transaction
from zeroflow.functions.pipeline import catalog, outgoing
from zeroflow.functions.pipeline.engine import Engine, WrongState
from zeroflow.functions.pipeline.executions import task_id
from zeroflow.functions.pipeline.plan import Plan
from zeroflow.functions.pipeline.states import FINAL
from zeroflow.metadata import now_ms
from zeroflow.metadata.artifacts import ArtifactUse
from zeroflow.metadata.pipelines import Experiment, Run, Task

ROOT_SCHEMES = ("store", "s3")
MAX_NAMED = 5
"""Tasks that a message names when a name fits several."""


@dataclass(frozen=True)
class Submission:
    """A run that somebody or an event asks for: of an inline definition, or of a version of a pipeline."""

    namespace: str
    name: str
    document: dict[str, Any] | None = None
    pipeline_id: str = ""
    version_id: str = ""
    experiment_id: str = ""
    experiment: str = ""
    """The name of an experiment, created when it is new; `experiment_id` goes before it."""
    description: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    pipeline_root: str = ""
    service_account: str = ""
    run_id: str = ""
    cause: dict[str, Any] | None = None
    recurring_run_id: str | None = None
    spec_sha256: str = ""
    """A definition that is kept already, instead of `document`."""
    forked_from: str | None = None
    forked_at: str | None = None


def submit(tx: Transaction, engine: Engine, asked: Submission) -> Run:
    """Check what is asked for and start it; raise InvalidInput or NotFound naming the fault, with nothing written."""
    session = tx.session
    version_id, pipeline_id = None, None
    if asked.document is not None:
        sha256, plan = engine.plans.submit(session, asked.document)
    elif asked.spec_sha256:
        sha256, plan = asked.spec_sha256, engine.plans.of(session, asked.spec_sha256)
    elif asked.pipeline_id or asked.version_id:
        version = catalog.version(session, asked.pipeline_id, asked.version_id)
        version_id, pipeline_id = version.id, version.pipeline_id
        sha256, plan = version.spec_sha256, engine.plans.of(session, version.spec_sha256)
    else:
        raise InvalidInput("a run needs a pipeline_spec or a pipeline_version_reference")
    group = experiment_of(tx, asked.namespace, asked.experiment_id, asked.experiment)
    if group.storage_state == "ARCHIVED":
        raise WrongState(f"experiment {group.name!r} is archived: unarchive it, or name another experiment")
    run_id, now = asked.run_id or str(uuid.uuid4()), now_ms()
    group.last_run_created_ms = now
    run = Run(
        id=run_id,
        namespace=group.namespace,
        experiment_id=group.id,
        name=asked.name or f"{plan.pipeline_name}-{run_id[:8]}",
        description=asked.description,
        pipeline_name=plan.pipeline_name,
        pipeline_id=pipeline_id,
        pipeline_version_id=version_id,
        spec_sha256=sha256,
        parameters=asked.parameters,
        artifact_root=_artifact_root(asked.pipeline_root or plan.default_root, group.namespace, plan, run_id),
        pipeline_root=asked.pipeline_root,
        service_account=asked.service_account,
        state="PENDING",
        storage_state="AVAILABLE",
        retries=0,
        created_ms=now,
        state_history=[{"state": "PENDING", "update_ms": now}],
        cause=asked.cause,
        recurring_run_id=asked.recurring_run_id,
        forked_from=asked.forked_from,
        forked_at=asked.forked_at,
    )
    engine.start(tx, run, plan)
    return run


def get(session: Session, run_id: str) -> Run:
    """Return a run; raise NotFound."""
    run = session.get(Run, run_id)
    if run is None:
        raise NotFound(f"there is no run {run_id}")
    return run


def task(session: Session, run_id: str, name: str) -> Task:
    """Return a task of a run by its id, its path, or the last part of its path if that is the only such task."""
    get(session, run_id)
    row = session.get(Task, name) or session.get(Task, task_id(run_id, name))
    if row is not None and row.run_id == run_id:
        return row
    ending = select(Task).where(Task.run_id == run_id, Task.name.endswith(f".{name}", autoescape=True)).limit(MAX_NAMED)
    found = session.scalars(ending.order_by(Task.name)).all()
    if len(found) == 1:
        return found[0]
    several = f"; did you mean {', '.join(row.name for row in found)}?" if found else ""
    raise NotFound(f"run {run_id} has no task {name!r}{several}")


def step(session: Session, run_id: str, name: str) -> Task:
    """Return a step of a run; raise InvalidInput for a task that is more than one."""
    row = task(session, run_id, name)
    if row.kind != "step":
        raise InvalidInput(f"task {row.name or 'root'} of run {run_id} is a {row.kind} of steps; name one of them")
    return row


def fork(tx: Transaction, engine: Engine, run_id: str, at: str, asked: Submission) -> Run:
    """Start a run that takes over from another what has not changed; what is not asked for is as it was there.

    `at` names the task from which on everything runs again; empty takes over all that is unchanged.
    """
    before = get(tx.session, run_id)
    point = task(tx.session, run_id, at).name if at else None
    if at and not point:
        raise InvalidInput("a run cannot be forked from its root; submit it again instead")
    changed = replace(
        asked,
        namespace=before.namespace,
        name=asked.name or f"fork of {before.name}",
        experiment_id=asked.experiment_id or before.experiment_id,
        spec_sha256="" if asked.document is not None else before.spec_sha256,
        description=asked.description or f"forked from {before.id}" + (f" at {point}" if point else ""),
        parameters={**before.parameters, **asked.parameters},
        pipeline_root=asked.pipeline_root or before.pipeline_root,
        service_account=asked.service_account or before.service_account,
        forked_from=before.id,
        forked_at=point,
    )
    return submit(tx, engine, changed)


def remove(tx: Transaction, engine: Engine, run_id: str) -> None:
    """Delete a run, terminating it first; the artifacts that it made stay, since others may use them."""
    run = engine.locked(tx, run_id)
    if run.state not in FINAL:
        engine.terminate(tx, run_id)
    if engine.plans.of(tx.session, run.spec_sha256).config.workspace:
        outgoing.release_workspace(tx, run)
    ids = select(Task.id).where(Task.run_id == run_id)
    tx.session.execute(delete(ArtifactUse).where(ArtifactUse.task_id.in_(ids)))
    tx.session.execute(delete(Task).where(Task.run_id == run_id))
    tx.session.delete(run)


def unarchive(tx: Transaction, engine: Engine, run_id: str) -> None:
    """Bring an archived run back; raise WrongState while its experiment is archived."""
    run = engine.locked(tx, run_id)
    group = tx.session.get(Experiment, run.experiment_id)
    if group is not None and group.storage_state == "ARCHIVED":
        raise WrongState(f"run {run_id} cannot be unarchived: unarchive its experiment {group.name!r} first")
    run.storage_state = "AVAILABLE"


def experiment_of(tx: Transaction, namespace: str, experiment_id: str, name: str = "") -> Experiment:
    """Return an experiment by its id or else its name, made when it is new."""
    if experiment_id:
        return catalog.experiment(tx.session, experiment_id)
    name = name or catalog.DEFAULT_EXPERIMENT
    found = catalog.find_experiment(tx.session, namespace, name)
    if found is not None:
        return found
    try:
        with tx.session.begin_nested():
            return catalog.create_experiment(tx.session, namespace, name)
    except IntegrityError:  # another run has just created it
        found = catalog.find_experiment(tx.session, namespace, name)
        assert found is not None
        return found


def _artifact_root(root: str, namespace: str, plan: Plan, run_id: str) -> str:
    if not root:
        return f"store://artifacts/{namespace}/{plan.pipeline_name}/{run_id}"
    if root.split("://")[0] not in ROOT_SCHEMES:
        raise InvalidInput(
            f"pipeline_root {root!r} is not supported: expected store://<bucket>/... or s3://<bucket>/..."
        )
    return str(parse(root).joined(plan.pipeline_name, run_id))
