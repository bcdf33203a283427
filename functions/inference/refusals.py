"""A record of every InferenceService that was refused: an event with the reason, once for each state of the spec."""

import hashlib
from typing import Any

from zeroflow.events.outbox import Outbox, Transaction
from zeroflow.functions.inference.modelspec import model_place
from zeroflow.functions.inference.refusal import Refused
from zeroflow.predictions import refusal

UNSAFE = {"PickleNotVouched": "PickleNotVouched", "NotApproved": "ModelNotApproved", "UntrustedTypes": "UntrustedTypes"}
"""Refusals that are about safety, and what a predictor calls them."""
REFUSED = "dev.zeroflow.inferenceservice.refused"


class Refusals:
    """Tells of refusals."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def note(self, isvc: dict[str, Any], refused: Refused) -> None:
        """Emit the event; the same refusal of the same spec is the same event."""
        metadata = isvc["metadata"]
        said = hashlib.sha256(f"{refused.condition_reason}\n{refused}".encode()).hexdigest()[:16]
        with self._outbox.transaction() as tx:
            if refused.condition_reason in UNSAFE:
                self._note_unsafe(tx, isvc, refused, said)
            tx.emit(
                REFUSED,
                subject=f"{metadata['namespace']}/{metadata['name']}",
                event_id=f"{metadata['uid']}.{metadata.get('generation', 0)}.{said}",
                data={
                    "namespace": metadata["namespace"],
                    "inferenceservice": metadata["name"],
                    "reason": refused.condition_reason,
                    "message": str(refused),
                },
            )

    def _note_unsafe(self, tx: Transaction, isvc: dict[str, Any], refused: Refused, said: str) -> None:
        """Emit what a predictor would, had the model reached one."""
        metadata = isvc["metadata"]
        place = model_place(isvc)
        model = (isvc["spec"].get("predictor") or {}).get(place) or {}
        tx.emit(
            refusal.REFUSED,
            subject=f"{metadata['namespace']}/{metadata['name']}",
            event_id=f"{metadata['uid']}.{metadata.get('generation', 0)}.{said}.unsafe",
            data={
                "inferenceservice": metadata["name"],
                "namespace": metadata["namespace"],
                "revision": None,
                "model": metadata["name"],
                "uri": model.get("storageUri"),
                "reason": UNSAFE[refused.condition_reason],
                "message": str(refused),
            },
        )
