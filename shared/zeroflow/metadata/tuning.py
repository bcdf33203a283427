"""What trials tried and measured: a record of each, and every value of every collected metric in its order.

Outlives the trial's Job, its log and its Experiment. A record is written when the trial starts and again when it ends.
Values that the trial prints are written once, whole, when it ends; what it reports itself is added as it comes.
"""

from typing import Any

from sqlalchemy import BigInteger, Index
from sqlalchemy.orm import Mapped, mapped_column

from zeroflow.metadata.base import Base, now_ms


class TrialRecord(Base):
    """One trial of an Experiment."""

    __tablename__ = "trials"
    __table_args__ = (
        Index("ix_trials_experiment", "experiment_uid", "number"),
        Index("ix_trials_name", "name"),
        Index("ix_trials_place", "namespace", "experiment"),
    )

    uid: Mapped[str] = mapped_column(primary_key=True)
    """The Trial's uid."""
    namespace: Mapped[str]
    name: Mapped[str]
    experiment: Mapped[str]
    experiment_uid: Mapped[str]
    number: Mapped[int]
    """Its place among the Experiment's suggestions, from 0."""
    parameters: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Name -> value as text."""
    state: Mapped[str]
    """Running, Succeeded, Failed, Killed, EarlyStopped or MetricsUnavailable."""
    reason: Mapped[str] = mapped_column(default="")
    message: Mapped[str] = mapped_column(default="")
    observation: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """As in the Trial's status: metrics with latest, min and max as text."""
    artifacts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What the trial has made: `model` -> URI."""
    started_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms)
    ended_ms: Mapped[int | None] = mapped_column(BigInteger)


class TrialMetric(Base):
    """One value of one metric of a trial."""

    __tablename__ = "trial_metrics"
    __table_args__ = (Index("ix_trial_metrics_trial", "namespace", "trial"),)

    trial_uid: Mapped[str] = mapped_column(primary_key=True)
    metric: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    """Counts the metric's values from 0."""
    namespace: Mapped[str]
    experiment: Mapped[str]
    trial: Mapped[str]
    value: Mapped[str]
    """As it was printed."""
    reported_at: Mapped[str | None]
    """The RFC 3339 time at the beginning of its line, where there is one."""
    recorded_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms)
