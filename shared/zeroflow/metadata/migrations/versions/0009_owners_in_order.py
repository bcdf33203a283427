"""Whose properties have a value is found in the index alone, and in order."""

from alembic import op
from sqlalchemy import text

revision = "0009"
down_revision = "0008"

TABLES = tuple(f"registry_{owner}_properties" for owner in ("context", "artifact", "execution"))
COLUMNS = ("string_start", "int_value", "double_value")


def upgrade() -> None:
    """Go from 0008 to 0009."""
    for table in TABLES:
        for column in COLUMNS:
            name, set_ = f"ix_{table}_{column}", text(f"{column} IS NOT NULL")
            op.drop_index(name, table)
            op.create_index(name, table, ["name", column, "owner_id"], sqlite_where=set_, postgresql_where=set_)
