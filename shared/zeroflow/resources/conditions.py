"""Conditions: what a controller says about an object, in the form that `kubectl wait --for=condition=...` reads.

Guarantees: `lastTransitionTime` changes only when `status` does, and an unchanged condition stays byte for byte the
same, so that writing conditions again causes no event.

Source: Kubernetes API conventions, "Typical status properties"; Knative error conditions (`severity`).
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal

Status = Literal["True", "False", "Unknown"]


def now() -> str:
    """Return the present time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(kind: str, status: Status, reason: str = "", message: str = "", severity: str = "") -> dict[str, Any]:
    """Return a condition without its time; empty fields are left out."""
    fields = {"type": kind, "status": status, "severity": severity, "reason": reason, "message": message}
    return {name: value for name, value in fields.items() if value}


def set_condition(
    conditions: Iterable[dict[str, Any]], new: dict[str, Any], at: str | None = None
) -> list[dict[str, Any]]:
    """Return the conditions, sorted by type, with `new` in place of the one of its type."""
    kept = {existing["type"]: existing for existing in conditions}
    old = kept.get(new["type"])
    changed = old is None or old.get("status") != new["status"]
    time = (at or now()) if changed or old is None else old.get("lastTransitionTime", at or now())
    kept[new["type"]] = {**new, "lastTransitionTime": time}
    return [kept[kind] for kind in sorted(kept)]


def find_condition(obj: dict[str, Any] | None, kind: str) -> dict[str, Any] | None:
    """Return the object's condition of a type, or None."""
    status = (obj or {}).get("status") or {}
    return next((found for found in status.get("conditions") or [] if found.get("type") == kind), None)


def is_true(obj: dict[str, Any] | None, kind: str) -> bool:
    """Say whether the object has this condition with status True."""
    found = find_condition(obj, kind)
    return found is not None and found.get("status") == "True"


def is_current(obj: dict[str, Any]) -> bool:
    """Say whether the object's status tells of its present spec."""
    generation = obj["metadata"].get("generation")
    observed = (obj.get("status") or {}).get("observedGeneration")
    return generation is None or observed == generation
