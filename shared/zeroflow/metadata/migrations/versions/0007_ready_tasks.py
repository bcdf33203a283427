"""The ready tasks of a scope are found without a look at those that wait."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Go from 0006 to 0007."""
    op.create_index("ix_tasks_children", "tasks", ["parent_id", "state", "waiting"])
    op.drop_index("ix_tasks_parent", "tasks")
