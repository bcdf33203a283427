"""W3C trace context (Level 1, section 3.2) carried from an event to the events that follow from it.

Between processes it travels as the CloudEvents extension `traceparent` (Distributed Tracing extension 1.0.2) and as the
HTTP header of the same name.
"""

import re
import secrets

_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$")


def continued(traceparent: str | None) -> str:
    """Return a new span of the trace that `traceparent` names, or of a new trace when it is absent or malformed."""
    if traceparent and _TRACEPARENT.match(traceparent):
        version, trace, _span, flags = traceparent.split("-")
        return f"{version}-{trace}-{secrets.token_hex(8)}-{flags}"
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
