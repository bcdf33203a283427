"""One pass over a run inside one transaction: what follows when tasks become ready and final.

The caller holds the lock of the run's row. Work is queued, never recursive, so a chain of any length whose steps are
all cached is one pass. A completion touches its own row, its dependents and the counters of its scope, nothing else.

When a task of a scope fails, the scope's tasks that have not begun are skipped and those that run are let finish; then
the scope is failed, and so on outwards. A task whose condition is false is skipped, with everything that depends on it.
"""

from collections import deque
from collections.abc import Iterable

from sqlalchemy import select, update

from zeroflow.artifacts import Stores
from zeroflow.errors import ZeroflowError
from zeroflow.events import Transaction
from zeroflow.functions.pipeline import cachekeys, executions, inputs, outcomes
from zeroflow.functions.pipeline.conditions import holds
from zeroflow.functions.pipeline.executions import task_id
from zeroflow.functions.pipeline.inputs import Values
from zeroflow.functions.pipeline.outcomes import Outcome
from zeroflow.functions.pipeline.plan import FromTask, Plan, Scope, TaskPlan
from zeroflow.functions.pipeline.states import FINAL, note_state, rfc3339
from zeroflow.metadata import now_ms
from zeroflow.metadata.pipelines import CacheEntry, Run, Task

TASK_REQUESTED = "dev.zeroflow.task.requested"
TASK_DELAYED = "dev.zeroflow.task.delayed"
RUN_FINISHED = "dev.zeroflow.run.finished"
PAGE = 500
"""Ids per query."""


class Advance:
    """What a pass knows: the run, its plan, and the rows that it has seen."""

    def __init__(self, tx: Transaction, run: Run, plan: Plan, stores: Stores) -> None:
        self.tx, self.session, self.run, self.plan, self.stores = tx, tx.session, run, plan, stores
        self.now = now_ms()
        self._rows: dict[str, Task] = {}
        self._ready: deque[Task] = deque()
        self._final: deque[Task] = deque()

    def begin(self, root: Task, values: Values) -> None:
        """Open the run's root."""
        self.session.add(root)
        self._rows[root.id] = root
        self._open(root, self.plan.scope(""), values)
        self._settle()

    def resume(self, rows: Iterable[Task], ready: Iterable[Task]) -> None:
        """Go on with rows that a retry has reset."""
        self._rows.update((row.id, row) for row in rows)
        self._ready.extend(ready)
        self._settle()

    def finish(self, row: Task, outcome: Outcome) -> None:
        """Take in the outcome of the row's present execution."""
        self._rows[row.id] = row
        task = self.plan.task(row.name)
        row.exit_code, row.timings = outcome.exit_code, outcome.timings
        row.started_ms, row.log_uri = outcome.started_ms or row.requested_ms, outcome.log_uri or row.log_uri
        error = outcome.error
        if outcome.succeeded:
            try:
                self._succeed(row, task, outcomes.values_of(row, task.component, outcome), outcome.finished_ms)
            except ZeroflowError as problem:
                error = str(problem)
        if row.state not in FINAL:
            retry = row.attempt - row.first_attempt + 1
            if retry <= task.retry.max_retries:
                self._again(row, task, task.retry.delay_ms(retry), error)
            else:
                self._fail(row, error, outcome.finished_ms)
        self._settle()

    def request(self, row: Task) -> None:
        """Ask for the next execution of a step."""
        row.attempt += 1
        row.state, row.requested_ms, row.not_before_ms = "RUNNING", self.now, None
        row.log_uri = executions.log_uri(self.run.id, row.name, row.attempt)
        self.tx.emit(
            TASK_REQUESTED,
            subject=f"runs/{self.run.id}/tasks/{row.name}",
            event_id=f"{row.id}.{row.attempt}.requested",
            data=executions.request(self.run, row, self.plan.task(row.name)),
        )

    def _settle(self) -> None:
        # Queries here read only rows that `_open`, `_succeed` and `_stop` have flushed: a flush per query would cost
        # more than the query.
        with self.session.no_autoflush:
            while self._final or self._ready:
                if self._final:
                    self._propagate(self._final.popleft())
                else:
                    batch, self._ready = self._ready, deque()
                    self._fetch_producers(batch)
                    for row in batch:
                        self._start(row)

    def _start(self, row: Task) -> None:
        if row.state != "PENDING":
            return
        task, parent = self.plan.task(row.name), self._row(row.parent_id)
        try:
            values = inputs.of_task(task, _values(parent.inputs), self._outputs(parent), self._context(row))
            if task.condition is not None and not holds(task.condition, values["parameters"]):
                self._end(row, "SKIPPED", self.now)
                return
        except ZeroflowError as error:
            self._fail(row, str(error), None)
            return
        if task.component.scope is not None:
            self._open(row, task.component.scope, values)
            return
        if row.attempt == 0:
            outcomes.record_uses(self.tx, row, "input", values["artifacts"])
        row.inputs = dict(values)
        if task.enable_cache:
            row.cache_key = cachekeys.of_task(self.run.namespace, task, values)
            if self._reuse(row):
                return
        self.request(row)

    def _open(self, row: Task, scope: Scope, values: Values) -> None:
        row.state, row.inputs, row.started_ms, row.open_children = "RUNNING", dict(values), self.now, len(scope.tasks)
        prefix = f"{row.name}." if row.name else ""
        for name, task in scope.tasks.items():
            path = prefix + name
            child = Task(
                id=task_id(self.run.id, path),
                run_id=self.run.id,
                parent_id=row.id,
                name=path,
                display_name=task.display_name,
                kind="dag" if task.component.scope is not None else "step",
                state="PENDING",
                waiting=len(task.upstream),
                open_children=0,
                attempt=0,
                first_attempt=1,
                created_ms=self.now,
            )
            self.session.add(child)
            if not task.upstream:
                self._rows[child.id] = child
                self._ready.append(child)
        self.session.flush()
        if row.open_children == 0:
            self._close(row)

    def _propagate(self, row: Task) -> None:
        if row.parent_id is None:
            self._finish_run(row)
            return
        parent = self._row(row.parent_id)
        parent.open_children -= 1
        if row.state == "FAILED":
            self._stop(parent, row)
        elif dependents := self._load(self._ids(parent, self.plan.task(row.name).dependents)):
            for dependent in dependents:
                dependent.waiting -= 1
                if dependent.state == "PENDING" and row.state == "SKIPPED":
                    self._end(dependent, "SKIPPED", self.now)
                elif dependent.state == "PENDING" and dependent.waiting == 0:
                    self._ready.append(dependent)
        if parent.open_children == 0:
            self._close(parent)

    def _stop(self, scope: Task, failed: Task) -> None:
        """Begin nothing more in a scope; what runs is let finish."""
        if scope.error is None:
            scope.error = failed.error if failed.kind == "dag" else _failure(failed)
        self.session.flush()
        stopped = (
            update(Task)
            .where(Task.parent_id == scope.id, Task.state == "PENDING")
            .values(state="SKIPPED", finished_ms=self.now)
            .returning(Task.id)
        )
        scope.open_children -= len(self.session.execute(stopped).all())

    def _close(self, row: Task) -> None:
        """End a scope whose tasks are all final."""
        if row.error is None:
            scope = self.plan.scope(row.name)
            component = self.plan.task(row.name).component if row.name else self.plan.root
            self._load(self._ids(row, {source.task for found in _sources(scope) for source in found}))
            try:
                values = inputs.of_scope(
                    component, scope, self._outputs(row), lambda name: self._child(row, name).state == "SUCCEEDED"
                )
                row.outputs = dict(values)
            except ZeroflowError as error:
                row.error = str(error)
        self._end(row, "FAILED" if row.error else "SUCCEEDED", self.now)

    def _succeed(self, row: Task, task: TaskPlan, values: Values, finished_ms: int | None) -> None:
        row.outputs, row.error = dict(values), None
        outcomes.record_artifacts(self.tx, self.run, row, values)
        outcomes.record_uses(self.tx, row, "output", values["artifacts"])
        if row.cache_key is not None:
            entry = CacheEntry(
                key=row.cache_key,
                namespace=self.run.namespace,
                run_id=self.run.id,
                task_id=row.id,
                outputs=dict(values),
                created_ms=self.now,
            )
            self.session.merge(entry)
        self._end(row, "SUCCEEDED", finished_ms or self.now)
        self.session.flush()
        outcomes.announce_models(self.tx, self.run, row, values)

    def _reuse(self, row: Task) -> bool:
        """Take the outputs of an earlier execution with the same content, if their bytes are still there."""
        entry = self.session.get(CacheEntry, row.cache_key)
        if entry is None:
            return False
        held = [item for items in entry.outputs["artifacts"].values() for item in items]
        try:
            if not all(self.stores.exists(item["uri"]) for item in held if item["sha256"]):
                return False
        except ZeroflowError:
            return False
        row.cached_from, row.outputs = entry.task_id, entry.outputs
        row.requested_ms = row.started_ms = self.now
        outcomes.record_uses(self.tx, row, "output", entry.outputs["artifacts"])
        self._end(row, "SUCCEEDED", self.now)
        outcomes.announce_models(self.tx, self.run, row, _values(entry.outputs))
        return True

    def _again(self, row: Task, task: TaskPlan, delay_ms: int, error: str) -> None:
        row.error = error
        if delay_ms == 0:
            self.request(row)
            return
        row.not_before_ms = self.now + delay_ms
        delay(self.tx, row, 0)

    def _fail(self, row: Task, error: str, finished_ms: int | None) -> None:
        row.error = error
        self._end(row, "FAILED", finished_ms or self.now)

    def _end(self, row: Task, state: str, finished_ms: int) -> None:
        row.state, row.finished_ms = state, finished_ms
        self._final.append(row)

    def _finish_run(self, root: Task) -> None:
        self.run.finished_ms, self.run.error = self.now, root.error
        note_state(self.run, root.state, self.now, root.error)
        again = f".{self.run.retries}" if self.run.retries else ""
        data = {"run_id": self.run.id, "state": root.state}
        self.tx.emit(
            RUN_FINISHED,
            subject=f"runs/{self.run.id}",
            event_id=f"{self.run.id}{again}.finished",
            data=data if root.error is None else {**data, "error": root.error},
        )

    def _context(self, row: Task) -> dict[str, str]:
        return {
            "run_name": self.run.name,
            "run_id": self.run.id,
            "task_name": row.display_name,
            "task_id": row.id,
            "pipeline_root": self.run.artifact_root,
            "created_at": rfc3339(self.run.created_ms),
        }

    def _outputs(self, scope: Task) -> inputs.Outputs:
        return lambda name: _values(self._child(scope, name).outputs)

    def _child(self, scope: Task, name: str) -> Task:
        return self._row(self._ids(scope, (name,))[0])

    def _ids(self, scope: Task, names: Iterable[str]) -> list[str]:
        prefix = f"{scope.name}." if scope.name else ""
        return [task_id(self.run.id, prefix + name) for name in names]

    def _row(self, row_id: str | None) -> Task:
        assert row_id is not None
        if row_id not in self._rows:
            self._rows[row_id] = self.session.get_one(Task, row_id)
        return self._rows[row_id]

    def _load(self, ids: list[str]) -> list[Task]:
        missing = [row_id for row_id in ids if row_id not in self._rows]
        for at in range(0, len(missing), PAGE):
            page = select(Task).where(Task.id.in_(missing[at : at + PAGE]))
            self._rows.update((row.id, row) for row in self.session.scalars(page))
        return [self._rows[row_id] for row_id in ids]

    def _fetch_producers(self, ready: Iterable[Task]) -> None:
        """Load at once what the ready tasks will ask for."""
        wanted: dict[str, None] = {}
        for row in ready:
            if row.state == "PENDING":
                wanted.update(dict.fromkeys(self._ids(self._row(row.parent_id), self.plan.task(row.name).upstream)))
        self._load(list(wanted))


def delay(tx: Transaction, row: Task, hop: int) -> None:
    """Emit the event that brings a retry back when it is due."""
    tx.emit(
        TASK_DELAYED,
        subject=f"runs/{row.run_id}/tasks/{row.name}",
        event_id=f"{row.id}.{row.attempt}.delayed.{hop}",
        data={
            "run_id": row.run_id,
            "task_id": row.id,
            "attempt": row.attempt,
            "not_before_ms": row.not_before_ms,
            "hop": hop,
        },
    )


def _values(held: dict[str, object] | None) -> Values:
    return held if held is not None else inputs.empty()  # type: ignore[return-value]  # a JSON column of this shape


def _sources(scope: Scope) -> list[tuple[FromTask, ...]]:
    return [*scope.parameter_outputs.values(), *scope.artifact_outputs.values()]


def _failure(row: Task) -> str:
    told = not row.exit_code or row.exit_code < 0 or "exit code" in (row.error or "")
    code = "" if told else f" (exit code {row.exit_code})"
    log = f"; log: {row.log_uri}" if row.log_uri else ""
    return f"task {row.name} failed: {row.error}{code}{log}"
