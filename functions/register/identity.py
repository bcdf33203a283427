"""Who sends a request: whom the host has authenticated, the owner of a token that the policy names, whom the trusted
proxy names, or nobody known.

A name in `kubeflow-userid` that no policy trusts is written down as a claim, since it helps to find things, and counts
for nothing.
"""

import hmac
from collections.abc import Callable

from zeroflow import callers
from zeroflow.functions.register.policy import Policy
from zeroflow.metadata.audit import Origin

CLAIM = "kubeflow-userid"
ANONYMOUS = "anonymous"
MAX_NAME = 255


class Identify:
    """Names the sender of a request; `platform_token` is the one that the platform's own functions have."""

    def __init__(self, platform_token: str | None) -> None:
        self._platform_token = platform_token

    def __call__(self, header: Callable[[str], str | None], address: str | None, policy: Policy) -> Origin:
        """Return where a request comes from; `header` gives one by name."""
        scheme, _, token = (header("Authorization") or "").partition(" ")
        if scheme.lower() == "bearer" and token:
            if name := policy.name_of(token):
                return Origin(f"user:{name}", True, address)
            if self._platform_token and hmac.compare_digest(token.encode(), self._platform_token.encode()):
                return Origin("platform", True, address)
        if caller := callers.proven(self._platform_token, header):
            return Origin(f"user:{caller.name[:MAX_NAME]}", True, address)
        if policy.trusted_header and (name := header(policy.trusted_header)):
            return Origin(f"user:{name[:MAX_NAME]}", True, address)
        claimed = header(CLAIM)
        return Origin(f"user:{claimed[:MAX_NAME]}" if claimed else ANONYMOUS, False, address)
