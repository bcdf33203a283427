"""A record of every InferenceService that was refused: an event with the reason, once for each state of the spec."""

import hashlib
from typing import Any

from zeroflow.events.outbox import Outbox
from zeroflow.functions.inference.refusal import Refused

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
