"""Keep canaries, what was counted of them and what was decided; and labels that came after a prediction."""

import sqlalchemy as sa
from alembic import op

from zeroflow.metadata.base import JSONValue, Sequence

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "prediction_feedback",
        sa.Column("id", Sequence, autoincrement=True, nullable=False),
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("inferenceservice", sa.String(), nullable=False),
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("revision", sa.String(), nullable=True),
        sa.Column("labels", JSONValue, nullable=False),
        sa.Column("predictions", JSONValue, nullable=True),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prediction_feedback")),
    )
    op.create_index(
        "ix_prediction_feedback_request",
        "prediction_feedback",
        ["namespace", "inferenceservice", "request_id"],
        unique=False,
    )
    op.create_table(
        "rollouts",
        sa.Column("id", Sequence, autoincrement=True, nullable=False),
        sa.Column("namespace", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("isvc_uid", sa.String(), nullable=False),
        sa.Column("template", sa.String(), nullable=False),
        sa.Column("canary", sa.String(), nullable=False),
        sa.Column("stable", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("policy", JSONValue, nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("step_began", sa.BigInteger(), nullable=False),
        sa.Column("thresholds", JSONValue, nullable=False),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rollouts")),
        sa.UniqueConstraint("isvc_uid", "template", name=op.f("uq_rollouts_isvc_uid_template")),
    )
    op.create_index("ix_rollouts_name", "rollouts", ["namespace", "name", "id"], unique=False)
    op.create_table(
        "rollout_counts",
        sa.Column("rollout_id", Sequence, nullable=False),
        sa.Column("arm", sa.String(), nullable=False),
        sa.Column("metric", sa.String(), nullable=False),
        sa.Column("bad", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollouts.id"], name=op.f("fk_rollout_counts_rollout_id_rollouts")),
        sa.PrimaryKeyConstraint("rollout_id", "arm", "metric", name=op.f("pk_rollout_counts")),
    )
    op.create_table(
        "rollout_decisions",
        sa.Column("id", Sequence, autoincrement=True, nullable=False),
        sa.Column("rollout_id", Sequence, nullable=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("percent", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("numbers", JSONValue, nullable=False),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollouts.id"], name=op.f("fk_rollout_decisions_rollout_id_rollouts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rollout_decisions")),
    )
    op.create_index("ix_rollout_decisions_rollout", "rollout_decisions", ["rollout_id", "id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_rollout_decisions_rollout", table_name="rollout_decisions")
    op.drop_table("rollout_decisions")
    op.drop_table("rollout_counts")
    op.drop_index("ix_rollouts_name", table_name="rollouts")
    op.drop_table("rollouts")
    op.drop_index("ix_prediction_feedback_request", table_name="prediction_feedback")
    op.drop_table("prediction_feedback")
