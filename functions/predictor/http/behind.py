"""Behind the fast path: every route of the protocols, by Flask."""

from flask import Flask

from zeroflow.functions.predictor.predictor import Predictor
from zeroflow.functions.predictor.routes import edge, feedback, health, openai, v1, v2


def application(predictor: Predictor) -> Flask:
    """Return the application that answers whatever is asked of a predictor."""
    app = Flask("zeroflow.functions.predictor", static_folder=None)
    app.url_map.strict_slashes = False  # the protocol's own description asks for /v2/
    edge.install(app, predictor)
    for routes in (health, v1, v2, openai, feedback):
        routes.add(app, predictor)
    return app
