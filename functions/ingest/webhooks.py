"""Webhooks: a POST from another system becomes `dev.zeroflow.webhook.received`.

A hook with a secret (Secret `webhooks`, key = the hook's name; given to this function as WEBHOOK_SECRET_<NAME>) accepts
only bodies that carry their HMAC-SHA256 in X-Hub-Signature-256, as GitHub signs them. GitHub's delivery id makes a
repeated delivery the same event. Header names are given in lower case.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any

from zeroflow.errors import Forbidden, InvalidInput

NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
SECRET_PREFIX = "WEBHOOK_SECRET_"  # noqa: S105 - the name of a variable, not a secret


def verify(name: str, body: bytes, headers: Mapping[str, str], environment: Mapping[str, str]) -> None:
    """Raise InvalidInput for a malformed name, Forbidden for a body that the hook's secret did not sign."""
    if not NAME.match(name):
        raise InvalidInput(f"webhook name {name!r} must be lower-case letters, digits and '-'")
    secret = environment.get(SECRET_PREFIX + name.upper().replace("-", "_"))
    if secret is None:
        return
    expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, headers.get("x-hub-signature-256", "")):
        raise Forbidden(f"webhook {name}: X-Hub-Signature-256 does not match the body and this hook's secret")


def event_data(name: str, body: Any, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return the event's data: the hook, what kind of delivery the sender calls it, and the body."""
    return {"webhook": name, "kind": headers.get("x-github-event"), "body": body}


def delivery_id(name: str, headers: Mapping[str, str]) -> str | None:
    """Return a stable id when the sender gives one, else None."""
    sent = headers.get("x-github-delivery") or headers.get("x-request-id") or headers.get("idempotency-key")
    return f"{name}.{sent}" if sent else None
