"""ETag, If-Match and If-None-Match: a change made for an older state is refused, not written over the newer one.

The contract has no precondition and official clients send none: without the header everything is as before. Every write
of an entity takes a later time than all before it, so id and time name a state. Source: RFC 9110, sections 8.8 and 13.
"""

from http import HTTPStatus

from flask import Response, request

from zeroflow.functions.register.documents import Row
from zeroflow.functions.register.errors import PreconditionFailed
from zeroflow.functions.register.reading import Shown


def tagged(response: Response, row: Row | Shown) -> Response:
    """Say which state of an entity an answer shows."""
    response.headers["ETag"] = tag(row)
    return response


def tag(row: Row | Shown) -> str:
    """Return the ETag of an entity's state."""
    return f'"{row.kind}-{row.id}-{row.updated_ms}"'


def check(row: Row | Shown) -> None:
    """Raise PreconditionFailed when the request was made for another state of the entity than this."""
    given = request.headers.get("If-Match")
    if given is not None and not _names(given, row):
        raise PreconditionFailed(
            f"{row.name!r} was changed meanwhile: If-Match names {given[:100]}, its ETag is {tag(row)}; "
            "read it again and decide anew"
        )


def is_known(row: Row | Shown) -> bool:
    """Say whether a GET already has this state."""
    given = request.headers.get("If-None-Match")
    return request.method in ("GET", "HEAD") and given is not None and _names(given, row, weak=True)


def unchanged(row: Row | Shown) -> Response:
    """Answer that the client has this state."""
    return tagged(Response(status=HTTPStatus.NOT_MODIFIED), row)


def _names(given: str, row: Row | Shown, *, weak: bool = False) -> bool:
    if given.strip() == "*":
        return True
    tags = [one.strip() for one in given.split(",")]
    return tag(row) in ([one.removeprefix("W/") for one in tags] if weak else tags)
