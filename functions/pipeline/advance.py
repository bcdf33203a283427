"""One pass over a run inside one transaction: what follows when tasks become ready and final.

The caller holds the lock of the run's row. Work is queued, never recursive, so a chain of any length whose steps are
all cached is one pass. A completion touches its own row, its dependents and the counters of its scope, nothing else.

When a task of a scope fails, the scope's tasks that have not begun are skipped and those that run are let finish; then
the scope is failed, and so on outwards. A task whose condition is false is skipped, with everything that depends on it.
A task that runs anyway (an exit task) waits only for its upstream to be final; what a failure skips counts as that.

A loop's iterations are scopes below it. They are made when they begin, at most `places` side by side, so that a loop
over any number of items costs a pass no more than its step. Of the tasks of any other scope as many run side by side;
what is ready beyond that stays PENDING, and is begun in batches as others end.
"""

from collections import deque
from collections.abc import Iterable

from sqlalchemy import select, update

from zeroflow.artifacts import Stores
from zeroflow.errors import ZeroflowError
from zeroflow.events import Transaction
from zeroflow.functions.pipeline import costs, executions, inputs, loops, outcomes, outgoing, placeholders
from zeroflow.functions.pipeline.cache import Cache, Found
from zeroflow.functions.pipeline.conditions import holds
from zeroflow.functions.pipeline.forks import Fork
from zeroflow.functions.pipeline.inputs import Values
from zeroflow.functions.pipeline.outcomes import Outcome
from zeroflow.functions.pipeline.plan import Constant, FromTask, Plan, Scope, TaskPlan
from zeroflow.functions.pipeline.rows import Rows, new_task, values
from zeroflow.functions.pipeline.states import FINAL
from zeroflow.metadata import now_ms
from zeroflow.metadata.pipelines import Run, Task

REFILL = 8
"""An eighth of a scope's places is free before those that wait for one are looked for."""


class Advance:
    """What a pass knows: the run, its plan, and the rows that it has seen."""

    def __init__(self, tx: Transaction, run: Run, plan: Plan, stores: Stores, places: int) -> None:
        self.tx, self.session, self.run, self.plan, self.stores = tx, tx.session, run, plan, stores
        self._places, self._refill_at = places, places - max(1, places // REFILL)
        self.now = now_ms()
        self.rows = Rows(self.session, run, plan)
        self.cache = Cache(self.session, stores, run, Fork(plan, run.forked_at) if run.forked_from else None)
        self._items = loops.Items(self.rows)
        self._ready: deque[Task] = deque()
        self._final: deque[tuple[Task, bool]] = deque()
        self._roomy: dict[str, Task] = {}

    def begin(self, root: Task, given: Values) -> None:
        """Open the run's root."""
        self.session.add(root)
        self.rows.add(root)
        self._open(root, self.plan.scope(""), given)
        self._settle()

    def resume(self, rows: Iterable[Task], ready: Iterable[Task]) -> None:
        """Go on with rows that a retry has reset."""
        self.rows.add(*rows)
        self._ready.extend(ready)
        self._settle()

    def finish(self, row: Task, outcome: Outcome) -> None:
        """Take in the outcome of the row's present execution."""
        self.rows.add(row)
        task = self.plan.task(row.name)
        if row.parent_id is not None:  # most likely all that follows is in these rows
            self.rows.glance([row.parent_id, *self.rows.ids_below(row.name.rpartition(".")[0], task.dependents)])
        row.exit_code, row.timings = outcome.exit_code, outcome.timings
        row.usage = costs.with_attempt(row.usage, outcome, values(row.inputs))
        row.started_ms, row.log_uri = outcome.started_ms or row.requested_ms, outcome.log_uri or row.log_uri
        error = outcome.error
        if outcome.succeeded:
            try:
                self._succeed(row, task, outcomes.values_of(row, task.component, outcome), outcome.finished_ms)
            except ZeroflowError as problem:
                error = str(problem)
        if row.state not in FINAL:
            retry = row.attempt - row.first_attempt + 1
            policy = self.plan.retry(row.name)
            if retry <= policy.max_retries:
                self._again(row, policy.delay_ms(retry), error)
            else:
                self._fail(row, error, outcome.finished_ms)
        self._settle()

    def request(self, row: Task) -> None:
        """Ask for the next execution of a step."""
        row.attempt += 1
        if row.state != "RUNNING":
            self._enter(row)
        row.requested_ms, row.not_before_ms = self.now, None
        row.log_uri = executions.log_uri(self.run.id, row.name, row.attempt)
        outgoing.request(self.tx, self.plan, self.run, row)

    def _settle(self) -> None:
        # Queries here read only rows that `_stop`, `_close` and `_refill` have flushed: to flush for each costs more
        # than the query itself.
        with self.session.no_autoflush:
            while self._final or self._ready or self._roomy:
                if self._final:
                    self._propagate(*self._final.popleft())
                elif self._ready:
                    batch, self._ready = self._ready, deque()
                    self.rows.fetch_producers(batch)
                    for row in batch:
                        self._start(row)
                else:
                    self._refill(self._roomy.popitem()[1])

    def _has_room(self, scope: Task) -> bool:
        """Tell whether it is time to look for tasks that wait for a place, which costs a query."""
        stands = scope.begun == 0 and not self._ready and not self._final  # there were fewer places when it began
        return scope.begun == self._refill_at or stands

    def _refill(self, scope: Task) -> None:
        """Begin ready tasks of a scope that had no room for them."""
        room = self._places - scope.begun
        if room <= 0 or scope.state in FINAL:
            return
        self.session.flush()
        ready = select(Task).where(Task.parent_id == scope.id, Task.state == "PENDING", Task.waiting == 0).limit(room)
        found = self.session.scalars(ready).all()
        self.rows.add(*found)
        self._ready.extend(found)
        if len(found) == room:  # perhaps none of them needs its place: their outputs are kept, or they are skipped
            self._roomy[scope.id] = scope

    def _start(self, row: Task) -> None:
        if row.state != "PENDING":
            return
        if (left_s := executions.remaining_s(self.plan, self.run, self.now)) is not None and left_s <= 0:
            self._fail(row, f"the run has taken longer than the {self.plan.config.deadline_s:g} s that it may", None)
            return
        task, parent = self.plan.task(row.name), self.rows.row(row.parent_id)
        if row.kind == "iteration":
            self._begin_iteration(parent, row, task)
            return
        if parent.begun >= self._places:
            return  # until `_refill` finds it
        try:
            given = inputs.of_task(
                task,
                self.rows.inputs_of(parent),
                self.rows.outputs_of(parent),
                executions.context(self.run, row),
                self.rows.status_in(parent),
            )
            if task.condition is not None and not holds(task.condition, given["parameters"]):
                self._end(row, "SKIPPED", self.now)
                return
            if task.iterator is not None:
                self._loop(row, task, given)
                return
        except ZeroflowError as error:
            self._fail(row, str(error), None)
            return
        if task.component.scope is not None:
            self._open(row, task.component.scope, given)
            return
        if row.attempt == 0:
            outcomes.record_uses(self.tx, row, "input", given["artifacts"])
        row.inputs = dict(given)
        if not self._reuse(row, self.cache.find(row, task, given)):
            self.request(row)

    def _enter(self, row: Task) -> None:
        """Let a task run: it takes a place in its scope until it is final."""
        row.state = "RUNNING"
        if row.parent_id is not None and row.kind != "iteration":
            self.rows.row(row.parent_id).begun += 1

    def _open(self, row: Task, scope: Scope, given: Values) -> None:
        self._enter(row)
        row.inputs, row.started_ms, row.open_children, row.begun = dict(given), self.now, len(scope.tasks), 0
        prefix = f"{row.name}." if row.name else ""
        for name, task in scope.tasks.items():
            path = prefix + name
            kind = "step" if task.component.scope is None else "dag" if task.iterator is None else "loop"
            child = new_task(self.run, row.id, path, task.display_name, kind, len(task.upstream), self.now)
            self.session.add(child)
            self.rows.add(child)  # it is written when this pass has made of it what it can
            if not task.upstream:
                self._ready.append(child)
        if row.open_children == 0:
            self._close(row)

    def _loop(self, row: Task, task: TaskPlan, given: Values) -> None:
        """Open a loop, and begin as many iterations as may run side by side."""
        row.inputs = dict(given)
        row.iterations, row.begun = self._items.count(row, task), 0
        row.started_ms, row.open_children = self.now, row.iterations
        self._enter(row)
        assert task.iterator is not None
        self._iterate(row, task, task.iterator.parallelism or self._places)
        if row.iterations == 0:
            self._close(row)

    def _iterate(self, loop: Task, task: TaskPlan, count: int) -> None:
        """Make and begin the next iterations of a loop."""
        last = min(loop.begun + count, loop.iterations or 0)
        for index in range(loop.begun, last):
            path = f"{loop.name}.{index}"
            row = new_task(self.run, loop.id, path, f"{loop.display_name}-{index}", "iteration", 0, self.now)
            self.session.add(row)
            self.rows.add(row)
            self._ready.append(row)
        loop.begun = last

    def _begin_iteration(self, loop: Task, row: Task, task: TaskPlan) -> None:
        assert task.component.scope is not None
        try:
            item = self._items.of(loop, task)[int(row.name.rpartition(".")[2])]
            assert task.iterator is not None
            if isinstance(task.iterator.source, Constant):
                parameters = values(loop.inputs)["parameters"]
                item = placeholders.fill(item, parameters.get, executions.context(self.run, loop))
            self._open(row, task.component.scope, inputs.of_item(task, item))
        except ZeroflowError as error:
            self._fail(row, str(error), None)

    def _propagate(self, row: Task, ran: bool) -> None:
        if row.parent_id is None:
            self._finish_run(row)
            return
        parent = self.rows.row(row.parent_id)
        parent.open_children -= 1
        if ran and row.kind != "iteration":
            parent.begun -= 1
        if row.state == "FAILED":
            self._stop(parent, row)
        elif row.kind == "iteration" and parent.error is None:
            self._iterate(parent, self.plan.task(parent.name), 1)
        if row.kind != "iteration" and (row.state != "FAILED" or self.plan.scope(parent.name).survivors):
            self._release(parent, row)
        if parent.open_children == 0:
            self._close(parent)
        elif ran and row.kind != "iteration" and self._has_room(parent):
            self._roomy[parent.id] = parent

    def _release(self, scope: Task, row: Task) -> None:
        """Let go on, or end, what waits for a task that is final."""
        tasks = self.plan.scope(scope.name).tasks
        names = self.plan.task(row.name).dependents
        for name, dependent in zip(names, self.rows.load(self.rows.ids(scope, names)), strict=True):
            dependent.waiting -= 1
            if dependent.state != "PENDING":
                continue
            if row.state != "SUCCEEDED" and not tasks[name].runs_anyway:
                self._end(dependent, "SKIPPED", self.now)
            elif dependent.waiting == 0:
                self._ready.append(dependent)

    def _stop(self, scope: Task, failed: Task) -> None:
        """Begin nothing more in a scope but what survives a failure; what runs is let finish."""
        stopped_before = scope.error is not None
        if scope.error is None:
            scope.error = outcomes.failure(failed) if failed.kind == "step" else failed.error
        if scope.kind == "loop":
            if not stopped_before:
                scope.open_children -= (scope.iterations or 0) - scope.begun
            return
        self.session.flush()
        plan = self.plan.scope(scope.name)
        if plan.survivors:
            # one by one, since what waits for them goes on
            names = [name for name in plan.tasks if name not in plan.survivors]
            for row in self.rows.load(self.rows.ids(scope, names)):
                if row.state == "PENDING":
                    self._end(row, "SKIPPED", self.now)
            return
        stopped = (
            update(Task)
            .where(Task.parent_id == scope.id, Task.state == "PENDING")
            .values(state="SKIPPED", finished_ms=self.now)
            .returning(Task.id)
        )
        scope.open_children -= len(self.session.execute(stopped).all())

    def _close(self, row: Task) -> None:
        """End a scope whose tasks are all final."""
        if row.error is None and row.kind == "loop":
            self.session.flush()
            row.outputs = dict(loops.collected(self.session, row, self.plan.task(row.name).component))
        elif row.error is None:
            scope = self.plan.scope(row.name)
            component = self.plan.task(row.name).component if row.name else self.plan.root
            self.rows.load(self.rows.ids(row, {source.task for found in _sources(scope) for source in found}))
            try:
                row.outputs = dict(
                    inputs.of_scope(
                        component,
                        scope,
                        self.rows.outputs_of(row),
                        lambda name: self.rows.child(row, name).state == "SUCCEEDED",
                    )
                )
            except ZeroflowError as error:
                row.error = str(error)
        self._end(row, "FAILED" if row.error else "SUCCEEDED", self.now)

    def _succeed(self, row: Task, task: TaskPlan, given: Values, finished_ms: int | None) -> None:
        importer = task.component.importer
        reused = importer is not None and not importer.get("reimport")
        known = outcomes.known_artifacts(self.tx, self.run, given) if reused else ()
        row.outputs, row.error = dict(given), None
        outcomes.record_artifacts(self.tx, self.run, row, given, known)
        outcomes.record_uses(self.tx, row, "output", given["artifacts"])
        row.usage = costs.with_output(row.usage, given)
        self.cache.keep(row, given, self.now)
        self._end(row, "SUCCEEDED", finished_ms or self.now)
        outcomes.announce_models(self.tx, self.run, row, given)

    def _reuse(self, row: Task, found: Found | None) -> bool:
        """Take the outputs of an earlier execution with the same content, if there are any."""
        if found is None:
            return False
        row.cached_from, row.outputs = found.task_id, found.outputs
        row.requested_ms = row.started_ms = self.now
        outcomes.record_uses(self.tx, row, "output", found.outputs["artifacts"])
        self._end(row, "SUCCEEDED", self.now)
        outcomes.announce_models(self.tx, self.run, row, values(found.outputs))
        return True

    def _again(self, row: Task, delay_ms: int, error: str) -> None:
        row.error = error
        if delay_ms == 0:
            self.request(row)
            return
        row.not_before_ms = self.now + delay_ms
        outgoing.delay(self.tx, row, 0)

    def _fail(self, row: Task, error: str, finished_ms: int | None) -> None:
        row.error = error
        self._end(row, "FAILED", finished_ms or self.now)

    def _end(self, row: Task, state: str, finished_ms: int) -> None:
        self._final.append((row, row.state == "RUNNING"))
        row.state, row.finished_ms = state, finished_ms

    def _finish_run(self, root: Task) -> None:
        outgoing.end_run(self.tx, self.run, root.state, root.error, self.now)
        if root.state == "SUCCEEDED" and self.plan.config.workspace:
            outgoing.release_workspace(self.tx, self.run)


def _sources(scope: Scope) -> list[tuple[FromTask, ...]]:
    return [*scope.parameter_outputs.values(), *scope.artifact_outputs.values()]
