"""The register function: the Model Registry's REST API, and the handler that registers the models that runs make.

Run it with `gunicorn "zeroflow.functions.register.handler:create_app()"`.
"""

from flask import Flask

from zeroflow.events import FunctionApp
from zeroflow.functions.register import deployments, rest
from zeroflow.functions.register.catalog.sources import CatalogFile
from zeroflow.functions.register.identity import Identify
from zeroflow.functions.register.policy import PolicyFile
from zeroflow.functions.register.produced import PRODUCED
from zeroflow.functions.register.versions import on_model_produced
from zeroflow.settings import Settings

MAX_BODY_BYTES = 8 * 1024 * 1024


def create_app(settings: Settings | None = None) -> Flask:
    """Build the function on the database and broker that the settings name."""
    settings = settings or Settings.from_environment()
    app, policy = FunctionApp.from_settings("register", settings), PolicyFile.from_environment()
    app.flask.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.on(PRODUCED)(lambda delivery: on_model_produced(delivery, policy.now()))
    for change in (*deployments.CHANGED, deployments.DELETED):
        app.on(change)(deployments.on_change)
    rest.mount(app, policy, Identify(settings.token), CatalogFile.from_environment())
    return app.flask
