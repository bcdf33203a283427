"""Why the resource API refuses something, in Kubernetes' vocabulary of reasons.

One class per decision that a caller can make; `status.py` alone turns them into metav1.Status bodies and HTTP codes.
Source: k8s.io/apimachinery StatusReason names and the messages kubectl users know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zeroflow.errors import ZeroflowError


@dataclass(frozen=True, slots=True)
class Cause:
    """One field that is wrong: `metadata.name`, why, and a machine word such as FieldValueInvalid."""

    field: str
    message: str
    reason: str = "FieldValueInvalid"


class ApiError(ZeroflowError):
    """The root of what the resource API refuses; `details` is the Status' details object."""

    reason = "InternalError"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.details: dict[str, Any] = {key: value for key, value in details.items() if value}


class NotFound(ApiError):
    """No such object, kind or path."""

    reason = "NotFound"

    @classmethod
    def named(cls, resource: str, name: str) -> NotFound:
        """`resource` is `plural.group` (or `plural` for the core group)."""
        plural, _, group = resource.partition(".")
        return cls(f'{resource} "{name}" not found', name=name, group=group, kind=plural)


class AlreadyExists(ApiError):
    """The name is taken."""

    reason = "AlreadyExists"

    @classmethod
    def named(cls, resource: str, name: str) -> AlreadyExists:
        plural, _, group = resource.partition(".")
        return cls(f'{resource} "{name}" already exists', name=name, group=group, kind=plural)


class Conflict(ApiError):
    """The object changed since it was read, or another manager owns the field."""

    reason = "Conflict"

    @classmethod
    def stale(cls, resource: str, name: str) -> Conflict:
        plural, _, group = resource.partition(".")
        return cls(
            f'Operation cannot be fulfilled on {resource} "{name}": the object has been modified; '
            "please apply your changes to the latest version and try again",
            name=name,
            group=group,
            kind=plural,
        )


class Invalid(ApiError):
    """The object was understood but its values cannot be accepted. A hook raises `Invalid("spec.x: why")`."""

    reason = "Invalid"

    def __init__(self, message: str, causes: tuple[Cause, ...] = (), **details: Any) -> None:
        super().__init__(message, **details)
        self.causes = causes

    @classmethod
    def fields(cls, kind: str, group: str, name: str, *causes: Cause) -> Invalid:
        """Build Kubernetes' `Kind.group "name" is invalid: field: message` from its causes."""
        said = [f"{cause.field}: {cause.message}" for cause in causes]
        text = said[0] if len(said) == 1 else f"[{', '.join(said)}]"
        title = f"{kind}.{group}" if group else kind
        return cls(f'{title} "{name}" is invalid: {text}', tuple(causes), name=name, group=group, kind=kind)


class BadRequest(ApiError):
    """The request itself cannot be read."""

    reason = "BadRequest"


class Forbidden(ApiError):
    """Understood and refused, whoever asks."""

    reason = "Forbidden"


class Unauthorized(ApiError):
    """The caller did not say who they are."""

    reason = "Unauthorized"


class MethodNotAllowed(ApiError):
    """This path exists but not with this verb."""

    reason = "MethodNotAllowed"


class NotAcceptable(ApiError):
    """The client accepts no representation that exists here."""

    reason = "NotAcceptable"


class UnsupportedMediaType(ApiError):
    """The body has a content type that this verb does not take."""

    reason = "UnsupportedMediaType"


class TooLarge(ApiError):
    """The body is larger than the limit."""

    reason = "RequestEntityTooLarge"


class Expired(ApiError):
    """The resourceVersion or continue token is older than what is kept: list again."""

    reason = "Expired"


class StorageFailed(ApiError):
    """The change could not be made durable; nothing of it was kept."""

    reason = "ServiceUnavailable"


class NewerSchema(ZeroflowError):
    """The database was written by a newer Zeroflow; opening it would lose what this version does not know."""

    reason = "NewerSchema"
