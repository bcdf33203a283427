"""Find the events that are old enough to be forgotten without reading all of them."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

PASSING = (
    "(type IN ('dev.zeroflow.webhook.received', 'dev.zeroflow.recurringrun.changed', 'dev.zeroflow.recurringrun.due')"
    " OR substr(type, 1, 17) = 'com.amazonaws.s3.')"
)


def upgrade() -> None:
    op.create_index("ix_handled_events_age", "handled_events", ["handled_ms"], unique=False)
    op.create_index(
        "ix_events_passing",
        "events",
        ["published_ms"],
        unique=False,
        sqlite_where=sa.text(PASSING),
        postgresql_where=sa.text(PASSING),
    )


def downgrade() -> None:
    op.drop_index("ix_events_passing", table_name="events")
    op.drop_index("ix_handled_events_age", table_name="handled_events")
