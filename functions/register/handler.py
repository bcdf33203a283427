"""The register function: the Model Registry's REST API, and the handler that registers the models that runs make.

Run it with `gunicorn "zeroflow.functions.register.handler:create_app()"`.
"""

from flask import Flask

from zeroflow.artifacts import Stores
from zeroflow.events import Delivery, FunctionApp
from zeroflow.functions.register import approval, deployments, experiments, rest, trainingjobs, uses
from zeroflow.functions.register.catalog.sources import CatalogFile
from zeroflow.functions.register.identity import Identify
from zeroflow.functions.register.policy import Policy, PolicyFile
from zeroflow.functions.register.produced import PRODUCED
from zeroflow.functions.register.versions import on_model_produced
from zeroflow.functions.register.writing import Writing
from zeroflow.metadata.audit import Origin
from zeroflow.settings import Settings

MAX_BODY_BYTES = 8 * 1024 * 1024


def create_app(settings: Settings | None = None) -> Flask:
    """Build the function on the database and broker that the settings name."""
    settings = settings or Settings.from_environment()
    stores = Stores.from_settings(settings)
    app, policy = FunctionApp.from_settings("register", settings), PolicyFile.from_environment(stores=stores)
    app.flask.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    policy.on_change = lambda changed: _enroll(app, changed)
    app.on(PRODUCED)(lambda delivery: on_model_produced(delivery, policy.now()))
    app.on(experiments.SUCCEEDED)(lambda delivery: experiments.on_succeeded(delivery, policy.now(), stores))

    app.on(uses.OBSERVED)(uses.on_observed)
    app.on(uses.DRIFTED)(uses.on_drift)

    def on_resource(delivery: Delivery) -> None:
        if delivery.data().get("kind") in trainingjobs.DONE:
            trainingjobs.on_change(delivery, policy.now(), stores)
        else:
            deployments.on_change(delivery)

    for change in (*deployments.CHANGED, deployments.DELETED):
        app.on(change)(on_resource)
    rest.mount(app, policy, Identify(settings.token), CatalogFile.from_environment(), stores)
    return app.flask


def _enroll(app: FunctionApp, policy: Policy) -> None:
    """Take in what a new policy governs."""
    with app.outbox.transaction() as tx:
        approval.enroll(Writing(tx, Origin(app.outbox.source, True), policy))
