"""Keep what the two revisions of a rollout predicted, by request; and who gave labels."""

import sqlalchemy as sa
from alembic import op

from zeroflow.metadata.base import JSONValue, Sequence

revision = "0011"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "prediction_records",
        sa.Column("id", Sequence, autoincrement=True, nullable=False),
        sa.Column("rollout_id", Sequence, nullable=False),
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("arm", sa.String(), nullable=False),
        sa.Column("predictions", JSONValue, nullable=False),
        sa.Column("judged", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["rollout_id"], ["rollouts.id"], name=op.f("fk_prediction_records_rollout_id_rollouts")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prediction_records")),
        sa.UniqueConstraint("rollout_id", "request_id", name=op.f("uq_prediction_records_rollout_id_request_id")),
    )
    op.add_column("prediction_feedback", sa.Column("caller", sa.String(), nullable=False, server_default=""))


def downgrade() -> None:
    with op.batch_alter_table("prediction_feedback") as table:
        table.drop_column("caller")
    op.drop_table("prediction_records")
