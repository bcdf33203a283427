"""Records of trials."""

import sqlalchemy as sa
from alembic import op

from zeroflow.metadata.base import JSONValue

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the table of trials."""
    op.create_table(
        "trials",
        sa.Column("uid", sa.String(), nullable=False),
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("experiment", sa.String(), nullable=False),
        sa.Column("experiment_uid", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("parameters", JSONValue, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("observation", JSONValue, nullable=False),
        sa.Column("artifacts", JSONValue, nullable=False),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("uid", name=op.f("pk_trials")),
    )
    op.create_index("ix_trials_experiment", "trials", ["experiment_uid", "number"], unique=False)
    op.create_index("ix_trials_name", "trials", ["name"], unique=False)
    op.create_index("ix_trials_place", "trials", ["namespace", "experiment"], unique=False)


def downgrade() -> None:
    """Remove it."""
    op.drop_table("trials")
