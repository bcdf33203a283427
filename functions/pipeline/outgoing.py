"""The events by which a run goes on: a step is asked for, a retry is put off, the run has ended.

Their ids follow from the run, the task and the attempt, so that an event that is emitted again is the same event.
"""

from zeroflow.events import Transaction
from zeroflow.functions.pipeline import executions
from zeroflow.functions.pipeline.plan import Plan
from zeroflow.functions.pipeline.pods import workspace_claim
from zeroflow.functions.pipeline.states import note_state
from zeroflow.metadata.pipelines import Run, Task

TASK_REQUESTED = "dev.zeroflow.task.requested"
TASK_DELAYED = "dev.zeroflow.task.delayed"
RUN_FINISHED = "dev.zeroflow.run.finished"
WORKSPACE_RELEASED = "dev.zeroflow.workspace.released"
RECURRING_DUE = "dev.zeroflow.recurringrun.due"


def request(tx: Transaction, plan: Plan, run: Run, row: Task) -> None:
    """Ask for the execution of a step that its row describes."""
    tx.emit(
        TASK_REQUESTED,
        subject=f"runs/{run.id}/tasks/{row.name}",
        event_id=f"{row.id}.{row.attempt}.requested",
        data=executions.request(plan, run, row),
    )


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


def release_workspace(tx: Transaction, run: Run) -> None:
    """Let go of the volume that the run's tasks have shared; a run that may be retried keeps it."""
    tx.emit(
        WORKSPACE_RELEASED,
        subject=f"runs/{run.id}",
        event_id=f"{run.id}.workspace.released",
        data={"run_id": run.id, "namespace": run.namespace, "claim": workspace_claim(run.id)},
    )


def end_run(tx: Transaction, run: Run, state: str, error: str | None, at_ms: int) -> None:
    """End a run, and say so to whoever waits for it."""
    run.finished_ms, run.error = at_ms, error
    note_state(run, state, at_ms, error)
    again = f".{run.retries}" if run.retries else ""
    data = {"run_id": run.id, "state": state}
    tx.emit(
        RUN_FINISHED,
        subject=f"runs/{run.id}",
        event_id=f"{run.id}{again}.finished",
        data=data if error is None else {**data, "error": error},
    )
    if run.recurring_run_id:  # another may have waited for this one to end
        tx.emit(
            RECURRING_DUE,
            subject=f"recurringruns/{run.recurring_run_id}",
            event_id=f"{run.id}{again}.ended",
            data={"recurring_run_id": run.recurring_run_id},
        )
