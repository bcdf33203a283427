"""Events that nobody could take after all retries: the task that waits for one fails, with the reason.

Source: Knative Eventing delivery specification, dead-letter sink: the event comes as it was, with the extensions
`knativeerrordest`, `knativeerrorcode` and `knativeerrordata` (base64 of the subscriber's last answer).
"""

import base64
import binascii

from zeroflow.events import Delivery
from zeroflow.functions.pipeline.outcomes import Outcome, parse

WAITED_FOR = {
    "dev.zeroflow.task.requested": "no function executed the task",
    "dev.zeroflow.task.finished": "the outcome of the task could not be recorded",
}
"""The events without which a run would wait for ever, and what it means that one was not taken."""


def failure(delivery: Delivery) -> Outcome | None:
    """Return the failed outcome that an undeliverable event means for its task; None when no task waits for it."""
    meaning = WAITED_FOR.get(delivery.type)
    if meaning is None:
        return None
    data = delivery.data()
    why = " ".join(filter(None, (str(delivery.event.get_extension("knativeerrorcode") or ""), _answer(delivery))))
    report = {
        "run_id": data.get("run_id"),
        "task_id": data.get("task_id"),
        "attempt": data.get("attempt"),
        "state": "FAILED",
        "error": {"message": f"{meaning}: {why or 'no answer'}", "reason": "Undeliverable"},
        "log_uri": data.get("log_uri") or "",
    }
    return parse(report)


def _answer(delivery: Delivery) -> str:
    try:
        answer = base64.b64decode(str(delivery.event.get_extension("knativeerrordata") or ""), validate=True)
    except binascii.Error:
        return ""
    lines = answer.decode("utf-8", "replace").strip().splitlines()
    return lines[0][:300] if lines else ""
