"""Whether the process is up, and /metrics."""

from flask import Flask, Response

from zeroflow.functions.predictor.predictor import Predictor
from zeroflow.functions.predictor.routes.edge import json_answer


def add(app: Flask, predictor: Predictor) -> None:
    """Add the routes."""

    @app.get("/metrics")
    def exposition() -> Response:
        text, content_type = predictor.metrics.exposition()
        return Response(text, content_type=content_type)

    for path in ("/health/liveness", "/health/readiness"):
        app.add_url_rule(path, path, lambda: Response("OK", mimetype="text/plain"))
    app.add_url_rule("/", "alive", lambda: json_answer({"status": "alive"}))
