"""The KFP v2beta1 REST API: its blueprint, and how requests are read and answered.

Source: the swagger of KFP's API server, v2beta1; `/runs/{id}/tasks`, `/artifacts/...` are ours, where it has nothing.
"""

from dataclasses import dataclass
from typing import Any

import orjson
from flask import Blueprint, Response, request

from zeroflow.artifacts import Stores
from zeroflow.errors import InvalidInput, NotFound, ZeroflowError
from zeroflow.events import FunctionApp
from zeroflow.functions.pipeline import errors
from zeroflow.functions.pipeline.engine import Engine

PREFIX = "/apis/v2beta1"


@dataclass(frozen=True)
class Context:
    """What the routes work with."""

    app: FunctionApp
    engine: Engine
    stores: Stores


def blueprint(context: Context) -> Blueprint:
    """Build the routes of the API."""
    from zeroflow.functions.pipeline import api_catalog, api_own, api_recurring, api_runs

    routes = Blueprint("kfp", __name__, url_prefix=PREFIX)
    routes.register_error_handler(ZeroflowError, errors.answer)
    routes.register_error_handler(Exception, errors.answer_unexpected)
    routes.get("/healthz")(lambda: answer({"multi_user": False, "pipeline_store": "database"}))
    api_catalog.register(routes, context)
    api_runs.register(routes, context)
    api_recurring.register(routes, context)
    api_own.register(routes, context)

    @routes.route("/<path:rest>", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    def unknown(rest: str) -> Response:
        raise NotFound(f"{request.method} {PREFIX}/{rest} is no operation of this API")

    return routes


def answer(body: Any) -> Response:
    """Answer with JSON."""
    return Response(orjson.dumps(body), mimetype="application/json")


def body_of_request() -> dict[str, Any]:
    """Return the JSON object in the request; raise InvalidInput when it is something else."""
    try:
        body = orjson.loads(request.get_data())
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise InvalidInput(f"the body must be a JSON object, found {type(body).__name__}")
    return body
