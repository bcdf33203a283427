"""The router's HTTP edge: POST to any path goes through the graph that GRAPH describes.

What the graph itself cannot do is answered `{"error": "Failed to process request", "cause": ...}`, as KServe's router
does; a step's own answer, whatever its status, is passed on. Headers that fit PROPAGATE_HEADERS go to every step.

Served by `gunicorn zeroflow.functions.router.handler:create_app()`, which listens on PORT.
"""

import json
import logging
import os
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import urllib3
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from zeroflow.errors import InvalidInput, unexpected
from zeroflow.functions.router.graph import Answer, Failed, Graph

logger = logging.getLogger(__name__)

CONNECTIONS = 64
ALWAYS_PASSED = ("traceparent", "tracestate", "x-request-id")
MAX_BODY_BYTES = 64 << 20


class Services:
    """Calls the services of a graph over kept connections."""

    def __init__(self, timeout_s: float, passed: re.Pattern[str]) -> None:
        self._passed = passed
        timeout = urllib3.Timeout(connect=10.0, read=timeout_s)
        self._pool = urllib3.PoolManager(maxsize=CONNECTIONS, retries=False, timeout=timeout)

    def headers(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return those of a caller's headers that go on to the steps."""
        kept = {name: value for name, value in given.items() if self._passed.fullmatch(name)}
        return {"Content-Type": given.get("Content-Type") or "application/json", **kept}

    def call(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """POST to a step's service; raise Failed when it does not answer."""
        try:
            answer = self._pool.request("POST", url, body=body, headers=headers, redirect=False)
        except urllib3.exceptions.HTTPError as error:
            logger.warning("step %s does not answer: %s", url, error)
            raise Failed(500, f"{url} does not answer: {type(error).__name__}") from error
        return Answer(answer.status, answer.data)


def create_app(environment: Mapping[str, str] | None = None) -> Flask:
    """Return the WSGI application of one graph; a GRAPH that cannot be read raises InvalidInput."""
    env = os.environ if environment is None else environment
    graph = Graph(_nodes(env), ThreadPoolExecutor(CONNECTIONS, "step"))
    services = Services(float(env.get("SERVICE_TIMEOUT_S") or 60), _pattern(env.get("PROPAGATE_HEADERS", "")))
    app = Flask("zeroflow.functions.router", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES

    @app.post("/")
    @app.post("/<path:_path>")
    def route(_path: str = "") -> Response:
        headers = services.headers(dict(request.headers))
        answer = graph.answer(request.get_data(), lambda url, body: services.call(url, body, headers))
        return Response(answer.body, answer.status, content_type=_content_type(answer.body))

    app.add_url_rule("/readyz", "ready", lambda: Response("OK", mimetype="text/plain"))
    for path in ("/health/liveness", "/health/readiness"):
        app.add_url_rule(path, path, lambda: Response("OK", mimetype="text/plain"))
    app.register_error_handler(Failed, lambda error: _fault(str(error), error.status))
    app.register_error_handler(HTTPException, lambda error: _fault(f"{error.name}", error.code or 500))
    app.register_error_handler(Exception, _unexpected)
    return app


def _nodes(env: Mapping[str, str]) -> dict[str, Any]:
    try:
        nodes = json.loads(env.get("GRAPH") or "")
    except ValueError as error:
        raise InvalidInput("GRAPH must be the JSON of an InferenceGraph's nodes") from error
    if not isinstance(nodes, dict) or "root" not in nodes:
        raise InvalidInput("GRAPH must be the JSON of an InferenceGraph's nodes, one of them named root")
    return nodes


def _pattern(text: str) -> re.Pattern[str]:
    wanted = "|".join((*ALWAYS_PASSED, *(part.strip() for part in text.split(",") if part.strip())))
    try:
        return re.compile(wanted, re.IGNORECASE)
    except re.error as error:
        raise InvalidInput(f"PROPAGATE_HEADERS must be regular expressions by commas, got {text!r}") from error


def _content_type(body: bytes) -> str:
    try:
        json.loads(body)
    except ValueError:
        return "text/plain; charset=utf-8"
    return "application/json"


def _fault(cause: str, status: int) -> Response:
    body = json.dumps({"error": "Failed to process request", "cause": cause})
    return Response(body, status, mimetype="application/json")


def _unexpected(error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    return _fault(unexpected(error), 500)
