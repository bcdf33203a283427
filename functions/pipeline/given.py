"""Artifacts that a run is given as inputs of the whole pipeline.

The API's runtime_config has parameters alone, so an artifact is named there: by its URI, by `{"artifact_id": ...}`, by
`{"uri": ..., "metadata": {...}}`, or by a list of these where the pipeline takes a list. One that a run has recorded
before is that very artifact; another is recorded now, with the hash of its bytes where they lie in a store of ours.
"""

import tempfile
import uuid
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from zeroflow.artifacts import Content, Stores, content
from zeroflow.artifacts.uris import SCHEMES
from zeroflow.errors import InvalidInput, NotFound
from zeroflow.functions.pipeline.executions import NAMESPACE
from zeroflow.functions.pipeline.fields import found, mapping, only, text
from zeroflow.functions.pipeline.inputs import MissingInput
from zeroflow.functions.pipeline.plan import ArtifactSpec, Plan
from zeroflow.metadata.artifacts import Artifact
from zeroflow.metadata.pipelines import Run


def artifacts(session: Session, run: Run, plan: Plan, stores: Stores) -> dict[str, list[dict[str, Any]]]:
    """Return the artifacts by input; raise MissingInput, InvalidInput or NotFound naming the input."""
    values = {}
    for name, spec in plan.root.artifacts.items():
        asked = run.parameters.get(name)
        if asked is None:
            if not spec.optional:
                raise MissingInput(
                    f"pipeline {plan.pipeline_name}: required artifact {name!r} is missing; give its URI, or"
                    ' {"artifact_id": ...}, among the parameters'
                )
            continue
        items = asked if isinstance(asked, list) else [asked]
        if isinstance(asked, list) and not spec.is_list:
            raise InvalidInput(f"artifact {name!r} must be one artifact, found {found(asked)}")
        values[name] = [
            _artifact(session, run, f"{name}/{position}", spec, item, stores) for position, item in enumerate(items)
        ]
    return values


def _artifact(session: Session, run: Run, place: str, spec: ArtifactSpec, asked: Any, stores: Stores) -> dict[str, Any]:
    name = place.partition("/")[0]
    where = f"artifact {name!r}"
    told = {"uri": asked} if isinstance(asked, str) else mapping(asked, where)
    only(told, ("artifact_id", "uri", "metadata"), where)
    if "artifact_id" in told:
        known = session.get(Artifact, text(told["artifact_id"], where))
        if known is None or known.namespace != run.namespace:
            raise NotFound(f"{where}: there is no artifact {told['artifact_id']!r} in namespace {run.namespace}")
        return _values(known)
    uri, metadata = text(told.get("uri"), f"{where}: uri"), mapping(told.get("metadata"), f"{where}: metadata")
    if "://" not in uri:
        raise InvalidInput(f"{where} needs a URI such as store://bucket/key, found {found(uri)}")
    described = _described(uri, stores, where) if uri.partition("://")[0] in SCHEMES else None
    sha256 = described.sha256 if described else None
    same = select(Artifact).where(
        Artifact.namespace == run.namespace,
        Artifact.uri == uri,
        Artifact.sha256 == sha256 if sha256 else Artifact.sha256.is_(None),
    )
    recorded = session.scalars(same.order_by(Artifact.created_ms).limit(1)).first()
    if recorded is not None and (not metadata or recorded.meta == metadata):
        return _values(recorded)
    made = Artifact(
        id=str(uuid.uuid5(NAMESPACE, f"{run.id}/inputs/{place}")),
        namespace=run.namespace,
        name=name,
        type=spec.schema_title,
        uri=uri,
        sha256=sha256,
        size_bytes=described.size_bytes if described else None,
        meta=metadata,
        recorded_by=f"run/{run.id}/",
    )
    session.add(made)
    return _values(made)


def _described(uri: str, stores: Stores, where: str) -> Content:
    try:
        path = stores.local_path(uri)
        if path is not None:
            return content.of(path)
        with tempfile.TemporaryDirectory(prefix="zeroflow-input-") as folder:
            target = Path(folder) / "artifact"
            stores.fetch(uri, target)
            return content.of(target)
    except NotFound as error:
        raise NotFound(f"{where}: there is nothing at {uri}") from error


def _values(artifact: Artifact) -> dict[str, Any]:
    return {
        "id": artifact.id,
        "name": artifact.name,
        "type": artifact.type,
        "uri": artifact.uri,
        "sha256": artifact.sha256,
        "size_bytes": artifact.size_bytes,
        "metadata": artifact.meta,
    }
