"""The event log: what this platform's functions said, and which events each of them has handled.

`EventRecord` is outbox and history at once: a row is written in the transaction of the state change it tells of, is
published after commit, and stays. `HandledEvent` is the inbox: CloudEvents arrive at least once, `(source, id)` is the
key (CloudEvents 1.0.2, section 3.1.1); it remembers for as long as an event may come again (events.retention).
"""

from typing import Any

from sqlalchemy import BigInteger, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from zeroflow.metadata.base import Base, Sequence

PASSING = (
    "(type IN ('dev.zeroflow.webhook.received', 'dev.zeroflow.recurringrun.changed', 'dev.zeroflow.recurringrun.due')"
    " OR substr(type, 1, 17) = 'com.amazonaws.s3.')"
)
"""Which events nobody reads again once they are published (events.retention); in SQL, as the index has it."""


class EventRecord(Base):
    """One CloudEvent that a function emitted."""

    __tablename__ = "events"
    __table_args__ = (
        UniqueConstraint("source", "id"),
        Index("ix_events_pending", "published_ms"),
        Index("ix_events_passing", "published_ms", sqlite_where=text(PASSING), postgresql_where=text(PASSING)),
        Index("ix_events_cause", "cause_source", "cause_id"),
        Index("ix_events_subject", "subject"),
        # what lies below a subject; an index in the order of a language does not help there
        Index("ix_events_below", "subject", postgresql_ops={"subject": "varchar_pattern_ops"}).ddl_if("postgresql"),
    )

    seq: Mapped[int] = mapped_column(Sequence, primary_key=True, autoincrement=True)
    source: Mapped[str]
    id: Mapped[str]
    type: Mapped[str]
    subject: Mapped[str | None]
    time_ms: Mapped[int] = mapped_column(BigInteger)
    data: Mapped[dict[str, Any] | None]
    extensions: Mapped[dict[str, Any] | None]
    traceparent: Mapped[str | None]
    cause_source: Mapped[str | None]
    cause_id: Mapped[str | None]
    consumer: Mapped[str | None]
    """The function that emitted it while handling the cause; with the cause, finds what to answer again."""
    published_ms: Mapped[int | None] = mapped_column(BigInteger)
    """When a broker accepted it, or when it was given to the broker as a reply; NULL while it waits."""


class HandledEvent(Base):
    """One event that a consumer has handled; written in the transaction of what it did."""

    __tablename__ = "handled_events"
    __table_args__ = (Index("ix_handled_events_age", "handled_ms"),)

    consumer: Mapped[str] = mapped_column(primary_key=True)
    source: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    handled_ms: Mapped[int] = mapped_column(BigInteger)
    reply_seq: Mapped[int | None] = mapped_column(BigInteger)
    """The emitted event that is the answer to this one, if there is one."""
