"""An InferenceService changed: note which registered version it serves, in the lineage graph and the audit trail.

A version counts as deployed when an InferenceService that is ready names the location of one of its model artifacts;
the revision that serves it is the newest one, once the status tells of the present spec. The same state told again is
noted once. Source: KServe v1beta1 (spec.predictor, status.conditions); the event is
Knative's ApiServerSource in mode Resource.
"""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from zeroflow.events import Delivery
from zeroflow.functions.register import approval, properties
from zeroflow.functions.register.entities import MODEL_ARTIFACT, MODEL_VERSION, REGISTERED_MODEL
from zeroflow.functions.register.registration import link
from zeroflow.metadata import audit
from zeroflow.metadata.audit import AuditRecord, Origin
from zeroflow.metadata.registry import NO_PARENT, RegistryArtifact, RegistryContext, named
from zeroflow.resources.conditions import is_current

CHANGED = tuple(f"dev.knative.apiserver.resource.{verb}" for verb in ("add", "update"))
DELETED = "dev.knative.apiserver.resource.delete"
NODE, REVISION = "inference_service", "revision"


def on_change(delivery: Delivery) -> None:
    """Handle the event that an InferenceService was added, updated or deleted."""
    obj = delivery.data()
    metadata = obj.get("metadata")
    if obj.get("kind") != "InferenceService" or not isinstance(metadata, dict):
        return
    name = f"{metadata.get('namespace')}/{metadata.get('name')}"
    location = None if delivery.type == DELETED else _served(obj)
    if location is None and delivery.type != DELETED:
        return
    origin = Origin(delivery.source, True, cause=(delivery.source, delivery.id))
    with delivery.transaction() as tx:
        _note(tx.session, origin, name, location, _revision(obj))


def _note(session: Session, origin: Origin, name: str, location: str | None, revision: str | None) -> None:
    version = version_at(session, location) if location else None
    now: dict[str, Any] | None = None
    if location:
        now = {"uri": location, "version_id": str(version.id) if version else None}
        now |= {"revision": revision} if revision else {}
    before = _last(session, name)
    if now == before:
        return
    verb = "deploy" if now else "undeploy"
    audit.append(session, origin, verb, (NODE, name, name), before=before, after=now)
    if version is None:
        return
    served_by = (NODE, name)
    if revision:
        served_by = (REVISION, f"{name.partition('/')[0]}/{revision}")
        link(session, "serves", served_by, (NODE, name), origin)
    link(session, "deployed_as", (MODEL_VERSION.kind, str(version.id)), served_by, origin)


def _served(obj: Mapping[str, Any]) -> str | None:
    """Return the location of the model that a ready InferenceService serves."""
    conditions = (obj.get("status") or {}).get("conditions") or []
    if not any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions):
        return None
    if not is_current(dict(obj)):
        return None  # ready is what was declared before; the change to what is declared now is an event of its own
    predictor = (obj.get("spec") or {}).get("predictor") or {}
    places = (place.get("storageUri") for place in predictor.values() if isinstance(place, dict))
    return next((place for place in places if isinstance(place, str) and place), None)


def _revision(obj: Mapping[str, Any]) -> str | None:
    """Return the revision that serves what is declared; None while the newest one is not ready."""
    predictor = ((obj.get("status") or {}).get("components") or {}).get("predictor") or {}
    newest, ready = predictor.get("latestCreatedRevision"), predictor.get("latestReadyRevision")
    return ready if isinstance(ready, str) and ready and newest in (None, ready) else None


def version_at(session: Session, location: str) -> RegistryContext | None:
    """Return the newest version that has a model artifact there, or that a model-registry:// location means."""
    if (meant := named(location)) is not None:
        return _named(session, *meant)
    found = (
        select(RegistryContext)
        .join(RegistryArtifact, RegistryArtifact.parent_id == RegistryContext.id)
        .where(
            RegistryArtifact.uri == location,
            RegistryArtifact.kind == MODEL_ARTIFACT.kind,
            RegistryContext.kind == MODEL_VERSION.kind,
        )
        .order_by(RegistryContext.id.desc())
        .limit(1)
    )
    return session.scalars(found).one_or_none()


def _named(session: Session, model: str, name: str | None) -> RegistryContext | None:
    """Return the version of that name, else the newest one that may be deployed."""
    owner = select(RegistryContext.id).where(
        RegistryContext.kind == REGISTERED_MODEL.kind,
        RegistryContext.parent_id == NO_PARENT,
        RegistryContext.name == model,
    )
    versions = select(RegistryContext).where(
        RegistryContext.kind == MODEL_VERSION.kind, RegistryContext.parent_id == owner.scalar_subquery()
    )
    if name is not None:
        return session.scalars(versions.where(RegistryContext.name == name)).one_or_none()
    located = select(RegistryArtifact.id).where(
        RegistryArtifact.parent_id == RegistryContext.id,
        RegistryArtifact.kind == MODEL_ARTIFACT.kind,
        RegistryArtifact.uri.is_not(None),
    )
    newest = session.scalars(versions.where(located.exists()).order_by(RegistryContext.id.desc()))
    states = ((one, properties.text(one.custom_properties, approval.STATE)) for one in newest.yield_per(10))
    return next((one for one, state in states if state in (None, "approved")), None)


def _last(session: Session, name: str) -> dict[str, Any] | None:
    """Return what the trail says that this InferenceService serves."""
    newest = (
        select(AuditRecord.record)
        .where(AuditRecord.entity_type == NODE, AuditRecord.entity_id == name)
        .order_by(AuditRecord.seq.desc())
        .limit(1)
    )
    record = session.scalar(newest)
    return json.loads(record)["after"] if record else None
