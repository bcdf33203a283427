"""Predictions by version, revision and caller, counted by the hour until they become records of the audit trail.

Predictors tell what they answered every second; a record for each would drown the trail. An hour's counts are sealed -
written into the hash-chained trail, once - when the first event of a later hour arrives or the trail is read.
"""

from sqlalchemy import BigInteger, Index
from sqlalchemy.orm import Mapped, mapped_column

from zeroflow.metadata.base import Base

HOUR_MS = 3_600_000


class ModelUse(Base):
    """How often one caller asked one revision in one hour."""

    __tablename__ = "model_uses"
    __table_args__ = (
        Index("ix_model_uses_entity", "entity_type", "entity_id"),
        Index("ix_model_uses_waiting", "sealed_seq", "hour_ms"),
    )

    hour_ms: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """When the hour began in which the platform was told."""
    entity_type: Mapped[str] = mapped_column(primary_key=True)
    """`model_version`, or `inference_service` when it is not known which version is served."""
    entity_id: Mapped[str] = mapped_column(primary_key=True)
    inference_service: Mapped[str] = mapped_column(primary_key=True)
    """<namespace>/<name>."""
    revision: Mapped[str] = mapped_column(primary_key=True)
    caller: Mapped[str] = mapped_column(primary_key=True)
    requests: Mapped[int] = mapped_column(BigInteger, default=0)
    first_ms: Mapped[int] = mapped_column(BigInteger)
    last_ms: Mapped[int] = mapped_column(BigInteger)
    sealed_seq: Mapped[int | None] = mapped_column(BigInteger)
    """The record of the trail that tells of it; NULL while the hour goes on."""
