"""True labels that become known after a prediction: the event that carries them to whoever keeps them.

The event: type `dev.zeroflow.feedback.given`, source as an observation's, subject the request's id - the `id` that the
payload log's events have, which the predictor also answers with as `x-request-id`. Its id is derived from request and
labels: the same labels sent again are the same event, corrected labels are another one.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from zeroflow.errors import InvalidInput

FEEDBACK = "dev.zeroflow.feedback.given"
MAX_ID_CHARS = 256


@dataclass(frozen=True)
class Feedback:
    """The labels of one request, one for each of its rows, in order."""

    request_id: str
    labels: tuple[Any, ...]
    inferenceservice: str
    namespace: str
    revision: str | None = None
    """The revision that answered, where the caller says so: the answer's `zeroflow-revision`."""
    predictions: tuple[Any, ...] | None = None
    """What was answered, where the caller says so, one for each label."""
    caller: str = ""
    """Who gives them, as the platform authenticated them; "" where it does not know."""

    @property
    def event_id(self) -> str:
        """The event's id."""
        said = json.dumps([self.request_id, self.labels, self.revision, self.predictions], sort_keys=True)
        return f"feedback.{hashlib.sha256(said.encode()).hexdigest()[:32]}"

    def to_data(self) -> dict[str, Any]:
        """Return the event's data."""
        return {
            "request_id": self.request_id,
            "labels": list(self.labels),
            "inferenceservice": self.inferenceservice,
            "namespace": self.namespace,
            "revision": self.revision,
            "predictions": None if self.predictions is None else list(self.predictions),
            "caller": self.caller,
        }

    @classmethod
    def from_data(cls, data: Any) -> "Feedback":
        """Read an event's data; raise InvalidInput naming the field that is wrong."""
        said = read(data)
        names = {name: data.get(name) for name in ("inferenceservice", "namespace")}
        for name, value in names.items():
            if not isinstance(value, str) or not value:
                raise InvalidInput(f"{name} must be a string, got {str(value)[:40]}")
        caller = data.get("caller") or ""
        if not isinstance(caller, str):
            raise InvalidInput(f"caller must be a string, got {str(caller)[:40]}")
        return cls(
            inferenceservice=str(names["inferenceservice"]), namespace=str(names["namespace"]), caller=caller, **said
        )


class Said(TypedDict):
    """What a caller says."""

    request_id: str
    labels: tuple[Any, ...]
    revision: str | None
    predictions: tuple[Any, ...] | None


def read(body: Any) -> Said:
    """Read what a client or an event says; raise InvalidInput naming the field that is wrong."""
    if not isinstance(body, Mapping):
        raise InvalidInput('feedback must be a JSON object: {"request_id": ID, "labels": [...]}')
    request_id = body.get("request_id")
    if not isinstance(request_id, str) or not request_id or len(request_id) > MAX_ID_CHARS:
        raise InvalidInput("request_id must be the id of the request: its x-request-id or Ce-Id")
    labels = body.get("labels")
    if not isinstance(labels, list) or not labels:
        raise InvalidInput("labels must be a list with the true answer of each row of the request, in order")
    for at, label in enumerate(labels):
        if label is None or isinstance(label, dict):
            raise InvalidInput(f"labels[{at}] must be a number, a string, true or false, or a list of them")
    revision = body.get("revision")
    if revision is not None and not isinstance(revision, str):
        raise InvalidInput("revision must be the zeroflow-revision of the answer")
    predictions = body.get("predictions")
    if predictions is not None and (not isinstance(predictions, list) or len(predictions) != len(labels)):
        raise InvalidInput(f"predictions must be a list of {len(labels)}, one for each label")
    return Said(
        request_id=request_id,
        labels=tuple(labels),
        revision=revision,
        predictions=None if predictions is None else tuple(predictions),
    )
