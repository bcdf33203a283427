"""The root of every error that Zeroflow raises on purpose, and what is said of any other.

An error knows a reason (a word that a caller can decide on); only an HTTP edge knows status codes.
"""


class ZeroflowError(Exception):
    """Something that the caller can understand and act on; its message is one line fit for a user."""

    reason = "Error"


class InvalidInput(ZeroflowError):
    """What the caller sent cannot be used; the message names the field, what was expected and what was found."""

    reason = "InvalidInput"


class NotFound(ZeroflowError):
    """No object has this name."""

    reason = "NotFound"


class Conflict(ZeroflowError):
    """The object is in a state that does not allow this, or the name is taken."""

    reason = "Conflict"


class Unauthenticated(ZeroflowError):
    """Nobody says who asks."""

    reason = "Unauthenticated"


class Forbidden(ZeroflowError):
    """The caller may not do this."""

    reason = "Forbidden"


class Unavailable(ZeroflowError):
    """Something that this needs does not answer now; trying again later may succeed."""

    reason = "Unavailable"


def unexpected(error: BaseException) -> str:
    """Say that something failed which nobody expected: the log has it, and the client learns nothing of the inside."""
    return f"internal error ({type(error).__name__}); the log has the details"
