"""The step function: `task.requested` in, `task.finished` out; `task.canceled` ends what runs.

A step that is a Job is answered for when its Job has ended.

The work is in `execution`; here are the events, and the order that makes a redelivery harmless: the attempt's folder
is held until the answer is committed, and removed after that.
"""

import os
import time
from collections.abc import Mapping
from typing import Any

from flask import Flask

from zeroflow.artifacts import Stores
from zeroflow.events import Delivery, FunctionApp
from zeroflow.functions.step import claims, execution, jobs
from zeroflow.functions.step.outcome import Outcome
from zeroflow.functions.step.request import Attempt
from zeroflow.functions.step.settings import StepSettings
from zeroflow.functions.step.steps import Steps
from zeroflow.settings import Settings

NAME = "step"
REQUESTED, FINISHED, CANCELED = (f"dev.zeroflow.task.{word}" for word in ("requested", "finished", "canceled"))
WORKSPACE_RELEASED = "dev.zeroflow.workspace.released"
ADD, UPDATE, DELETE = (f"dev.knative.apiserver.resource.{word}" for word in ("add", "update", "delete"))


def create_app(settings: Settings | None = None) -> Flask:
    """Build the function, and start the fork server of its steps."""
    settings = settings or Settings.from_environment()
    own = StepSettings.from_environment(settings)
    steps = Steps(own, Stores.from_settings(settings), os.environ)
    app = FunctionApp.from_settings(NAME, settings)

    @app.on(REQUESTED, asks_itself=True)
    def on_requested(delivery: Delivery) -> None:
        deadline = time.monotonic() + own.time_limit_s
        data = delivery.data()
        attempt = Attempt.parse(data)
        queue_ms = _age_ms(delivery)
        workspace = steps.workspace(attempt)
        with workspace.held():
            if not app.handled(delivery):  # also by a handler that held the attempt while this one waited
                outcome = execution.run(steps, workspace, data, deadline)
                if outcome is not None:
                    outcome.timings["queue_ms"] = queue_ms
                    _answer(delivery, attempt, data, outcome.as_json())
            steps.discard(workspace)

    @app.on(CANCELED)
    def on_canceled(delivery: Delivery) -> None:
        attempt = Attempt.parse(delivery.data())
        workspace = steps.workspace(attempt)
        if workspace.ended() is None:
            workspace.cancel()
        steps.jobs.cancel(attempt)

    def on_job(delivery: Delivery) -> None:
        job = delivery.data()
        attempt = jobs.attempt_of(job)
        problem = jobs.end_of(job, deleted=delivery.type == DELETE)
        if attempt is None or problem is None:
            return
        steps.jobs.resume()
        request = steps.jobs.request(attempt)
        if request is None:
            return
        outcome = steps.jobs.outcome(attempt) or _lost(problem)
        _answer(delivery, attempt, request, outcome)

    @app.on(WORKSPACE_RELEASED)
    def on_released(delivery: Delivery) -> None:
        data = delivery.data()
        steps.resources().delete(*claims.CLAIM, str(data.get("namespace")), str(data.get("claim")))

    for change in (ADD, UPDATE, DELETE):
        app.on(change)(on_job)

    app.flask.extensions["zeroflow_steps"] = steps
    return app.flask


def _answer(delivery: Delivery, attempt: Attempt, request: Mapping[str, Any], outcome: Mapping[str, Any]) -> None:
    """Say how an attempt has ended.

    It lasts once the pipeline function has taken it in, which waits for the disk. Until then the broker delivers the
    request again after a loss of power, which this function may have been in the middle of as well.
    """
    with delivery.transaction(durable=False) as tx:
        tx.emit(
            FINISHED,
            event_id=f"{attempt.key}.finished",
            subject=f"runs/{attempt.run_id}/tasks/{request.get('task_name')}",
            data={
                "run_id": attempt.run_id,
                "task_id": attempt.task_id,
                "task_name": request.get("task_name"),
                "attempt": attempt.attempt,
                **outcome,
                "log_uri": request.get("log_uri"),
            },
        )


def _lost(problem: str) -> dict[str, Any]:
    now_ms = time.time_ns() // 1_000_000
    error = {"message": problem, "reason": "JobLost"}
    return {**Outcome("FAILED", error, started_ms=now_ms, finished_ms=now_ms).as_json()}


def _age_ms(delivery: Delivery) -> float:
    said = delivery.event.get_time()
    return max(0.0, (time.time() - said.timestamp()) * 1000) if said else 0.0
