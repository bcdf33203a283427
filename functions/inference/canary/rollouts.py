"""Canaries in the database: which there are, what was counted of them, what was decided.

A revision is known by its template: an InferenceService that asks for a template that was rolled back gets no canary
of it again, one that asks for a promoted template gets it whole. A decision, its event and the counts that it rests on
are one transaction; the event has the reconciler bring the traffic in line with the decision, so that a crash in
between loses nothing.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from zeroflow.events.outbox import Transaction
from zeroflow.functions.inference import names
from zeroflow.functions.inference.canary.decide import (
    ADVANCE,
    GIVE_UP,
    HOLD,
    PROMOTE,
    ROLL_BACK,
    Decision,
    Evidence,
    decide,
)
from zeroflow.functions.inference.canary.policy import (
    AGREEMENT,
    ERRORS,
    PREFIX,
    Policy,
    policy_of,
)
from zeroflow.functions.inference.canary.sequential import Count
from zeroflow.metadata import now_ms
from zeroflow.metadata.rollouts import UNPLACED, PredictionRecord, RolloutCount, RolloutDecision, RolloutRecord
from zeroflow.predictions.latency import Latency
from zeroflow.predictions.observation import Observation

DECIDED = "dev.zeroflow.rollout.decided"
START = "start"
RUNNING, PROMOTED, ROLLED_BACK, UNDECIDED, SUPERSEDED = "running", "promoted", "rolled_back", "undecided", "superseded"
ENDS = {PROMOTE: PROMOTED, ROLL_BACK: ROLLED_BACK, GIVE_UP: UNDECIDED}
CANARY, STABLE = "canary", "stable"
COPIES = "copies-dropped"
"""Beside the metrics: copies of requests that were not compared, of all."""
UNCOUNTED = "ZEROFLOW_OBSERVED"
SETTLING_MS = 2_000
"""After a decision the traffic follows it in less; what was answered meanwhile is compared with nothing."""
THRESHOLD_REQUESTS = 500
"""From so many of the stable revision's requests its quantile is taken; those do not count in the test."""


def template_hash(template: Mapping[str, Any], policy: Policy | None) -> str:
    """Return what identifies a revision before it exists: what it runs, and which attempt it is.

    Where it tells its observations to does not count: that changes with the host's port.
    """
    spec = template["spec"]
    containers = [
        {**each, "env": [variable for variable in each.get("env") or () if variable.get("name") != UNCOUNTED]}
        for each in spec["containers"]
    ]
    told = {**template, "spec": {**spec, "containers": containers}}
    said = json.dumps([told, policy.attempt if policy else "1"], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:32]


def share(session: Session, uid: str, template: str, policy: Policy) -> int | None:
    """Return the share of the traffic that a template's revision has, or will have: in percent, None for all."""
    found = _of_template(session, uid, template)
    if found is None:
        return policy.steps[0]
    if found.state == PROMOTED:
        return None
    if found.state == ROLLED_BACK:
        return 0
    return policy.steps[min(found.step, len(policy.steps) - 2)]


def is_shadowed(session: Session, uid: str, template: str, policy: Policy) -> bool:
    """Say whether a template's revision gets, or will get, copies of requests only."""
    found = _of_template(session, uid, template)
    return policy.steps[0] == 0 and (found is None or (found.state == RUNNING and found.step == 0))


def note_whole(session: Session, isvc: Mapping[str, Any], template: str, revision: str) -> None:
    """Note that a template has all traffic without having been a canary: the first one, or by a person's word."""
    metadata = isvc["metadata"]
    found = _of_template(session, metadata["uid"], template)
    if found is None:
        found = RolloutRecord(
            namespace=metadata["namespace"],
            name=metadata["name"],
            isvc_uid=metadata["uid"],
            template=template,
            canary=revision,
            stable=revision,
            state=PROMOTED,
            ended_ms=now_ms(),
        )
        session.add(found)
    elif found.state != PROMOTED:
        found.state, found.ended_ms = PROMOTED, now_ms()


def begin(tx: Transaction, isvc: Mapping[str, Any], template: str, canary: str, stable: str) -> None:
    """Begin to count for a canary that has its traffic; nothing happens when it has begun before."""
    metadata, session = isvc["metadata"], tx.session
    annotations = {
        name: value for name, value in (metadata.get("annotations") or {}).items() if name.startswith(PREFIX)
    }
    found = _of_template(session, metadata["uid"], template)
    if found is not None:
        if found.state == RUNNING and found.policy != annotations:
            found.policy = annotations
        return
    others = select(RolloutRecord).where(RolloutRecord.isvc_uid == metadata["uid"], RolloutRecord.state == RUNNING)
    for superseded in session.scalars(others).all():
        if _is_transformers(superseded) == _is_transformer(metadata["name"], canary):
            _forget(session, superseded.id)
            superseded.state, superseded.ended_ms = SUPERSEDED, now_ms()
    record = RolloutRecord(
        namespace=metadata["namespace"],
        name=metadata["name"],
        isvc_uid=metadata["uid"],
        template=template,
        canary=canary,
        stable=stable,
        state=RUNNING,
        policy=annotations,
    )
    policy = policy_for(record)
    assert policy is not None
    record.thresholds = {metric.name: {"counts": {}} for metric in policy.metrics if metric.quantile is not None}
    session.add(record)
    session.flush()
    reason = f"revision {canary} is ready; it is compared to {stable}"
    _decided(tx, record, policy, Decision(START, reason, {}))


def observe(tx: Transaction, seen: Observation) -> None:
    """Count what a predictor says of its answers, and decide."""
    for record in running(tx.session, seen.namespace, seen.inferenceservice):
        if seen.revision in (record.canary, record.stable) and (policy := policy_for(record)) is not None:
            _observe(tx, record, policy, seen)


def _observe(tx: Transaction, record: RolloutRecord, policy: Policy, seen: Observation) -> None:
    if has_copies := bool(seen.shadow) and seen.revision == record.stable:
        _count(tx.session, record, CANARY, _copies(seen.shadow, record.canary), record.step)
    if seen.requests == 0:
        if has_copies:
            _decide(tx, record, policy)
        return
    arm = CANARY if seen.revision == record.canary else STABLE
    # Whoever is to blame: both arms have the same callers, and a model that refuses their rows has changed.
    failed = sum(seen.errors.values())
    counts = {ERRORS: Count(min(failed, seen.requests), seen.requests)}
    counts |= _slow(record, policy, arm, seen.latency)
    if arm == CANARY:
        for guard in policy.guards:
            if guard.slower_than_s is not None:
                counts[guard.name] = Count(seen.latency.above(guard.slower_than_s), seen.latency.total)
        record.requests += seen.requests
    _count(tx.session, record, arm, counts, step_of(tx.session, record, seen.start_ms, seen.end_ms))
    _decide(tx, record, policy)


def weigh(
    tx: Transaction, record: RolloutRecord, policy: Policy, counts: Mapping[tuple[str, int], Mapping[str, Count]]
) -> None:
    """Count what was found out, by arm and step and by metric, and decide; `record` is locked (`running`)."""
    for (arm, step), counted in counts.items():
        _count(tx.session, record, arm, counted, step)
    _decide(tx, record, policy)


def step_of(session: Session, record: RolloutRecord, start_ms: int, end_ms: int) -> int:
    """Return the step during which all of a window of time lies, UNPLACED when there is none.

    A window may be told of when the next step has begun; before the first one's begin there was no canary to compare.
    """
    if record.step == 0:
        return 0
    changes = select(RolloutDecision.time_ms).where(
        RolloutDecision.rollout_id == record.id, RolloutDecision.action == ADVANCE
    )
    began = [0, *sorted(session.scalars(changes))]
    for step, at_ms in enumerate(began):
        ends_ms = began[step + 1] if step + 1 < len(began) else None
        settled_ms = at_ms + SETTLING_MS if step else 0
        if start_ms >= settled_ms and (ends_ms is None or end_ms <= ends_ms):
            return step
    return UNPLACED


def policy_for(record: RolloutRecord) -> Policy | None:
    """Return the policy by which a canary is decided; None when there is none any more."""
    policy = policy_of(record.policy)
    return policy.of_transformer() if policy is not None and _is_transformers(record) else policy


def states(session: Session, namespace: str, name: str) -> set[str]:
    """Return what became of the canaries of an InferenceService."""
    found = select(RolloutRecord.state).where(RolloutRecord.namespace == namespace, RolloutRecord.name == name)
    return set(session.scalars(found.distinct()))


def running(session: Session, namespace: str, name: str) -> list[RolloutRecord]:
    """Return the canaries that are being decided, one of each component at most, their rows locked."""
    found = session.scalars(
        select(RolloutRecord)
        .where(RolloutRecord.namespace == namespace, RolloutRecord.name == name, RolloutRecord.state == RUNNING)
        .order_by(RolloutRecord.id)
        .with_for_update()
    )
    return list(found)


def _is_transformers(record: RolloutRecord) -> bool:
    return _is_transformer(record.name, record.canary)


def _is_transformer(name: str, revision: str) -> bool:
    """Say whose revision it is: Knative names it after its Service."""
    return revision.startswith(f"{names.service_name(name, 'transformer')}-")


def _decide(tx: Transaction, record: RolloutRecord, policy: Policy) -> None:
    tx.session.flush()
    rows = tx.session.scalars(select(RolloutCount).where(RolloutCount.rollout_id == record.id)).all()
    found: dict[tuple[int, str], dict[str, Count]] = {}
    for row in rows:
        found.setdefault((row.step, row.arm), {})[row.metric] = Count(row.bad, row.total)
    pairs = [(found.get((step, CANARY), {}), found.get((step, STABLE), {})) for step in range(record.step + 1)]
    evidence = Evidence(
        *pairs[-1],
        requests=record.requests,
        requests_at_step=record.requests - record.step_began,
        before=pairs[:-1],
        unplaced=found.get((UNPLACED, CANARY), {}),
    )
    step = min(record.step, len(policy.steps) - 2)
    decision = decide(policy, step, evidence)
    if decision.action == HOLD:
        return
    if decision.action == ADVANCE:
        record.step, record.step_began = step + 1, record.requests
    else:
        record.state, record.ended_ms = ENDS[decision.action], now_ms()
        _forget(tx.session, record.id)
    _decided(tx, record, policy, decision)


def _decided(tx: Transaction, record: RolloutRecord, policy: Policy, decision: Decision) -> None:
    percent = {PROMOTE: 100, ROLL_BACK: 0}.get(decision.action, policy.steps[min(record.step, len(policy.steps) - 2)])
    row = RolloutDecision(
        rollout_id=record.id,
        action=decision.action,
        percent=percent,
        reason=decision.reason,
        numbers=dict(decision.numbers),
    )
    tx.session.add(row)
    tx.session.flush()
    tx.emit(
        DECIDED,
        subject=f"{record.namespace}/{record.name}",
        event_id=f"rollout.{record.isvc_uid}.{record.template}.{row.id}",
        data={
            "namespace": record.namespace,
            "inferenceservice": record.name,
            "canary": record.canary,
            "stable": record.stable,
            "action": decision.action,
            "percent": percent,
            "reason": decision.reason,
            "numbers": dict(decision.numbers),
        },
    )


def _forget(session: Session, rollout_id: int) -> None:
    """Drop what was recorded for labels that would still have come: they decide nothing any more."""
    session.execute(delete(PredictionRecord).where(PredictionRecord.rollout_id == rollout_id))


def _count(session: Session, record: RolloutRecord, arm: str, counts: Mapping[str, Count], step: int) -> None:
    for metric, count in counts.items():
        if count.total == 0:
            continue
        row = session.get(RolloutCount, (record.id, arm, metric, step))
        if row is None:
            row = RolloutCount(rollout_id=record.id, arm=arm, metric=metric, step=step, bad=0, total=0)
            session.add(row)
        row.bad += count.bad
        row.total += count.total


def _copies(shadow: Mapping[str, Mapping[str, int]], canary: str) -> dict[str, Count]:
    """Return what became of the copies to a canary; one that never answers has not even told its name."""
    known, nameless = shadow.get(canary, {}), shadow.get("", {})
    differed, agreed = known.get("differed", 0), known.get("agreed", 0)
    dropped = known.get("dropped", 0) + nameless.get("dropped", 0)
    return {AGREEMENT: Count(differed, differed + agreed), COPIES: Count(dropped, differed + agreed + dropped)}


def _slow(record: RolloutRecord, policy: Policy, arm: str, latency: Latency) -> dict[str, Count]:
    """Return how many were slower than the stable revision's quantile, once that is known.

    It is taken from the stable revision's first requests and never changed: a threshold that looked at the requests
    that it judges would make the test wrong.
    """
    counts, thresholds = {}, dict(record.thresholds)
    for metric in policy.metrics:
        if metric.quantile is None:
            continue
        known = thresholds.get(metric.name) or {"counts": {}}
        if "slow_s" in known:
            counts[metric.name] = Count(latency.above(known["slow_s"]), latency.total)
        elif arm == STABLE:
            before = Latency({int(number): count for number, count in known["counts"].items()})
            merged = Latency.merged([before, latency])
            if merged.total >= THRESHOLD_REQUESTS:
                thresholds[metric.name] = {"slow_s": merged.quantile(metric.quantile)}
            else:
                thresholds[metric.name] = {"counts": {str(n): c for n, c in merged.counts.items()}}
    record.thresholds = thresholds
    return counts


def _of_template(session: Session, uid: str, template: str) -> RolloutRecord | None:
    return session.scalars(
        select(RolloutRecord).where(RolloutRecord.isvc_uid == uid, RolloutRecord.template == template)
    ).first()
