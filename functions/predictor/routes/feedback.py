"""`POST /v1/feedback`: true labels for a request that was answered before, by its id; they go to the broker at once.

The predictor keeps nothing: 202 means that the broker has the event (zeroflow.predictions.feedback).
"""

import time

import orjson
from flask import Flask, Response, request

from zeroflow.functions.predictor.errors import ModelNotReady, NotImplementedHere
from zeroflow.functions.predictor.predictor import Predictor
from zeroflow.functions.predictor.protocols.documents import parsed
from zeroflow.functions.predictor.routes.edge import body, json_answer
from zeroflow.functions.predictor.telling.sending import Sender, rfc3339
from zeroflow.functions.predictor.telling.witness import CALLER
from zeroflow.predictions import feedback
from zeroflow.predictions.observation import source_prefix


def add(app: Flask, predictor: Predictor) -> None:
    """Add the route."""
    settings = predictor.settings
    sender = Sender(settings.observed.sink, settings.observed.token) if settings.observed else None

    @app.post("/v1/feedback")
    def give() -> Response:
        if sender is None:
            raise NotImplementedHere("feedback needs a broker: ZEROFLOW_OBSERVED is not set for this predictor")
        own = settings.identity
        said = feedback.read(parsed(body(settings.max_body_bytes)))
        given = feedback.Feedback(
            inferenceservice=own.inferenceservice,
            namespace=own.namespace,
            caller=request.environ.get(CALLER, ""),
            **said,
        )
        attributes = {
            "specversion": "1.0",
            "id": given.event_id,
            "type": feedback.FEEDBACK,
            "source": f"{source_prefix(own.namespace, own.inferenceservice)}{own.pod}",
            "subject": given.request_id,
            "time": rfc3339(time.time()),
        }
        if not sender.post(attributes, "application/json", orjson.dumps(given.to_data())):
            raise ModelNotReady("the broker does not take the feedback now; send it again")
        return json_answer({"id": given.event_id}, 202)
