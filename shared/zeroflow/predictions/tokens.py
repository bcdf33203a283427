"""A predictor's own token: it lets one InferenceService's predictors say how they answer, and nothing else.

A predictor runs a model's code, so it never gets the platform's token. This one is derived from it (HMAC-SHA256) for
one namespace and name; whoever holds it can publish `PUBLISHABLE` events under that InferenceService's source - what
the model could do anyway, by answering otherwise. Source: RFC 2104.
"""

import hashlib
import hmac

from zeroflow.predictions.feedback import FEEDBACK
from zeroflow.predictions.observation import OBSERVED, source_prefix
from zeroflow.predictions.outcome import FAILED, LOADED
from zeroflow.predictions.recorded import RECORDED
from zeroflow.predictions.refusal import REFUSED

PUBLISHABLE = frozenset({OBSERVED, RECORDED, FEEDBACK, REFUSED, LOADED, FAILED})


def issue(platform_token: str, namespace: str, inferenceservice: str) -> str:
    """Return the token of an InferenceService's predictors."""
    said = f"zeroflow predictor\n{namespace}\n{inferenceservice}".encode()
    return hmac.new(platform_token.encode(), said, hashlib.sha256).hexdigest()


def allows(platform_token: str, given: str, event_type: str, source: str) -> bool:
    """Say whether a token lets its bearer publish an event of this type and source."""
    parts = source.split("/")
    if event_type not in PUBLISHABLE or not platform_token or len(parts) != 6 or not parts[5]:
        return False
    namespace, name = parts[3], parts[4]
    if not source.startswith(source_prefix(namespace, name)):
        return False
    wanted = issue(platform_token, namespace, name)
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())
