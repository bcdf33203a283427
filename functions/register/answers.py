"""How the registry's API reads bodies and answers: JSON, and errors as {"code": <HTTP status text>, "message": ...}."""

import logging
from http import HTTPStatus
from typing import Any

import orjson
from flask import Response, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from zeroflow.errors import InvalidInput, ZeroflowError, unexpected
from zeroflow.functions.register.bodies import read_object

logger = logging.getLogger(__name__)

PREFIX = "/api/model_registry"
CATALOG = "/api/model_catalog"
CHUNK_BYTES = 256 * 1024
DRAINED_CHUNKS = 256
"""How much of a body that is too large is read before the connection is given up: 64 MiB."""
CONTENT_TYPE = "application/json; charset=UTF-8"

_STATUS = {
    "InvalidInput": HTTPStatus.BAD_REQUEST,
    "MissingField": HTTPStatus.UNPROCESSABLE_ENTITY,
    "Forbidden": HTTPStatus.FORBIDDEN,
    "NotFound": HTTPStatus.NOT_FOUND,
    "Conflict": HTTPStatus.CONFLICT,
    "PreconditionFailed": HTTPStatus.PRECONDITION_FAILED,
    "Unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
}
_CODES = {"MissingField": "Bad Request"}
"""Codes that are not the status's own words, as the reference server has them."""


def body() -> dict[str, Any]:
    """Read the request's body as one JSON object; raise InvalidInput."""
    raw = request.get_data()
    announced = request.content_length
    if announced is not None and len(raw) < announced:  # the server passes on what came before the connection ended
        raise InvalidInput(f"the body ended after {len(raw)} of the {announced} bytes that Content-Length announced")
    return read_object(raw)


def refuse_nul() -> None:
    """Refuse a NUL in the query: no name can have one."""
    for name, value in request.args.items(multi=True):
        if "\0" in name or "\0" in value:
            raise InvalidInput(f"query parameter {name.replace(chr(0), '')[:40]!r} has a NUL character")


def answer_error(error: ZeroflowError) -> Response:
    """Answer what Zeroflow refuses."""
    status = _STATUS.get(error.reason, HTTPStatus.INTERNAL_SERVER_ERROR)
    return error_answer(status, str(error), _CODES.get(error.reason))


def answer_http(error: HTTPException) -> Response | HTTPException:
    """Answer what Flask refuses below the prefix - unknown paths, wrong methods, oversized bodies - as the API does."""
    if not request.path.startswith((PREFIX, CATALOG)):
        return error
    if isinstance(error, RequestEntityTooLarge):
        _drain()
    return error_answer(HTTPStatus(error.code or 500), error.description or error.name)


def answer_unexpected(error: Exception) -> Response:
    """Log what nobody expected, and tell the client nothing of the inside."""
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    return error_answer(HTTPStatus.INTERNAL_SERVER_ERROR, unexpected(error))


def _drain() -> None:
    """Read on to the end of a refused body, so that the connection can be used again; a flood is cut off."""
    stream = request.environ["wsgi.input"]
    for _ in range(DRAINED_CHUNKS):
        if not stream.read(CHUNK_BYTES):
            return


def error_answer(status: HTTPStatus, message: str, code: str | None = None) -> Response:
    """Answer with an error."""
    return as_json({"code": code or status.phrase, "message": message}, status)


def as_json(document: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> Response:
    """Answer with a document."""
    return Response(orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS), status, content_type=CONTENT_TYPE)
