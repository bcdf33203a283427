"""How registered models are used and how they fare: predictions go into the audit trail, drift into the lineage graph.

`dev.zeroflow.predictions.observed` tells of one window of one predictor process: its callers are counted, by version
and revision, and an hour's counts become one record of the trail for each version and revision.
`dev.zeroflow.drift.detected` becomes a node below the revision that it was seen on.
"""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from zeroflow.errors import InvalidInput
from zeroflow.events import Delivery
from zeroflow.functions.register import deployments
from zeroflow.functions.register.bodies import check_text
from zeroflow.functions.register.entities import MODEL_VERSION
from zeroflow.functions.register.registration import link
from zeroflow.metadata import audit, now_ms
from zeroflow.metadata.audit import Origin
from zeroflow.metadata.registry import LineageEdge, RegistryContext
from zeroflow.metadata.uses import HOUR_MS, ModelUse
from zeroflow.predictions import observation
from zeroflow.predictions.observation import Observation, check_source

OBSERVED, DRIFTED = observation.OBSERVED, "dev.zeroflow.drift.detected"
PREDICT = "predict"
ANONYMOUS = "anonymous"
_SEALER = Origin("/zeroflow/functions/register", True)


def on_observed(delivery: Delivery) -> None:
    """Handle the event that predictions were made."""
    seen = Observation.from_data(delivery.data())
    check_source(delivery.source, seen.namespace, seen.inferenceservice)
    check_text(seen.to_data(), "the event's data")
    if not seen.requests:
        return
    service = f"{seen.namespace}/{seen.inferenceservice}"
    with delivery.transaction() as tx:
        session, hour = tx.session, now_ms() // HOUR_MS * HOUR_MS
        seal(session, hour)
        version = _version(session, service, seen)
        entity = (MODEL_VERSION.kind, str(version.id)) if version else (deployments.NODE, service)
        counted = dict(seen.callers) or {ANONYMOUS: seen.requests}
        for caller, count in sorted(counted.items()):
            key = (hour, *entity, service, seen.revision, caller or ANONYMOUS)
            use = session.get(ModelUse, key, with_for_update=True)
            if use is None:
                use = ModelUse(
                    hour_ms=hour,
                    entity_type=entity[0],
                    entity_id=entity[1],
                    inference_service=service,
                    revision=seen.revision,
                    caller=key[-1],
                    requests=0,
                    first_ms=seen.start_ms,
                    last_ms=seen.end_ms,
                )
                session.add(use)
            use.requests += count
            use.first_ms, use.last_ms = min(use.first_ms, seen.start_ms), max(use.last_ms, seen.end_ms)


def waits(session: Session) -> bool:
    """Say whether there are counts of ended hours that the trail does not tell of."""
    before = now_ms() // HOUR_MS * HOUR_MS
    waiting = select(ModelUse.hour_ms).where(ModelUse.sealed_seq.is_(None), ModelUse.hour_ms < before)
    return session.execute(waiting.limit(1)).first() is not None


def seal(session: Session, until_ms: int | None = None) -> None:
    """Write the counts of hours before `until_ms` into the trail, each once; without it, those of ended hours."""
    before = now_ms() // HOUR_MS * HOUR_MS if until_ms is None else until_ms
    waiting = select(ModelUse).where(ModelUse.sealed_seq.is_(None), ModelUse.hour_ms < before).with_for_update()
    groups: dict[tuple[int, str, str, str, str], list[ModelUse]] = {}
    for use in session.scalars(waiting.order_by(ModelUse.hour_ms)):
        key = (use.hour_ms, use.entity_type, use.entity_id, use.inference_service, use.revision)
        groups.setdefault(key, []).append(use)
    for (hour, kind, number, service, revision), uses in groups.items():
        told = {
            "inference_service": service,
            "revision": revision,
            "hour_ms": hour,
            "requests": sum(use.requests for use in uses),
            "callers": {use.caller: use.requests for use in uses},
            "first_ms": min(use.first_ms for use in uses),
            "last_ms": max(use.last_ms for use in uses),
        }
        seq = audit.append(session, _SEALER, PREDICT, (kind, number, f"{service} {revision}"), after=told)
        for use in uses:
            use.sealed_seq = seq


def on_drift(delivery: Delivery) -> None:
    """Handle the event that a deployed model's data or answers have drifted."""
    data = delivery.data()
    check_text(data, "the event's data")
    namespace, service = data.get("namespace"), data.get("inferenceservice") or data.get("inference_service")
    if not isinstance(namespace, str) or not isinstance(service, str) or not namespace or not service:
        raise InvalidInput("the event's data must name namespace and inferenceservice")
    revision, name = data.get("revision"), f"{namespace}/{service}"
    seen_on = (deployments.REVISION, f"{namespace}/{revision}") if revision else (deployments.NODE, name)
    origin = Origin(delivery.source, True, cause=(delivery.source, delivery.id))
    with delivery.transaction() as tx:
        link(tx.session, "drifted", seen_on, ("drift_event", delivery.id), origin)
        if revision:
            link(tx.session, "serves", seen_on, (deployments.NODE, name), origin)
        audit.append(tx.session, origin, "drift", (deployments.NODE, name, name), after={"revision": revision})


def totals(session: Session, version_id: str) -> list[dict[str, Any]]:
    """Return the predictions of a version by revision and caller, sealed or not."""
    counted = (
        select(
            ModelUse.inference_service,
            ModelUse.revision,
            ModelUse.caller,
            func.sum(ModelUse.requests),
            func.min(ModelUse.first_ms),
            func.max(ModelUse.last_ms),
        )
        .where(ModelUse.entity_type == MODEL_VERSION.kind, ModelUse.entity_id == version_id)
        .group_by(ModelUse.inference_service, ModelUse.revision, ModelUse.caller)
        .order_by(ModelUse.inference_service, ModelUse.revision, ModelUse.caller)
    )
    names = ("inferenceService", "revision", "caller", "requests", "firstMs", "lastMs")
    return [dict(zip(names, (*row[:3], *map(int, row[3:])), strict=True)) for row in session.execute(counted)]


def _version(session: Session, service: str, seen: Observation) -> RegistryContext | None:
    """Return the version that was served: the one noted for the revision, or the newest at the bytes' location."""
    noted = select(LineageEdge.from_id).where(
        LineageEdge.kind == "deployed_as",
        LineageEdge.to_type == deployments.REVISION,
        LineageEdge.to_id == f"{service.partition('/')[0]}/{seen.revision}",
    )
    version = session.scalars(noted.order_by(LineageEdge.id.desc()).limit(1)).one_or_none()
    if version is not None:
        return session.get(RegistryContext, int(version))
    return deployments.version_at(session, seen.uri) if seen.uri else None
