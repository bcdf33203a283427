"""What Alembic runs: the migrations on the connection that `zeroflow.metadata.migrate` hands over."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext

from zeroflow.metadata.base import JSONValue
from zeroflow.metadata.schema import Base


def _render(kind: str, item: Any, autogen: AutogenContext) -> str | Literal[False]:
    """Write our JSON column type by its name, not by what it is made of."""
    if kind == "type" and item is JSONValue:
        autogen.imports.add("from zeroflow.metadata.base import JSONValue")
        return "JSONValue"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    compare_type=True,
    render_item=_render,
)
with context.begin_transaction():
    context.run_migrations()
