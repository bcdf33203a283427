"""What trials measured: every value of every collected metric, in the order in which it was printed.

Outlives the trial's Job and its log. Written once, whole, when the trial ends.
"""

from sqlalchemy import BigInteger, Index
from sqlalchemy.orm import Mapped, mapped_column

from zeroflow.metadata.base import Base, now_ms


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
