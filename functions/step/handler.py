"""The step function: `task.requested` in, `task.finished` out; `task.canceled` ends what runs.

The work is in `execution`; here are the events, and the order that makes a redelivery harmless: the attempt's folder
is held until the answer is committed, and removed after that.
"""

import os
import time

from flask import Flask

from zeroflow.artifacts import Stores
from zeroflow.events import Delivery, FunctionApp
from zeroflow.functions.step import execution
from zeroflow.functions.step.request import Attempt
from zeroflow.functions.step.settings import StepSettings
from zeroflow.metadata.events import HandledEvent
from zeroflow.settings import Settings

NAME = "step"
REQUESTED, FINISHED, CANCELED = (f"dev.zeroflow.task.{word}" for word in ("requested", "finished", "canceled"))


def create_app(settings: Settings | None = None) -> Flask:
    """Build the function, and start the fork server of its steps."""
    settings = settings or Settings.from_environment()
    own = StepSettings.from_environment(settings)
    steps = execution.Steps(own, Stores.from_settings(settings), os.environ)
    app = FunctionApp.from_settings(NAME, settings)

    @app.on(REQUESTED)
    def on_requested(delivery: Delivery) -> None:
        deadline = time.monotonic() + own.time_limit_s
        data = delivery.data()
        attempt = Attempt.parse(data)
        queue_ms = _age_ms(delivery)
        workspace = steps.workspace(attempt)
        with workspace.held():
            if not _handled(app, delivery):
                outcome = execution.run(steps, workspace, data, deadline)
                outcome.timings["queue_ms"] = queue_ms
                with delivery.transaction() as tx:
                    tx.emit(
                        FINISHED,
                        event_id=f"{attempt.key}.finished",
                        subject=delivery.event.get_subject(),
                        data={
                            "run_id": attempt.run_id,
                            "task_id": attempt.task_id,
                            "task_name": data.get("task_name"),
                            "attempt": attempt.attempt,
                            **outcome.as_json(),
                            "log_uri": data.get("log_uri"),
                        },
                    )
            steps.discard(workspace)

    @app.on(CANCELED)
    def on_canceled(delivery: Delivery) -> None:
        workspace = steps.workspace(Attempt.parse(delivery.data()))
        if workspace.ended() is None:
            workspace.cancel()

    app.flask.extensions["zeroflow_steps"] = steps
    return app.flask


def _handled(app: FunctionApp, delivery: Delivery) -> bool:
    """Say whether another handler has answered this event while this one waited for the attempt."""
    with app.database.reading() as session:
        return session.get(HandledEvent, (app.name, delivery.source, delivery.id)) is not None


def _age_ms(delivery: Delivery) -> float:
    said = delivery.event.get_time()
    return max(0.0, (time.time() - said.timestamp()) * 1000) if said else 0.0
