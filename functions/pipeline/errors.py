"""Errors on the wire of the KFP API: Google's RPC status beside the message that KFP's clients show.

Source: google.rpc.Code and its HTTP mapping; the error body of KFP's API server.
"""

import logging

import orjson
from flask import Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from zeroflow.errors import ZeroflowError, unexpected

logger = logging.getLogger(__name__)

CODES = {
    "InvalidInput": (3, 400),
    "FailedPrecondition": (9, 400),
    "NotFound": (5, 404),
    "Conflict": (6, 409),
    "Forbidden": (7, 403),
    "Unimplemented": (12, 501),
    "Unavailable": (14, 503),
    "Unauthenticated": (16, 401),
}
"""reason -> (google.rpc.Code, HTTP status); any other is INTERNAL."""

_CODE_OF_STATUS = {400: 3, 404: 5, 405: 12, 413: 3, 415: 3, 501: 12}


class NotHere(ZeroflowError):
    """The API has this operation, but what it works on does not exist on this platform."""

    reason = "FailedPrecondition"


def answer(error: ZeroflowError) -> Response:
    """Answer with the status of an error that was raised on purpose."""
    code, status = CODES.get(error.reason, (13, 500))
    return _status(str(error), code, status)


def answer_unexpected(error: Exception) -> Response:
    """Answer with the status of any other error; its details go to the log alone."""
    if isinstance(error, HTTPException):
        status = error.code or 500
        if status == 413:
            limit = (request.max_content_length or 0) >> 20
            return _status(f"the body is larger than {limit} MiB, the most that is taken", 3, status)
        if status in (404, 405):
            return _status(
                f"{request.method} {request.path} is no operation of this API", _CODE_OF_STATUS[status], status
            )
        return _status(error.description or error.name, _CODE_OF_STATUS.get(status, 13), status)
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    return _status(unexpected(error), 13, 500)


def answer_unrouted(error: HTTPException) -> Response:
    """Answer for a request that no operation takes."""
    answered = answer_unexpected(error)
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        answered.headers["Allow"] = ", ".join(error.valid_methods)
    return answered


def _status(message: str, code: int, status: int) -> Response:
    body = orjson.dumps({"error": message, "code": code, "message": message, "details": []})
    return Response(body, status, mimetype="application/json")
