"""Canaries: one row each, what was counted of them, every decision; and labels that came after a prediction."""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from zeroflow.metadata.base import Base, Sequence, now_ms


class RolloutRecord(Base):
    """One revision of an InferenceService's predictor, from canary to its end."""

    __tablename__ = "rollouts"
    __table_args__ = (
        UniqueConstraint("isvc_uid", "template"),
        Index("ix_rollouts_name", "namespace", "name", "id"),
    )

    id: Mapped[int] = mapped_column(Sequence, primary_key=True, autoincrement=True)
    namespace: Mapped[str]
    name: Mapped[str]
    isvc_uid: Mapped[str]
    template: Mapped[str]
    """Hash of what the revision runs, and of the attempt."""
    canary: Mapped[str]
    """The revision."""
    stable: Mapped[str]
    """The revision that it is compared to."""
    state: Mapped[str]
    """running, promoted, rolled_back, undecided, superseded."""
    policy: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """The annotations that say how it is decided."""
    step: Mapped[int] = mapped_column(default=0)
    """Index into the policy's steps."""
    requests: Mapped[int] = mapped_column(BigInteger, default=0)
    """Of the canary."""
    step_began: Mapped[int] = mapped_column(BigInteger, default=0)
    """How many of them were before the present step."""
    thresholds: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Of latency metrics: {name: {"slow_s": seconds} | {"counts": {bucket: n}}}, the latter while it is being found."""
    started_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms)
    ended_ms: Mapped[int | None] = mapped_column(BigInteger)


UNPLACED = -1
"""The step of what happened while the shares of the traffic changed."""


class RolloutCount(Base):
    """How many events of one arm were bad by one metric, while the canary had one share of the traffic."""

    __tablename__ = "rollout_counts"

    rollout_id: Mapped[int] = mapped_column(ForeignKey("rollouts.id"), primary_key=True)
    arm: Mapped[str] = mapped_column(primary_key=True)
    """canary or stable."""
    metric: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, default=0)
    """Index into the policy's steps, or UNPLACED."""
    bad: Mapped[int] = mapped_column(BigInteger, default=0)
    total: Mapped[int] = mapped_column(BigInteger, default=0)


class RolloutDecision(Base):
    """One decision, with the numbers that it rests on; never changed."""

    __tablename__ = "rollout_decisions"
    __table_args__ = (Index("ix_rollout_decisions_rollout", "rollout_id", "id"),)

    id: Mapped[int] = mapped_column(Sequence, primary_key=True, autoincrement=True)
    rollout_id: Mapped[int] = mapped_column(ForeignKey("rollouts.id"))
    time_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms)
    action: Mapped[str]
    """start, advance, promote, roll_back, give_up."""
    percent: Mapped[int]
    """The canary's share from now on."""
    reason: Mapped[str]
    numbers: Mapped[dict[str, Any]] = mapped_column(default=dict)


class PredictionRecord(Base):
    """What one of a rollout's revisions predicted for one request; kept while the rollout is being decided."""

    __tablename__ = "prediction_records"
    __table_args__ = (UniqueConstraint("rollout_id", "request_id"),)

    id: Mapped[int] = mapped_column(Sequence, primary_key=True, autoincrement=True)
    rollout_id: Mapped[int] = mapped_column(ForeignKey("rollouts.id"))
    request_id: Mapped[str]
    arm: Mapped[str]
    """canary or stable."""
    predictions: Mapped[list[Any]]
    """One for each row of the request."""
    step: Mapped[int] = mapped_column(default=0, server_default="0")
    """The rollout's when it was predicted, or UNPLACED."""
    judged: Mapped[bool] = mapped_column(default=False)
    """Whether labels have been compared with it: only the first ones count."""


class PredictionFeedback(Base):
    """The true labels of one request, as they were given."""

    __tablename__ = "prediction_feedback"
    __table_args__ = (Index("ix_prediction_feedback_request", "namespace", "inferenceservice", "request_id"),)

    id: Mapped[int] = mapped_column(Sequence, primary_key=True, autoincrement=True)
    namespace: Mapped[str]
    inferenceservice: Mapped[str]
    request_id: Mapped[str]
    revision: Mapped[str | None]
    labels: Mapped[list[Any]]
    """As the caller says; shown, and never counted."""
    predictions: Mapped[list[Any] | None]
    """As the caller says; shown, and never counted."""
    caller: Mapped[str] = mapped_column(default="", server_default="")
    """Who gave them, as the platform authenticated them; "" where it does not know."""
    time_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms)
