"""Count predictions by the hour, and let old records of the audit trail leave it."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "audit_base",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_audit_base_single_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_base")),
    )
    op.create_table(
        "model_uses",
        sa.Column("hour_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("entity_type", sa.String(), nullable=False),
        sa.Column("entity_id", sa.String(), nullable=False),
        sa.Column("inference_service", sa.String(), nullable=False),
        sa.Column("revision", sa.String(), nullable=False),
        sa.Column("caller", sa.String(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("first_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_ms", sa.BigInteger(), nullable=False),
        sa.Column("sealed_seq", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint(
            "hour_ms",
            "entity_type",
            "entity_id",
            "inference_service",
            "revision",
            "caller",
            name=op.f("pk_model_uses"),
        ),
    )
    op.create_index("ix_model_uses_entity", "model_uses", ["entity_type", "entity_id"])
    op.create_index("ix_model_uses_waiting", "model_uses", ["sealed_seq", "hour_ms"])
