"""What an event of a change says beside Knative's attributes, so that a Trigger wakes nobody in vain.

* `zeroflowchange: status`: nothing but the status has changed. Controllers that write it see their own writes.
* `zeroflowstate`: `ended` when a condition says that the object is over; `begun` of a Job of which no pod has failed.

Both are extensions of this host alone: elsewhere they are missing, so a filter excludes by them (`not`) and never asks
for them.
"""

from __future__ import annotations

from typing import Any

from zeroflow.knative.local.api.objects import Object

ENDS = frozenset({"Complete", "Failed", "Succeeded"})
UNSAID = ("resourceVersion", "managedFields")


def extensions(operation: str, obj: Object, before: str | None) -> dict[str, str]:
    """Return the extensions; `before` is what `declared` said of the object when it was last reported."""
    said = {}
    if operation == "update" and before is not None and before == declared(obj):
        said["zeroflowchange"] = "status"
    state = _state(obj)
    return said if state is None else {**said, "zeroflowstate": state}


def declared(obj: Object) -> str:
    """Return a text that is another whenever something else than the status has changed."""
    metadata: dict[str, Any] = obj["metadata"]
    return repr((metadata.get("generation"), {name: metadata[name] for name in metadata if name not in UNSAID}))


def _state(obj: Object) -> str | None:
    status = obj.get("status") or {}
    conditions = status.get("conditions") or ()
    if any(each.get("type") in ENDS and each.get("status") == "True" for each in conditions if isinstance(each, dict)):
        return "ended"
    is_job = obj["kind"] == "Job" and str(obj["apiVersion"]).startswith("batch/")
    return "begun" if is_job and not status.get("failed") else None
