"""Why a step did not run to its end, as a word for programs and a line for people."""

from zeroflow.errors import InvalidInput, ZeroflowError


class Unsupported(ZeroflowError):
    """The task asks for something that this function does not run."""

    reason = "Unsupported"


class MissingOutput(ZeroflowError):
    """The step ended without writing an output that its component declares."""

    reason = "MissingOutput"


class InvalidOutput(InvalidInput):
    """The step wrote an output that cannot be stored, or one of another type than its component declares."""

    reason = "InvalidOutput"


class PackagesNotInstalled(ZeroflowError):
    """The component's packages_to_install could not be installed."""

    reason = "PackagesNotInstalled"


class TimedOut(ZeroflowError):
    """The step ran longer than it may."""

    reason = "TimedOut"


class OutOfMemory(ZeroflowError):
    """The step's processes took more memory than they may."""

    reason = "OutOfMemory"


class TooLongForRequest(Exception):
    """The step does not end within a request, and nobody has said that it must."""


class Canceled(ZeroflowError):
    """The task was canceled before the step ended."""

    reason = "Canceled"


class Interrupted(ZeroflowError):
    """The step was ended from outside before its code was, so nothing is known of its outcome; deliver again."""

    reason = "Unavailable"
