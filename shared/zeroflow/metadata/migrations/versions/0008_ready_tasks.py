"""The ready tasks of a scope are found without a look at those that wait."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Go from 0007 to 0008."""
    op.create_index("ix_tasks_children", "tasks", ["parent_id", "state", "waiting"])
    op.drop_index("ix_tasks_parent", "tasks")
