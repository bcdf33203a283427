"""Experiments, pipelines and pipeline versions: what runs are grouped by and made from."""

import re
import uuid
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from zeroflow.errors import Conflict, InvalidInput, NotFound
from zeroflow.functions.pipeline.engine import WrongState
from zeroflow.functions.pipeline.fields import mapping, text
from zeroflow.functions.pipeline.plans import Plans
from zeroflow.metadata import now_ms
from zeroflow.metadata.pipelines import Experiment, Pipeline, PipelineVersion, Run

MAX_TAGS = 100
DEFAULT_NAMESPACE = "default"
DEFAULT_EXPERIMENT = "Default"
_NAMESPACE = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")


def namespace_of(name: str | None) -> str:
    """Return the namespace that a client means; clients of a single-user installation send an empty one."""
    name = name or DEFAULT_NAMESPACE
    if not _NAMESPACE.match(name):
        raise InvalidInput(f"namespace {name!r} must be 1-63 of a-z, 0-9 and '-'")
    return name


def create_experiment(session: Session, namespace: str, name: str, description: str = "") -> Experiment:
    """Create an experiment; raise Conflict when the name is taken."""
    _check_name(name, "experiment")
    if find_experiment(session, namespace, name) is not None:
        raise Conflict(f"experiment {name!r} already exists in namespace {namespace}")
    experiment = Experiment(
        id=str(uuid.uuid4()),
        namespace=namespace,
        name=name,
        description=description,
        storage_state="AVAILABLE",
        created_ms=now_ms(),
    )
    session.add(experiment)
    session.flush()
    return experiment


def find_experiment(session: Session, namespace: str, name: str) -> Experiment | None:
    """Return the experiment of this name, if there is one."""
    return session.scalar(select(Experiment).where(Experiment.namespace == namespace, Experiment.name == name))


def experiment(session: Session, experiment_id: str) -> Experiment:
    """Return an experiment; raise NotFound."""
    found = session.get(Experiment, experiment_id)
    if found is None:
        raise NotFound(f"there is no experiment {experiment_id}")
    return found


def archive_experiment(session: Session, experiment_id: str) -> None:
    """Archive an experiment with its runs; it is brought back without them."""
    experiment(session, experiment_id).storage_state = "ARCHIVED"
    session.execute(update(Run).where(Run.experiment_id == experiment_id).values(storage_state="ARCHIVED"))


def create_pipeline(
    session: Session,
    namespace: str,
    name: str,
    display_name: str = "",
    description: str = "",
    tags: dict[str, str] | None = None,
) -> Pipeline:
    """Create a pipeline without versions; raise Conflict when the name is taken."""
    _check_name(name, "pipeline")
    if find_pipeline(session, namespace, name) is not None:
        raise Conflict(f"pipeline {name!r} already exists in namespace {namespace}; upload a version of it instead")
    pipeline = Pipeline(
        id=str(uuid.uuid4()),
        namespace=namespace,
        name=name,
        display_name=display_name or name,
        description=description,
        tags=tags or {},
        created_ms=now_ms(),
    )
    session.add(pipeline)
    session.flush()
    return pipeline


def find_pipeline(session: Session, namespace: str, name: str) -> Pipeline | None:
    """Return the pipeline of this name, if there is one."""
    return session.scalar(select(Pipeline).where(Pipeline.namespace == namespace, Pipeline.name == name))


def pipeline(session: Session, pipeline_id: str) -> Pipeline:
    """Return a pipeline; raise NotFound."""
    found = session.get(Pipeline, pipeline_id)
    if found is None:
        raise NotFound(f"there is no pipeline {pipeline_id}")
    return found


def delete_pipeline(session: Session, pipeline_id: str, cascade: bool) -> None:
    """Delete a pipeline; one that has versions only when asked to delete them too. Runs are kept."""
    found = pipeline(session, pipeline_id)
    of_it = PipelineVersion.pipeline_id == pipeline_id
    if not cascade and session.scalar(select(func.count()).select_from(PipelineVersion).where(of_it)):
        raise WrongState(f"pipeline {found.name!r} still has versions; delete them first, or delete with cascade=true")
    session.execute(delete(PipelineVersion).where(of_it))
    session.delete(found)


@dataclass(frozen=True)
class NewVersion:
    """A version that somebody adds to a pipeline."""

    document: dict[str, Any]
    name: str
    display_name: str = ""
    description: str = ""
    code_source_url: str = ""
    tags: dict[str, str] = field(default_factory=dict)


def add_version(session: Session, plans: Plans, of_pipeline: Pipeline, new: NewVersion) -> PipelineVersion:
    """Check a definition and keep it as the newest version of a pipeline."""
    _check_name(new.name, "pipeline version")
    of_it = PipelineVersion.pipeline_id == of_pipeline.id
    if session.execute(select(PipelineVersion.id).where(of_it, PipelineVersion.name == new.name)).first() is not None:
        raise Conflict(f"pipeline {of_pipeline.name!r} already has a version {new.name!r}")
    spec_sha256, _ = plans.submit(session, new.document)
    newest = session.scalar(select(func.max(PipelineVersion.created_ms)).where(of_it))
    version = PipelineVersion(
        id=str(uuid.uuid4()),
        pipeline_id=of_pipeline.id,
        name=new.name,
        display_name=new.display_name or new.name,
        description=new.description,
        code_source_url=new.code_source_url,
        tags=new.tags,
        spec_sha256=spec_sha256,
        created_ms=max(now_ms(), (newest or 0) + 1),
    )
    session.add(version)
    session.flush()
    return version


def change(row: Pipeline | PipelineVersion, body: dict[str, Any]) -> None:
    """Change what may change of a pipeline or a version: display_name and tags; what is not given stays."""
    shown = text(body.get("display_name"), "display_name")
    if shown:
        _check_name(shown, "pipeline")
        row.display_name = shown
    if "tags" in body:
        row.tags = tags_of(body)


def tags_of(body: dict[str, Any]) -> dict[str, str]:
    """Read tags, whose values are texts."""
    tags = mapping(body.get("tags"), "tags")
    if len(tags) > MAX_TAGS:
        raise InvalidInput(f"there are {len(tags)} tags; more than {MAX_TAGS} are not kept")
    return {key: text(value, f"tag {key!r}") for key, value in tags.items()}


def version(session: Session, pipeline_id: str, version_id: str | None) -> PipelineVersion:
    """Return a version of a pipeline, the newest when none is named; raise NotFound."""
    if not version_id:
        newest = (
            select(PipelineVersion)
            .where(PipelineVersion.pipeline_id == pipeline_id)
            .order_by(PipelineVersion.created_ms.desc())
            .limit(1)
        )
        found = session.scalar(newest)
        if found is None:
            raise NotFound(f"pipeline {pipeline(session, pipeline_id).name!r} has no versions")
        return found
    found = session.get(PipelineVersion, version_id)
    if found is None or (pipeline_id and found.pipeline_id != pipeline_id):
        raise NotFound(f"pipeline {pipeline_id} has no version {version_id}")
    return found


def _check_name(name: str, kind: str) -> None:
    if not name.strip() or len(name) > 255 or any(ord(letter) < 32 for letter in name):
        raise InvalidInput(f"the name of a {kind} must be 1-255 characters without control characters, found {name!r}")
