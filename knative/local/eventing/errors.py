"""Why eventing refuses something. The HTTP edge (`ingress`, `jobsink`) alone turns these into status codes."""

from __future__ import annotations

from zeroflow.errors import ZeroflowError


class InvalidEvent(ZeroflowError):
    """The bytes are not a CloudEvent 1.0; `attribute` names the one at fault, None: the message as a whole."""

    reason = "InvalidEvent"

    def __init__(self, attribute: str | None, problem: str) -> None:
        super().__init__(f"{attribute}: {problem}" if attribute else problem)
        self.attribute = attribute


class BrokerNotFound(ZeroflowError):
    """No Broker of this host has the name."""

    reason = "BrokerNotFound"

    def __init__(self, namespace: str, name: str) -> None:
        super().__init__(f"no broker {name!r} in namespace {namespace!r}: create it with kubectl, or check K_SINK")


class JobSinkNotFound(ZeroflowError):
    """No JobSink has the name."""

    reason = "JobSinkNotFound"

    def __init__(self, namespace: str, name: str) -> None:
        super().__init__(f"no job sink {name!r} in namespace {namespace!r}")


class ChannelNotFound(ZeroflowError):
    """No channel of this host has the name."""

    reason = "ChannelNotFound"

    def __init__(self, namespace: str, name: str) -> None:
        super().__init__(f"no channel {name!r} in namespace {namespace!r}: create it with kubectl, or check K_SINK")


class TransformNotFound(ZeroflowError):
    """No EventTransform has the name."""

    reason = "EventTransformNotFound"

    def __init__(self, namespace: str, name: str) -> None:
        super().__init__(f"no event transform {name!r} in namespace {namespace!r}")


class RequestReplyNotFound(ZeroflowError):
    """No RequestReply has the name."""

    reason = "RequestReplyNotFound"

    def __init__(self, namespace: str, name: str) -> None:
        super().__init__(f"no request reply {name!r} in namespace {namespace!r}")


class EventForbidden(ZeroflowError):
    """Only the platform may publish this type."""

    reason = "Forbidden"

    def __init__(self, event_type: str) -> None:
        super().__init__(
            f"events of type {event_type!r} are published by the platform only: send its token "
            "(Authorization: Bearer ...) or use a type outside dev.zeroflow."
        )


class EventExpired(ZeroflowError):
    """The event passed through brokers until its hop count ran out: most likely a loop of replies."""

    reason = "EventExpired"

    def __init__(self) -> None:
        super().__init__("knativebrokerttl: no hops left; the event goes in circles between broker and subscribers")


class Unresolved(ZeroflowError):
    """A destination (subscriber, sink, dead-letter sink) does not lead anywhere yet."""

    reason = "Unresolved"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.why = reason


class NoAnswer(ZeroflowError):
    """The receiver could not be reached or did not answer in time."""

    reason = "NoAnswer"


class InvalidSpec(ZeroflowError):
    """A resource's spec cannot be accepted; `field` is its path as `kubectl explain` spells it."""

    reason = "Invalid"

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field, self.problem = field, problem


class NewerLog(ZeroflowError):
    """The event log was written by a newer Zeroflow."""

    reason = "NewerSchema"


class LogClosed(ZeroflowError):
    """The event log takes nothing more: the host is stopping."""

    reason = "Unavailable"
