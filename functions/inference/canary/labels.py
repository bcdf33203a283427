"""Labels that come later, joined with what the platform's own predictors recorded for the same request.

Guarantees: what whoever gives labels says of predictions and revisions moves nothing; a request counts once, for the
revision that answered it, by the first labels that were given for it, whichever of the two comes first; corrected
labels are kept and not counted, since a test that may be looked at after every request cannot take evidence back.
Of a request id that is used again the first answer counts.
"""

from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from zeroflow.events.outbox import Transaction
from zeroflow.functions.inference.canary import rollouts
from zeroflow.functions.inference.canary.policy import QUALITY, Policy
from zeroflow.functions.inference.canary.sequential import Count
from zeroflow.metadata import now_ms
from zeroflow.metadata.rollouts import PredictionFeedback, PredictionRecord, RolloutRecord
from zeroflow.predictions.feedback import Feedback
from zeroflow.predictions.recorded import Recorded

MAX_RECORDS = 100_000
"""Of one rollout; older requests' labels come too late then."""
AT_ONCE = 500
TOLD_WITHIN_MS = 2_000
"""Predictors tell every second what they predicted."""


def judge(tx: Transaction, given: Feedback) -> None:
    """Keep the true labels of a request, and count them when it is known what was predicted."""
    feedback = PredictionFeedback(
        namespace=given.namespace,
        inferenceservice=given.inferenceservice,
        request_id=given.request_id,
        revision=given.revision,
        labels=list(given.labels),
        predictions=None if given.predictions is None else list(given.predictions),
        caller=given.caller,
    )
    tx.session.add(feedback)
    if (found := _deciding(tx.session, given.namespace, given.inferenceservice)) is None:
        return
    rollout, policy = found
    record = tx.session.scalars(
        select(PredictionRecord).where(
            PredictionRecord.rollout_id == rollout.id, PredictionRecord.request_id == given.request_id
        )
    ).first()
    if record is not None:
        _compare(tx, rollout, policy, [(record, feedback)])


def remember(tx: Transaction, told: Recorded) -> None:
    """Keep what one of the two revisions predicted; labels that were given before are counted now."""
    if (found := _deciding(tx.session, told.namespace, told.inferenceservice)) is None:
        return
    rollout, policy = found
    if told.revision not in (rollout.canary, rollout.stable):
        return
    arm = rollouts.CANARY if told.revision == rollout.canary else rollouts.STABLE
    rows = dict(reversed(told.predictions))  # the first answer of an id counts
    given = list(rows)
    for at in range(0, len(given), AT_ONCE):
        _remember(tx, rollout, policy, arm, {request_id: rows[request_id] for request_id in given[at : at + AT_ONCE]})
        if rollout.state != rollouts.RUNNING:
            return
    _bound(tx.session, rollout)


def _remember(
    tx: Transaction, rollout: RolloutRecord, policy: Policy, arm: str, rows: dict[str, tuple[Any, ...]]
) -> None:
    session = tx.session
    known = set(
        session.scalars(
            select(PredictionRecord.request_id).where(
                PredictionRecord.rollout_id == rollout.id, PredictionRecord.request_id.in_(list(rows))
            )
        )
    )
    now = now_ms()
    step = rollouts.step_of(session, rollout, now - TOLD_WITHIN_MS, now)
    new = {
        request_id: PredictionRecord(
            rollout_id=rollout.id, request_id=request_id, arm=arm, predictions=list(predicted), judged=False, step=step
        )
        for request_id, predicted in rows.items()
        if request_id not in known
    }
    session.add_all(new.values())
    earlier = session.scalars(
        select(PredictionFeedback)
        .where(
            PredictionFeedback.namespace == rollout.namespace,
            PredictionFeedback.inferenceservice == rollout.name,
            PredictionFeedback.request_id.in_(list(new)),
            PredictionFeedback.time_ms >= rollout.started_ms,
        )
        .order_by(PredictionFeedback.id)
    ).all()
    _compare(tx, rollout, policy, [(new[each.request_id], each) for each in earlier])


def _deciding(session: Session, namespace: str, name: str) -> tuple[RolloutRecord, Policy] | None:
    """Return the rollout that labels decide now, its row locked."""
    for rollout in rollouts.running(session, namespace, name):
        policy = rollouts.policy_for(rollout)
        if policy is not None and policy.needs_labels:
            return rollout, policy
    return None


def _compare(
    tx: Transaction, rollout: RolloutRecord, policy: Policy, pairs: list[tuple[PredictionRecord, PredictionFeedback]]
) -> None:
    counts: dict[tuple[str, int], Count] = {}
    for record, given in pairs:
        may = not policy.labels_from or given.caller in policy.labels_from
        if record.judged or not may or len(given.labels) != len(record.predictions):
            continue
        record.judged = True
        wrong = sum(predicted != label for predicted, label in zip(record.predictions, given.labels, strict=True))
        place = (record.arm, record.step)  # when it was predicted, whenever the label comes
        counts[place] = counts.get(place, Count()) + Count(wrong, len(given.labels))
    if any(count.total for count in counts.values()):
        rollouts.weigh(tx, rollout, policy, {place: {QUALITY: count} for place, count in counts.items()})


def _bound(session: Session, rollout: RolloutRecord) -> None:
    of_rollout = PredictionRecord.rollout_id == rollout.id
    if (session.scalar(select(func.count()).where(of_rollout)) or 0) <= MAX_RECORDS:
        return
    oldest_kept = select(PredictionRecord.id).where(of_rollout).order_by(PredictionRecord.id.desc())
    last = session.scalar(oldest_kept.offset(MAX_RECORDS).limit(1))
    session.execute(delete(PredictionRecord).where(of_rollout, PredictionRecord.id <= last))
