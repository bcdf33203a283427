"""What steps cost, why outputs were not reused, and from which run a run was forked."""

import sqlalchemy as sa
from alembic import op

from zeroflow.metadata.base import JSONValue

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Go from 0004 to 0005."""
    for name, kind in (("content_key", sa.String()), ("cache_note", sa.String()), ("usage", JSONValue)):
        op.add_column("tasks", sa.Column(name, kind, nullable=True))
    for name in ("forked_from", "forked_at"):
        op.add_column("runs", sa.Column(name, sa.String(), nullable=True))
    if op.get_bind().dialect.name == "postgresql":
        op.create_index("ix_events_below", "events", ["subject"], postgresql_ops={"subject": "varchar_pattern_ops"})
