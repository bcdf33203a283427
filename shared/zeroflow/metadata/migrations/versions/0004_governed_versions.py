"""Note which versions' approvals the server keeps; those that have one keep it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Go from 0003 to 0004."""
    op.create_table(
        "registry_governed_versions",
        sa.Column("version_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["registry_contexts.id"],
            name=op.f("fk_registry_governed_versions_version_id_registry_contexts"),
        ),
        sa.PrimaryKeyConstraint("version_id", name=op.f("pk_registry_governed_versions")),
    )
    op.execute(
        "INSERT INTO registry_governed_versions (version_id, since_ms)"
        " SELECT c.id, c.created_ms FROM registry_contexts c WHERE c.kind = 'model_version' AND EXISTS"
        " (SELECT 1 FROM registry_context_properties p WHERE p.owner_id = c.id AND p.name = 'approval.registered_by')"
    )
