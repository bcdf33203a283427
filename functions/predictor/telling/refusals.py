"""A model that is refused for safety is an event: `dev.zeroflow.model.refused`, for whoever looks after security.

Refused for safety is what nobody vouches for, what is not what was approved, and what holds types or programs that are
not trusted. Nothing of such a model has been run.
"""

import time

import orjson

from zeroflow.errors import ZeroflowError
from zeroflow.functions.predictor.settings import PredictorSettings
from zeroflow.functions.predictor.telling.sending import Sender, rfc3339
from zeroflow.predictions.observation import source_prefix
from zeroflow.predictions.refusal import REASONS, REFUSED


def tell(settings: PredictorSettings, name: str, uri: str, error: ZeroflowError) -> None:
    """Publish the event, where there is a broker and the error is one of safety; wait a few seconds at most."""
    if settings.observed is None or error.reason not in REASONS:
        return
    own = settings.identity
    attributes = {
        "specversion": "1.0",
        "id": f"{own.pod}.{name}.refused",
        "type": REFUSED,
        "source": f"{source_prefix(own.namespace, own.inferenceservice)}{own.pod}",
        "subject": f"{own.namespace}/{own.inferenceservice}",
        "time": rfc3339(time.time()),
    }
    data = {
        "inferenceservice": own.inferenceservice,
        "namespace": own.namespace,
        "revision": own.revision,
        "model": name,
        "uri": uri,
        "reason": error.reason,
        "message": str(error),
    }
    Sender(settings.observed.sink, settings.observed.token).post(attributes, "application/json", orjson.dumps(data))
