"""Loops over items: which they are, and what their iterations gave together."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from zeroflow.errors import InvalidInput
from zeroflow.functions.pipeline import expressions, fields, inputs
from zeroflow.functions.pipeline.inputs import Values
from zeroflow.functions.pipeline.plan import MAX_ITERATIONS, Component, Constant, TaskPlan
from zeroflow.functions.pipeline.rows import Rows, values
from zeroflow.metadata.pipelines import Task


class Items:
    """The items of loops, read once in a pass; their placeholders are not filled yet."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._read: dict[str, list[Any]] = {}

    def count(self, loop: Task, task: TaskPlan) -> int:
        """Return how many there are; raise InvalidInput when they are no list, or too many."""
        count = len(self.of(loop, task))
        if count > MAX_ITERATIONS:
            raise InvalidInput(f"the loop has {count} items; more than {MAX_ITERATIONS} are not supported")
        return count

    def of(self, loop: Task, task: TaskPlan) -> list[Any]:
        """Return the items; raise InvalidInput when they are no list."""
        assert task.iterator is not None
        if isinstance(task.iterator.source, Constant):
            items: list[Any] = task.iterator.source.value
            return items
        if loop.id not in self._read:
            name, held = task.iterator.source.name, self._rows.kept_inputs(loop)
            if task.iterator.kind == "artifact":
                self._read[loop.id] = held["artifacts"].get(name, [])
            else:
                found = expressions.from_json(held["parameters"].get(name))
                if not isinstance(found, list):
                    raise InvalidInput(f"the loop needs a list in input {name!r}, found {fields.found(found)}")
                self._read[loop.id] = found
        return self._read[loop.id]


def collected(session: Session, loop: Task, component: Component) -> Values:
    """Return what the iterations of a finished loop gave, in the order of its items."""
    found = session.execute(select(Task.name, Task.outputs).where(Task.parent_id == loop.id)).all()
    iterations = sorted(found, key=lambda one: int(one.name.rpartition(".")[2]))
    return inputs.of_loop(component, (values(one.outputs) for one in iterations))
