"""Status conditions as Knative's resources carry them.

Guarantees: sorted by type; `Ready` follows from the dependents (True only if all are, Unknown while any is Unknown,
False if any is False); a condition keeps its lastTransitionTime until its status changes.
Source: knative.dev/pkg/apis condition sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zeroflow.knative.local.api.objects import Object, now


def ready_of(obj: Object) -> Mapping[str, Any] | None:
    """Return the Ready condition of an object; None before it has one."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((each for each in conditions if each["type"] == "Ready"), None)


class Conditions:
    """The conditions of one object, to be marked anew on each reconciliation."""

    def __init__(self, dependents: Sequence[str]) -> None:
        self._dependents = dependents
        self._marks: dict[str, tuple[str, str, str]] = {}

    def true(self, condition: str, reason: str = "", message: str = "") -> None:
        """Mark a dependent as fulfilled."""
        self._marks[condition] = ("True", reason, message)

    def false(self, condition: str, reason: str, message: str) -> None:
        """Mark a dependent as failed: what is wrong, and what would help."""
        self._marks[condition] = ("False", reason, message)

    def unknown(self, condition: str, reason: str, message: str) -> None:
        """Mark a dependent as not known yet."""
        self._marks[condition] = ("Unknown", reason, message)

    @property
    def ready(self) -> bool:
        """Whether every dependent is fulfilled."""
        return all(self._marks.get(name, ("Unknown",))[0] == "True" for name in self._dependents)

    def written(self, obj: Object, fields: Mapping[str, Any]) -> Object:
        """Return the object with its new status: these fields, the conditions and observedGeneration."""
        marks = {name: self._marks.get(name, ("Unknown", "", "")) for name in self._dependents}
        marks["Ready"] = self._happy(marks)
        old = {entry.get("type"): entry for entry in (obj.get("status") or {}).get("conditions") or ()}
        conditions = []
        for name in sorted(marks):
            status, reason, message = marks[name]
            before = old.get(name) or {}
            since = before.get("lastTransitionTime") if before.get("status") == status else None
            entry = {"type": name, "status": status, "lastTransitionTime": since or now()}
            conditions.append(
                entry | ({"reason": reason} if reason else {}) | ({"message": message} if message else {})
            )
        status_fields: dict[str, Any] = {name: value for name, value in fields.items() if value not in (None, "")}
        status_fields["conditions"] = conditions
        status_fields["observedGeneration"] = obj["metadata"].get("generation", 1)
        return {**obj, "status": status_fields}

    def _happy(self, marks: Mapping[str, tuple[str, str, str]]) -> tuple[str, str, str]:
        for wanted in ("False", "Unknown"):
            for name in self._dependents:
                if marks[name][0] == wanted:
                    return marks[name]
        return ("True", "", "")
