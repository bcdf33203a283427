"""What a registered model artifact means to the rest of the platform: a record of its bytes, and an event.

The record is a row of the artifacts table, `recorded_by` a registration: whoever may write to the registry vouches for
the hash in the custom property `sha256`, and a pickle with that hash may be loaded. Without a hash nothing is vouched
for. The event `dev.zeroflow.modelversion.registered` is what deployments wait for.
"""

import re
import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from zeroflow.events import Transaction
from zeroflow.functions.register import properties
from zeroflow.metadata.artifacts import Artifact
from zeroflow.metadata.audit import Origin
from zeroflow.metadata.registry import LineageEdge, RegistryArtifact, RegistryContext

REGISTERED = "dev.zeroflow.modelversion.registered"
APPROVED = "dev.zeroflow.modelversion.approved"
REVOKED = "dev.zeroflow.modelversion.revoked"

DEFAULT_NAMESPACE = "default"
_SHA256 = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)


def sha256_of(artifact: RegistryArtifact) -> str | None:
    """Return the hash that the artifact's registration states, or None when it states none of 64 hexadecimal digits."""
    stated = (properties.text(artifact.custom_properties, "sha256") or "").lower()
    return stated if _SHA256.match(stated) else None


def record(session: Session, artifact: RegistryArtifact) -> None:
    """Note which bytes the artifact stands for; does nothing when they are noted already, or it has no location."""
    sha256 = sha256_of(artifact)
    if not artifact.uri:
        return
    record_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"registry/{artifact.id}/{artifact.uri}/{sha256}"))
    if session.get(Artifact, record_id) is None:
        session.add(
            Artifact(
                id=record_id,
                namespace=properties.text(artifact.custom_properties, "namespace") or DEFAULT_NAMESPACE,
                name=artifact.name,
                type="system.Model",
                uri=artifact.uri,
                sha256=sha256,
                size_bytes=_size_bytes(artifact),
                meta={},
                recorded_by=f"registration/model_artifacts/{artifact.id}",
            )
        )


def known_at(session: Session, uri: str, sha256: str | None, name: str) -> str:
    """Return the id of the newest artifact that is recorded at a location with this hash; record one if there is none.

    What is recorded here vouches for nothing: a pickle with that hash is not loaded for it.
    """
    found = select(Artifact.id).where(Artifact.uri == uri).order_by(Artifact.created_ms.desc()).limit(1)
    if sha256 is not None:
        found = found.where(Artifact.sha256 == sha256)
    known = session.scalar(found)
    if known is not None:
        return known
    made = str(uuid.uuid5(uuid.NAMESPACE_URL, f"input/{uri}/{sha256}"))
    session.add(
        Artifact(
            id=made,
            namespace=DEFAULT_NAMESPACE,
            name=name,
            type="system.Dataset",
            uri=uri,
            sha256=sha256,
            size_bytes=None,
            meta={},
            recorded_by=f"told/{uri}"[:200],
        )
    )
    session.flush()
    return made


def link(session: Session, kind: str, tail: tuple[str, str], head: tuple[str, str], origin: Origin) -> None:
    """Add an edge of the lineage graph, unless it is there."""
    nodes = {"kind": kind, "from_type": tail[0], "from_id": tail[1], "to_type": head[0], "to_id": head[1]}
    if session.execute(select(LineageEdge.id).filter_by(**nodes)).first() is None:
        source, event = origin.cause or (None, None)
        session.add(LineageEdge(**nodes, actor=origin.actor, cause_source=source, cause_id=event))


def link_bytes(session: Session, artifact: RegistryArtifact, version: RegistryContext, origin: Origin) -> None:
    """Lead from the recorded bytes at a model artifact's location, whoever recorded them, to its version."""
    session.flush()
    sha256 = sha256_of(artifact)
    for known in session.scalars(select(Artifact).where(Artifact.uri == artifact.uri)):
        if sha256 is None or known.sha256 in (None, sha256):
            link(session, "registered_as", ("artifact", known.id), ("model_version", str(version.id)), origin)


def link_data(session: Session, data: RegistryArtifact, version: RegistryContext, origin: Origin) -> None:
    """Lead from a data set that a client put under a version to the version."""
    if data.uri:
        digest = str(data.fields.get("digest") or "").lower().removeprefix("sha256:")
        sha256 = digest if _SHA256.match(digest) else None
        known = known_at(session, data.uri, sha256, data.name)
        link(session, "trained_on", ("artifact", known), ("model_version", str(version.id)), origin)


def announce(
    tx: Transaction,
    model: RegistryContext,
    version: RegistryContext,
    artifact: RegistryArtifact,
    *,
    run_id: str | None = None,
    metrics: Mapping[str, float] | None = None,
    metadata: Mapping[str, Any] | None = None,
    needs_approval: bool = False,
) -> None:
    """Emit the event that a version has a model, once per model artifact."""
    told: dict[str, Any] = {"run_id": run_id, "metrics": dict(metrics or {}), "metadata": dict(metadata or {})}
    told |= {"needs_approval": True} if needs_approval else {}
    tx.emit(
        REGISTERED,
        subject=f"models/{model.name}/versions/{version.name}",
        event_id=f"{artifact.id}.registered",
        data=_described(model, version, artifact) | told,
    )


def announce_approval(
    tx: Transaction, model: RegistryContext, version: RegistryContext, artifact: RegistryArtifact, approved_by: str
) -> None:
    """Emit the event that a version's model artifact may be deployed; deployments of such models wait for it."""
    tx.emit(
        APPROVED,
        subject=f"models/{model.name}/versions/{version.name}",
        event_id=f"{artifact.id}.{version.updated_ms}.approved",
        data=_described(model, version, artifact) | {"approved_by": approved_by},
    )


def announce_revocation(
    tx: Transaction, model: RegistryContext, version: RegistryContext, artifact: RegistryArtifact, reason: str
) -> None:
    """Emit the event that a version's model artifact may be served no longer."""
    tx.emit(
        REVOKED,
        subject=f"models/{model.name}/versions/{version.name}",
        event_id=f"{artifact.id}.{version.updated_ms}.revoked",
        data=_described(model, version, artifact) | {"reason": reason},
    )


def _described(model: RegistryContext, version: RegistryContext, artifact: RegistryArtifact) -> dict[str, Any]:
    namespaces = (properties.text(row.custom_properties, "namespace") for row in (artifact, version, model))
    return {
        "registered_model_id": str(model.id),
        "registered_model": model.name,
        "version_id": str(version.id),
        "version": version.name,
        "model_artifact_id": str(artifact.id),
        "uri": artifact.uri,
        "sha256": sha256_of(artifact),
        "model_format_name": artifact.fields.get("modelFormatName"),
        "model_format_version": artifact.fields.get("modelFormatVersion"),
        "namespace": next((found for found in namespaces if found), DEFAULT_NAMESPACE),
    }


def _size_bytes(artifact: RegistryArtifact) -> int | None:
    stated = artifact.custom_properties.get("size_bytes", {})
    size = float(stated.get("int_value", stated.get("double_value", -1)))
    return int(size) if size.is_integer() and 0 <= size < properties.INT64 else None
