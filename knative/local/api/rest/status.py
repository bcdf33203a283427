"""Errors and successes as metav1.Status, and which HTTP code each reason has. Source: k8s.io/apimachinery,
StatusReason.
"""

from __future__ import annotations

from typing import Any, Final

from zeroflow.errors import ZeroflowError
from zeroflow.knative.local.api.errors import ApiError, Invalid
from zeroflow.knative.local.api.kinds import Kind
from zeroflow.knative.local.api.objects import Object

CODES: Final = {
    "BadRequest": 400,
    "Unauthorized": 401,
    "Forbidden": 403,
    "NotFound": 404,
    "MethodNotAllowed": 405,
    "NotAcceptable": 406,
    "AlreadyExists": 409,
    "Conflict": 409,
    "Expired": 410,
    "RequestEntityTooLarge": 413,
    "UnsupportedMediaType": 415,
    "Invalid": 422,
    "InternalError": 500,
    "ServiceUnavailable": 503,
}
# What admission hooks of other rooms raise, in this API's reasons.
SAME_REASON: Final = {"InvalidInput": "Invalid", "Unavailable": "ServiceUnavailable"}


def failure(error: ZeroflowError) -> Object:
    """Return the Status of an error."""
    reason = SAME_REASON.get(error.reason, error.reason)
    body = _status("Failure", str(error))
    body |= {"reason": reason, "code": CODES.get(reason, 500)}
    details: dict[str, Any] = dict(error.details) if isinstance(error, ApiError) else {}
    if isinstance(error, Invalid) and error.causes:
        details["causes"] = [{"reason": c.reason, "message": c.message, "field": c.field} for c in error.causes]
    if details or reason == "NotFound":  # kubectl looks into those of a NotFound without asking
        body["details"] = details
    return body


def crashed() -> Object:
    """Return the Status of a fault of ours; the log has the reason."""
    body = _status("Failure", "Internal error occurred: the host's log says why")
    return body | {"reason": "InternalError", "code": 500}


def deleted(kind: Kind, name: str, uid: str) -> Object:
    """Return the Status of a deletion that is complete."""
    details = {"name": name, "kind": kind.plural, "uid": uid} | ({"group": kind.group} if kind.group else {})
    return _status("Success") | {"details": details}


def _status(outcome: str, message: str = "") -> Object:
    body: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": outcome}
    return body | ({"message": message} if message else {})
