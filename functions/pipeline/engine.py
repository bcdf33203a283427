"""What can happen to a run: it starts, a step of it finishes, a delayed retry is due, it is terminated or retried.

Each operation is one transaction under the lock of the run's row. Late, repeated and overtaken events change nothing:
an outcome counts only for the attempt that the task's row is running.
"""

import logging
from collections import defaultdict
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import defer

from zeroflow.artifacts import Stores
from zeroflow.errors import Conflict, NotFound
from zeroflow.events import Transaction
from zeroflow.functions.pipeline import given, inputs, outgoing, waiting
from zeroflow.functions.pipeline.advance import Advance
from zeroflow.functions.pipeline.capabilities import Capabilities
from zeroflow.functions.pipeline.inputs import Values
from zeroflow.functions.pipeline.outcomes import Outcome
from zeroflow.functions.pipeline.plan import Plan
from zeroflow.functions.pipeline.plans import Plans
from zeroflow.functions.pipeline.rows import new_task
from zeroflow.functions.pipeline.states import FINAL, note_state
from zeroflow.metadata import now_ms
from zeroflow.metadata.pipelines import Run, Task

logger = logging.getLogger(__name__)

RUN_REQUESTED = "dev.zeroflow.run.requested"
TASK_CANCELED = "dev.zeroflow.task.canceled"


# An event of a run does not need what was submitted, which may be the 10,000 items of a loop.
_RUN = (
    select(Run)
    .where(Run.id == bindparam("of_id"))
    .options(defer(Run.parameters))
    .with_for_update()
    .execution_options(populate_existing=True)
)
_RUN_AND_TASK = (
    select(Run, Task)
    .join(Task, Task.run_id == Run.id)
    .where(Run.id == bindparam("of_id"), Task.id == bindparam("of_task"))
    .options(defer(Run.parameters))
    .with_for_update()  # both: PostgreSQL reads again only what it locks when it had to wait
    .execution_options(populate_existing=True)
)


class WrongState(Conflict):
    """The run is in a state in which this cannot be done."""

    reason = "FailedPrecondition"


class Engine:
    """Advances runs. Holds no state of its own."""

    def __init__(self, plans: Plans, stores: Stores, capabilities: Capabilities, places: int) -> None:
        self.plans, self.stores, self.capabilities, self.places = plans, stores, capabilities, places

    def start(self, tx: Transaction, run: Run, plan: Plan) -> None:
        """Start a new run: its row, the record that it was requested, and its first tasks."""
        values = inputs.of_run(plan, run.parameters)
        self.capabilities.check(plan, values["parameters"])
        values["artifacts"] = given.artifacts(tx.session, run, plan, self.stores)
        tx.session.add(run)
        tx.emit(RUN_REQUESTED, subject=f"runs/{run.id}", event_id=f"{run.id}.requested", data={"run_id": run.id})
        if waiting.must_wait(tx.session, run, plan):
            return
        self._begin(tx, run, plan, values)

    def _begin(self, tx: Transaction, run: Run, plan: Plan, values: Values) -> None:
        root = new_task(run, None, "", plan.display_name, "dag", 0, run.created_ms)
        note_state(run, "RUNNING", now_ms())
        Advance(tx, run, plan, self.stores, self.places).begin(root, values)
        self._let_others_begin(tx, run, plan)

    def _let_others_begin(self, tx: Transaction, ended: Run, plan: Plan) -> None:
        """Begin the next run that waits for one of the same pipeline to end."""
        run = waiting.next_of(tx.session, ended, plan) if ended.state in FINAL else None
        if run is not None:
            plan = self.plans.of(tx.session, run.spec_sha256)
            values = inputs.of_run(plan, run.parameters)
            values["artifacts"] = given.artifacts(tx.session, run, plan, self.stores)
            self._begin(tx, run, plan, values)

    def finished(self, tx: Transaction, outcome: Outcome) -> None:
        """Take in the outcome of an execution."""
        found = tx.session.execute(_RUN_AND_TASK, {"of_id": outcome.run_id, "of_task": outcome.task_id}).first()
        if found is None:
            logger.info("outcome of a task that is gone: run=%s task=%s", outcome.run_id, outcome.task_id)
            return
        run, row = found
        if row.state != "RUNNING" or row.attempt != outcome.attempt or row.not_before_ms is not None:
            logger.info("late outcome: run=%s task=%s attempt=%d", run.id, row.name, outcome.attempt)
            return
        plan = self.plans.of(tx.session, run.spec_sha256)
        Advance(tx, run, plan, self.stores, self.places).finish(row, outcome)
        self._let_others_begin(tx, run, plan)

    def due(self, tx: Transaction, data: dict[str, Any]) -> None:
        """Ask for a delayed retry when its time has come, or put it off again."""
        run = self._locked(tx, str(data.get("run_id")))
        row = tx.session.get(Task, str(data.get("task_id"))) if run else None
        if run is None or row is None or row.state != "RUNNING" or row.attempt != data.get("attempt"):
            return
        if row.not_before_ms is None:
            return
        if row.not_before_ms > now_ms():
            outgoing.delay(tx, row, int(data.get("hop", 0)) + 1)
            return
        plan = self.plans.of(tx.session, run.spec_sha256)
        Advance(tx, run, plan, self.stores, self.places).request(row)

    def terminate(self, tx: Transaction, run_id: str) -> None:
        """Cancel a run and everything that it still runs; answers of canceled steps come too late to count."""
        run = self.locked(tx, run_id)
        if run.state in FINAL:
            raise WrongState(f"run {run_id} is {run.state}; only a run that is not finished can be terminated")
        now = now_ms()
        running = select(Task).where(Task.run_id == run_id, Task.state == "RUNNING", Task.kind == "step")
        for row in tx.session.scalars(running).all():
            tx.emit(
                TASK_CANCELED,
                subject=f"runs/{run_id}/tasks/{row.name}",
                event_id=f"{row.id}.{row.attempt}.canceled",
                data={"run_id": run_id, "task_id": row.id, "attempt": row.attempt},
            )
        tx.session.execute(
            update(Task)
            .where(Task.run_id == run_id, Task.state.in_(("PENDING", "RUNNING")))
            .values(state="CANCELED", finished_ms=now, not_before_ms=None)
        )
        run.finished_ms = now
        note_state(run, "CANCELED", now)
        self._let_others_begin(tx, run, self.plans.of(tx.session, run.spec_sha256))

    def retry(self, tx: Transaction, run_id: str) -> None:
        """Run a failed or canceled run again from where it failed; what succeeded is kept."""
        run = self.locked(tx, run_id)
        if run.state not in ("FAILED", "CANCELED"):
            raise WrongState(f"run {run_id} is {run.state}; only a failed or canceled run can be retried")
        plan = self.plans.of(tx.session, run.spec_sha256)
        run.retries += 1
        run.error, run.finished_ms = None, None
        note_state(run, "RUNNING", now_ms())
        tx.emit(
            RUN_REQUESTED,
            subject=f"runs/{run.id}",
            event_id=f"{run.id}.{run.retries}.requested",
            data={"run_id": run.id},
        )
        children: dict[str, list[Task]] = defaultdict(list)
        rows = tx.session.scalars(select(Task).where(Task.run_id == run_id)).all()
        for row in rows:
            children[row.parent_id or ""].append(row)
        ready: list[Task] = []
        _reopen(children[""][0], plan, children, ready)
        Advance(tx, run, plan, self.stores, self.places).resume(rows, ready)

    def locked(self, tx: Transaction, run_id: str) -> Run:
        """Return the run, locked until the transaction ends; raise NotFound."""
        run = self._locked(tx, run_id)
        if run is None:
            raise NotFound(f"there is no run {run_id}")
        return run

    def _locked(self, tx: Transaction, run_id: str) -> Run | None:
        return tx.session.scalars(_RUN, {"of_id": run_id}).one_or_none()


def _reopen(scope: Task, plan: Plan, children: dict[str, list[Task]], ready: list[Task]) -> None:
    """Reset what did not succeed below a scope, and its counters."""
    scopes = [scope]
    while scopes:
        scope = scopes.pop()
        scope.state, scope.error, scope.finished_ms = "RUNNING", None, None
        succeeded = {row.name for row in children[scope.id] if row.state == "SUCCEEDED"}
        total = scope.iterations if scope.kind == "loop" else len(children[scope.id])
        scope.open_children = (total or 0) - len(succeeded)
        if scope.kind != "loop":
            scope.begun = sum(row.state != "SUCCEEDED" and bool(children[row.id]) for row in children[scope.id])
        prefix = f"{scope.name}." if scope.name else ""
        for row in children[scope.id]:
            if row.state == "SUCCEEDED":
                continue
            upstream = () if row.kind == "iteration" else plan.task(row.name).upstream
            row.waiting = sum(prefix + name not in succeeded for name in upstream)
            row.error = row.finished_ms = row.exit_code = row.not_before_ms = None
            if children[row.id]:
                scopes.append(row)
                continue
            row.state, row.first_attempt = "PENDING", row.attempt + 1
            if row.waiting == 0:
                ready.append(row)
