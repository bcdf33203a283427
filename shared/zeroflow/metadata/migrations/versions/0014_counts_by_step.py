"""Count a canary and its stable revision by step, since the traffic's own rate may change from one to the next.

Of a rollout that has left its first step, what was counted before is kept and compared no more.
"""

import sqlalchemy as sa
from alembic import op

from zeroflow.metadata.base import Sequence

revision = "0014"
down_revision = "0011"

OLD = sa.table("rollout_counts", *(sa.column(name) for name in ("rollout_id", "arm", "metric", "bad", "total")))
NEW = sa.table("rollout_counts", *(sa.column(name) for name in ("rollout_id", "arm", "metric", "step", "bad", "total")))


def upgrade() -> None:
    connection = op.get_bind()
    rows = [dict(row._mapping) for row in connection.execute(sa.select(OLD))]
    later = set(connection.scalars(sa.text("SELECT id FROM rollouts WHERE step > 0")))
    op.drop_table("rollout_counts")
    _create(sa.Column("step", sa.Integer(), nullable=False))
    if rows:
        op.bulk_insert(NEW, [{**row, "step": -1 if row["rollout_id"] in later else 0} for row in rows])
    op.add_column("prediction_records", sa.Column("step", sa.Integer(), nullable=False, server_default="0"))
    op.execute("UPDATE prediction_records SET step = -1 WHERE rollout_id IN (SELECT id FROM rollouts WHERE step > 0)")


def downgrade() -> None:
    connection = op.get_bind()
    summed = sa.select(
        *(NEW.c.rollout_id, NEW.c.arm, NEW.c.metric),
        *(sa.func.sum(column).label(column.name) for column in (NEW.c.bad, NEW.c.total)),
    ).group_by(NEW.c.rollout_id, NEW.c.arm, NEW.c.metric)
    rows = [dict(row._mapping) for row in connection.execute(summed)]
    op.drop_table("rollout_counts")
    _create()
    if rows:
        op.bulk_insert(OLD, [{**row, "bad": int(row["bad"]), "total": int(row["total"])} for row in rows])
    with op.batch_alter_table("prediction_records") as table:
        table.drop_column("step")


def _create(*step: sa.Column[int]) -> None:
    op.create_table(
        "rollout_counts",
        sa.Column("rollout_id", Sequence, nullable=False),
        sa.Column("arm", sa.String(), nullable=False),
        sa.Column("metric", sa.String(), nullable=False),
        *step,
        sa.Column("bad", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollouts.id"], name=op.f("fk_rollout_counts_rollout_id_rollouts")),
        sa.PrimaryKeyConstraint(
            "rollout_id", "arm", "metric", *(column.name for column in step), name=op.f("pk_rollout_counts")
        ),
    )
