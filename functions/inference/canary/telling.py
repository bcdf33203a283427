"""Why a rollout is as it is: the answer of `zeroflow why rollout`."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from zeroflow.errors import NotFound
from zeroflow.metadata.rollouts import PredictionFeedback, RolloutCount, RolloutDecision, RolloutRecord

SHOWN = 20
"""The newest rollouts of an InferenceService that are told of."""


def rollouts_of(session: Session, namespace: str, name: str) -> list[dict[str, Any]]:
    """Return the rollouts of an InferenceService, newest first, each with counts and decisions."""
    records = session.scalars(
        select(RolloutRecord)
        .where(RolloutRecord.namespace == namespace, RolloutRecord.name == name)
        .order_by(RolloutRecord.id.desc())
        .limit(SHOWN)
    ).all()
    if not records:
        raise NotFound(
            f"InferenceService {namespace}/{name} has had no rollout that decides by itself: annotate it with "
            "zeroflow.dev/rollout: auto"
        )
    return [_told(session, record) for record in records]


def _told(session: Session, record: RolloutRecord) -> dict[str, Any]:
    counts = session.scalars(select(RolloutCount).where(RolloutCount.rollout_id == record.id)).all()
    decisions = session.scalars(
        select(RolloutDecision).where(RolloutDecision.rollout_id == record.id).order_by(RolloutDecision.id)
    ).all()
    return {
        "namespace": record.namespace,
        "inferenceservice": record.name,
        "canary": record.canary,
        "stable": record.stable,
        "state": record.state,
        "policy": record.policy,
        "requests": record.requests,
        "labels": _labels(session, record),
        "started_ms": record.started_ms,
        "ended_ms": record.ended_ms,
        "counts": _summed(counts),
        "decisions": [
            {
                "time_ms": row.time_ms,
                "action": row.action,
                "percent": row.percent,
                "reason": row.reason,
                "numbers": row.numbers,
            }
            for row in decisions
        ],
    }


def _summed(counts: Sequence[RolloutCount]) -> list[dict[str, Any]]:
    """Return the counts of all steps, by metric and arm."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in sorted(counts, key=lambda row: (row.metric, row.arm, row.step)):
        new = {"arm": row.arm, "metric": row.metric, "bad": 0, "total": 0}
        summed = found.setdefault((row.metric, row.arm), new)
        summed["bad"] += row.bad
        summed["total"] += row.total
    return list(found.values())


def _labels(session: Session, record: RolloutRecord) -> int:
    """Return for how many requests labels were given while it was being decided, joined with predictions or not."""
    given = select(func.count(PredictionFeedback.request_id.distinct())).where(
        PredictionFeedback.namespace == record.namespace,
        PredictionFeedback.inferenceservice == record.name,
        PredictionFeedback.time_ms >= record.started_ms,
    )
    if record.ended_ms is not None:
        given = given.where(PredictionFeedback.time_ms <= record.ended_ms)
    return session.scalar(given) or 0
