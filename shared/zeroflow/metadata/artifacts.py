"""Artifacts and their lineage: which bytes exist, who wrote them, who read them.

An artifact row is never changed: new bytes are a new artifact. `recorded_by` says whose word vouches for the hash; a
pickle is loaded only when such a row holds its hash.
"""

from typing import Any

from sqlalchemy import BigInteger, Index
from sqlalchemy.orm import Mapped, mapped_column

from zeroflow.metadata.base import Base, now_ms


class Artifact(Base):
    """One immutable piece of data: a file or a directory at a URI."""

    __tablename__ = "artifacts"
    __table_args__ = (Index("ix_artifacts_uri", "uri"), Index("ix_artifacts_sha256", "sha256"))

    id: Mapped[str] = mapped_column(primary_key=True)
    """A UUID, deterministic in producer and output, so that recording twice records once."""
    namespace: Mapped[str]
    name: Mapped[str]
    type: Mapped[str]
    """Schema title as KFP spells it: system.Dataset, system.Model, system.Metrics, ..."""
    uri: Mapped[str]
    sha256: Mapped[str | None]
    """Content hash (zeroflow.artifacts.content); NULL when there are no bytes, as for Metrics without a file."""
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)
    recorded_by: Mapped[str]
    """`run/<run id>/<task>`, `upload/...` or `registration/...`."""
    created_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms)


class ArtifactUse(Base):
    """An edge of the lineage graph: a task read or wrote an artifact."""

    __tablename__ = "artifact_uses"
    __table_args__ = (Index("ix_artifact_uses_artifact", "artifact_id"),)

    task_id: Mapped[str] = mapped_column(primary_key=True)
    direction: Mapped[str] = mapped_column(primary_key=True)
    """`input` or `output`."""
    key: Mapped[str] = mapped_column(primary_key=True)
    """The component's input or output name."""
    position: Mapped[int] = mapped_column(primary_key=True, default=0)
    """Place in a list of artifacts."""
    artifact_id: Mapped[str]
