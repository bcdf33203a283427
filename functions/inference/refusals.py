"""A record of every InferenceService and TrainedModel that was refused: an event with the reason, once for each state
of the spec."""

import hashlib
from typing import Any

from zeroflow.events.outbox import Outbox
from zeroflow.functions.inference.modelspec import model_place
from zeroflow.functions.inference.refusal import Refused
from zeroflow.predictions import refusal

UNSAFE = {"PickleNotVouched": "PickleNotVouched", "NotApproved": "ModelNotApproved", "UntrustedTypes": "UntrustedTypes"}
"""Refusals that are about safety, and what a predictor calls them."""
REFUSED = "dev.zeroflow.inferenceservice.refused"
TRAINED_REFUSED = "dev.zeroflow.trainedmodel.refused"

Object = dict[str, Any]


class Refusals:
    """Tells of refusals."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def note(self, isvc: Object, refused: Refused) -> None:
        """Emit the event of an InferenceService; the same refusal of the same spec is the same event."""
        name = isvc["metadata"]["name"]
        model = (isvc["spec"].get("predictor") or {}).get(model_place(isvc)) or {}
        self._note(REFUSED, isvc, refused, {"inferenceservice": name}, name, model.get("storageUri"))

    def note_trained(self, obj: Object, refused: Refused) -> None:
        """Emit the event of a TrainedModel likewise."""
        name = obj["metadata"]["name"]
        of = {"inferenceservice": obj["spec"]["inferenceService"], "trainedmodel": name}
        self._note(TRAINED_REFUSED, obj, refused, of, name, obj["spec"]["model"].get("storageUri"))

    def _note(
        self, event_type: str, obj: Object, refused: Refused, of: dict[str, str], model: str, uri: str | None
    ) -> None:
        metadata, reason = obj["metadata"], refused.condition_reason
        said = hashlib.sha256(f"{reason}\n{refused}".encode()).hexdigest()[:16]
        event_id = f"{metadata['uid']}.{metadata.get('generation', 0)}.{said}"
        of = {"namespace": metadata["namespace"], **of}
        with self._outbox.transaction() as tx:
            if reason in UNSAFE:  # what a predictor would say, had the model reached one
                tx.emit(
                    refusal.REFUSED,
                    subject=f"{metadata['namespace']}/{of['inferenceservice']}",
                    event_id=f"{event_id}.unsafe",
                    data={
                        "inferenceservice": of["inferenceservice"],
                        "namespace": metadata["namespace"],
                        "revision": None,
                        "model": model,
                        "uri": uri,
                        "reason": UNSAFE[reason],
                        "message": str(refused),
                    },
                )
            tx.emit(
                event_type,
                subject=f"{metadata['namespace']}/{metadata['name']}",
                event_id=event_id,
                data={**of, "reason": reason, "message": str(refused)},
            )
