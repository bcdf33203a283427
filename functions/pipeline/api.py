"""The KFP v2beta1 REST API: its blueprint, and how requests are read and answered.

Source: the swagger of KFP's API server, v2beta1; `/runs/{id}/tasks`, `/artifacts/...` are ours, where it has nothing.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from flask import Blueprint, Response, request
from sqlalchemy import Select
from sqlalchemy.orm import Session
from werkzeug.exceptions import HTTPException

from zeroflow.artifacts import Stores
from zeroflow.errors import InvalidInput, ZeroflowError
from zeroflow.events import FunctionApp
from zeroflow.functions.pipeline import catalog, errors
from zeroflow.functions.pipeline.engine import Engine
from zeroflow.functions.pipeline.fields import check_depth, snake_names
from zeroflow.functions.pipeline.listing import Columns, Page, page_of
from zeroflow.metadata.pipelines import RecurringRun, Run

if TYPE_CHECKING:
    from zeroflow.functions.pipeline.access import Access

PREFIX = "/apis/v2beta1"


@dataclass(frozen=True)
class Context:
    """What the routes work with."""

    app: FunctionApp
    engine: Engine
    stores: Stores
    access: "Access"
    trusted_hosts: Collection[str] = ()
    """Hosts in private networks, as `host:port`, from which a pipeline package may be fetched."""


def blueprint(context: Context) -> Blueprint:
    """Build the routes of the API."""
    from zeroflow.functions.pipeline import (
        api_artifacts,
        api_catalog,
        api_history,
        api_others,
        api_recurring,
        api_runs,
        api_tasks,
    )

    routes = Blueprint("kfp", __name__, url_prefix=PREFIX)
    routes.before_request(context.access.check)
    routes.register_error_handler(ZeroflowError, errors.answer)
    routes.register_error_handler(Exception, errors.answer_unexpected)
    routes.record(lambda state: state.app.register_error_handler(HTTPException, _answer_unrouted))
    for part in (api_catalog, api_runs, api_recurring, api_tasks, api_artifacts, api_history, api_others):
        part.register(routes, context)
    return routes


def answer(body: Any) -> Response:
    """Answer with JSON."""
    return Response(orjson.dumps(body), mimetype="application/json")


def list_of(
    context: Context, base: Select[Any], columns: Columns, name: str, write: Callable[[Session, Any], dict[str, Any]]
) -> Response:
    """Answer with the page of a list that the request asks for, its rows as `write` writes them."""
    with context.app.database.reading() as session:
        rows, total, token = page_of(session, base, columns, Page.of(request.args))
        return answer({name: [write(session, row) for row in rows], "total_size": total, "next_page_token": token})


def in_scope(base: Select[Any], table: type[Run] | type[RecurringRun]) -> Select[Any]:
    """Narrow a list to the experiment that the request names, or else to its namespace."""
    if experiment_id := request.args.get("experiment_id"):
        return base.where(table.experiment_id == experiment_id)
    return base.where(table.namespace == catalog.namespace_of(request.args.get("namespace")))


def body_of_request() -> dict[str, Any]:
    """Return the JSON object in the request, its fields named in snake_case; raise InvalidInput for anything else."""
    try:
        body = orjson.loads(request.get_data())
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise InvalidInput(f"the body must be a JSON object, found {type(body).__name__}")
    check_depth(body, "the body")
    return snake_names(body)


def _answer_unrouted(error: HTTPException) -> Response | HTTPException:
    """Answer for what no route takes: in the API's own words below its prefix."""
    return errors.answer_unrouted(error) if request.path.startswith(PREFIX) else error
