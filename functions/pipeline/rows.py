"""The rows that one pass over a run has seen, and what they hold.

A scope's row is loaded without its values, since most passes only count on it: the loop over 10,000 items is not read
for each of its iterations.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from sqlalchemy import bindparam, inspect, select
from sqlalchemy.orm import Session, defer

from zeroflow.functions.pipeline import inputs
from zeroflow.functions.pipeline.executions import resource_name, task_id
from zeroflow.functions.pipeline.inputs import Values
from zeroflow.functions.pipeline.plan import Plan
from zeroflow.metadata.pipelines import Run, Task

PAGE = 500
"""Ids per query."""
SCOPES = 32
"""Scopes whose inputs are kept in memory, as plans are; an input of 10,000 items takes about a megabyte."""
_SCOPES: OrderedDict[tuple[str, int], Values] = OrderedDict()
_SCOPES_LOCK = threading.Lock()
_BY_IDS = select(Task).where(Task.id.in_(bindparam("ids", expanding=True)))
_WITHOUT_VALUES = _BY_IDS.options(defer(Task.inputs), defer(Task.outputs))
"""Built once: to build and to hash a statement costs as much as to execute it."""
FAILED_CODE = 2
"""google.rpc.Code UNKNOWN: the task failed for reasons of its own."""


STATES = {"SUCCEEDED": "COMPLETE"}
"""A Kubeflow cluster tells an exit task the state of an execution in ML Metadata, which has another word for it."""


class Rows:
    """Rows by id, each loaded once."""

    def __init__(self, session: Session, run: Run, plan: Plan) -> None:
        self._session, self._run, self._plan = session, run, plan
        self._rows: dict[str, Task] = {}
        self._scopes: dict[str, Values] = {}

    def add(self, *rows: Task) -> None:
        """Take in rows that somebody else has loaded or made."""
        self._rows.update((row.id, row) for row in rows)

    def row(self, row_id: str | None) -> Task:
        """Return a row."""
        assert row_id is not None
        if row_id not in self._rows:
            self.glance([row_id])
        return self._rows[row_id]

    def glance(self, ids: Iterable[str]) -> None:
        """Load rows without their values, with one query for those that are missing."""
        missing = [row_id for row_id in ids if row_id not in self._rows]
        for at in range(0, len(missing), PAGE):
            self.add(*self._session.scalars(_WITHOUT_VALUES, {"ids": missing[at : at + PAGE]}))

    def load(self, ids: list[str]) -> list[Task]:
        """Return rows, with one query for those that are missing."""
        missing = [row_id for row_id in ids if row_id not in self._rows]
        for at in range(0, len(missing), PAGE):
            self.add(*self._session.scalars(_BY_IDS, {"ids": missing[at : at + PAGE]}))
        return [self._rows[row_id] for row_id in ids]

    def ids_below(self, parent_path: str, names: Iterable[str]) -> list[str]:
        """Return the ids of tasks of the scope with this path."""
        prefix = f"{parent_path}." if parent_path else ""
        return [task_id(self._run.id, prefix + name) for name in names]

    def child(self, scope: Task, name: str) -> Task:
        """Return the row of a task of a scope."""
        return self.row(self.ids(scope, (name,))[0])

    def ids(self, scope: Task, names: Iterable[str]) -> list[str]:
        """Return the ids of tasks of a scope."""
        return self.ids_below(scope.name, names)

    def fetch_producers(self, ready: Iterable[Task]) -> None:
        """Load at once what ready tasks will ask for."""
        wanted: dict[str, None] = {}
        for row in ready:
            if row.state == "PENDING" and row.kind != "iteration":
                upstream = self._plan.task(row.name).upstream
                wanted.update(dict.fromkeys(self.ids(self.row(row.parent_id), upstream)))
        self.load(list(wanted))

    def inputs_of(self, scope: Task) -> Values:
        """Return the inputs of a scope; an iteration has those of its loop, and its item."""
        if scope.kind != "iteration":
            return self.kept_inputs(scope)
        if scope.id not in self._scopes:
            loop, own = self.kept_inputs(self.row(scope.parent_id)), values(scope.inputs)
            self._scopes[scope.id] = {
                "parameters": {**loop["parameters"], **own["parameters"]},
                "artifacts": {**loop["artifacts"], **own["artifacts"]},
            }
        return self._scopes[scope.id]

    def kept_inputs(self, scope: Task) -> Values:
        """Return the inputs of a scope, which may hold very many items: read once for many passes, not by each."""
        if "inputs" not in inspect(scope).unloaded:
            return values(scope.inputs)
        # A scope opens once between two retries of its run, and what it was given then does not change.
        key = (scope.id, self._run.retries)
        with _SCOPES_LOCK:
            known = _SCOPES.pop(key, None)
        known = known or values(scope.inputs)
        with _SCOPES_LOCK:
            _SCOPES[key] = known
            if len(_SCOPES) > SCOPES:
                _SCOPES.popitem(last=False)
        return known

    def outputs_of(self, scope: Task) -> inputs.Outputs:
        """Return what gives the outputs of a scope's tasks."""
        return lambda name: values(self.child(scope, name).outputs)

    def status_in(self, scope: Task) -> inputs.Status:
        """Return what tells how a scope's tasks ended, as PipelineTaskFinalStatus has it."""

        def status(name: str) -> dict[str, Any]:
            row = self.child(scope, name)
            failed = row.state == "FAILED"
            return {
                "state": STATES.get(row.state, row.state),
                "pipelineJobResourceName": resource_name(self._run),
                "pipelineTaskName": name,
                "error": {"code": FAILED_CODE, "message": row.error or ""} if failed else {},
            }

        return status


def new_task(run: Run, parent: str | None, path: str, shown: str, kind: str, waiting: int, at_ms: int) -> Task:
    """Make the row of a task that has not begun."""
    return Task(
        id=task_id(run.id, path),
        run_id=run.id,
        parent_id=parent,
        name=path,
        display_name=shown,
        kind=kind,
        state="PENDING",
        waiting=waiting,
        open_children=0,
        iterations=None,
        begun=0,
        attempt=0,
        first_attempt=1,
        created_ms=at_ms,
    )


def values(held: dict[str, object] | None) -> Values:
    """Return the values in a JSON column."""
    return held if held is not None else inputs.empty()  # type: ignore[return-value]  # a JSON column of this shape
