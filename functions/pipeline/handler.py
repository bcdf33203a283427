"""The edge of the pipeline function: events and requests in, one plain call each, answers out.

Events: `task.finished` and `task.delayed` at `POST /`, any event at `POST /triggers/<pipeline>`, what nobody could take
at `POST /dead-letters`, the clock at `POST /recurringruns/<id>/tick`. Everything else is the KFP v2beta1 API (`api`).
"""

import logging
import os
import time
from collections.abc import Callable

from flask import Flask, Response, request

from zeroflow.artifacts import Stores
from zeroflow.events import Delivery, FunctionApp
from zeroflow.functions.pipeline import deadletters, outcomes, places, recurring, triggers
from zeroflow.functions.pipeline.access import Access
from zeroflow.functions.pipeline.api import Context, blueprint
from zeroflow.functions.pipeline.capabilities import Capabilities
from zeroflow.functions.pipeline.clock import Clock
from zeroflow.functions.pipeline.engine import Engine
from zeroflow.functions.pipeline.outgoing import RECURRING_DUE, TASK_DELAYED
from zeroflow.functions.pipeline.plans import Plans
from zeroflow.metadata import now_ms
from zeroflow.resources.client import LazyResources, Resources
from zeroflow.settings import Settings

logger = logging.getLogger(__name__)

TASK_FINISHED = "dev.zeroflow.task.finished"
MAX_WAIT_S = 10.0
"""How long one delivery of task.delayed may hold a thread; a longer wait is put off to the next delivery."""
MAX_BODY_BYTES = 64 << 20


def create_app(settings: Settings | None = None, resources: Callable[[], Resources] | None = None) -> Flask:
    """Build the function; `resources` gives the client of the Kubernetes API when it is first needed."""
    settings = settings or Settings.from_environment()
    app = FunctionApp.from_settings("pipeline", settings)
    app.flask.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    stores = Stores.from_settings(settings)
    resources = resources or LazyResources("zeroflow-pipeline")
    engine = Engine(Plans(), stores, Capabilities.from_environment(resources=resources), places.from_environment())

    @app.on(TASK_FINISHED, asks_itself=True)
    def task_finished(delivery: Delivery) -> None:
        outcome = outcomes.parse(delivery.data())
        with delivery.transaction() as tx:
            engine.finished(tx, outcome)

    @app.on(TASK_DELAYED)
    def task_delayed(delivery: Delivery) -> None:
        data = delivery.data()
        remaining_s = (int(data.get("not_before_ms") or 0) - now_ms()) / 1000
        if remaining_s > 0:
            time.sleep(min(remaining_s + 0.001, MAX_WAIT_S))
        with delivery.transaction() as tx:
            engine.due(tx, data)

    @app.flask.post("/triggers/<pipeline_name>")
    def trigger(pipeline_name: str) -> Response:
        # One event may start several pipelines: each address is a consumer of its own, which handles it once.
        address = request.full_path.rstrip("?")
        query = request.args.to_dict()
        return app.receive(
            lambda delivery: triggers.start_run(engine, delivery, pipeline_name, query, address),
            consumer=f"pipeline{address}",
        )

    @app.flask.post("/dead-letters")
    def dead_letter() -> Response:
        return app.receive(task_undeliverable, consumer="pipeline/dead-letters")

    def task_undeliverable(delivery: Delivery) -> None:
        outcome = deadletters.failure(delivery)
        if outcome is None:
            logger.warning("undeliverable: %s %s from %s", delivery.type, delivery.id, delivery.source)
            return
        with delivery.transaction() as tx:
            engine.finished(tx, outcome)

    clock = Clock(app, engine, resources)
    app.on(RECURRING_DUE)(clock.due)
    app.on(recurring.CHANGED)(clock.changed)
    app.flask.post("/recurringruns/<recurring_run_id>/tick")(clock.tick)
    app.flask.post("/recurringruns/sweep")(clock.sweep)

    access = Access(app.database, resources, settings.token, os.environ)
    app.flask.register_blueprint(blueprint(Context(app, engine, stores, access, settings.trusted_hosts)))
    return app.flask
