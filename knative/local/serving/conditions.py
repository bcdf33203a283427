"""Status conditions as Knative writes them: sorted by type, the happy one computed from those it depends on.

Source: knative.dev/pkg/apis condition sets, and `conditions` in the CRDs of serving.knative.dev.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from zeroflow.knative.local.api.objects import now

Object = dict[str, Any]


@dataclass(frozen=True)
class Condition:
    """One condition without its time; `info` ones do not count for Ready."""

    type: str
    status: str = "True"
    reason: str = ""
    message: str = ""
    info: bool = False


def unknown(type_: str, reason: str = "", message: str = "", *, info: bool = False) -> Condition:
    """Return a condition that is not decided yet."""
    return Condition(type_, "Unknown", reason, message, info)


def false(type_: str, reason: str, message: str, *, info: bool = False) -> Condition:
    """Return a condition that failed."""
    return Condition(type_, "False", reason, message, info)


def write(obj: Object, conditions: Iterable[Condition], *, computed: bool = True) -> None:
    """Set conditions and observedGeneration; a condition that stays keeps its time.

    Ready is computed from the others unless `computed` is False and they bring it themselves.
    """
    given = list(conditions)
    status = obj.setdefault("status", {})
    before = {condition["type"]: condition for condition in status.get("conditions") or ()}
    everything = [*given, summary(given)] if computed else given
    status["conditions"] = [_wire(condition, before.get(condition.type)) for condition in sorted(everything, key=_type)]
    status["observedGeneration"] = obj["metadata"].get("generation", 1)


def summary(conditions: list[Condition]) -> Condition:
    """Return the happy condition: False if any is False, Unknown while any is Unknown, else True."""
    counted = [condition for condition in conditions if not condition.info]
    for status in ("False", "Unknown"):
        for condition in counted:
            if condition.status == status:
                return Condition("Ready", status, condition.reason, condition.message)
    return Condition("Ready")


def read(obj: Object, type_: str) -> Condition:
    """Return a condition of `obj`; Unknown when it was never written or speaks of an older generation."""
    status = obj.get("status") or {}
    if status.get("observedGeneration") != obj["metadata"].get("generation", 1):
        return unknown(type_)
    for condition in status.get("conditions") or ():
        if condition["type"] == type_:
            return Condition(type_, condition["status"], condition.get("reason", ""), condition.get("message", ""))
    return unknown(type_)


def _type(condition: Condition) -> str:
    return condition.type


def _wire(condition: Condition, before: Object | None) -> Object:
    wire: Object = {"type": condition.type, "status": condition.status}
    if condition.reason:
        wire["reason"] = condition.reason
    if condition.message:
        wire["message"] = condition.message
    if condition.info:
        wire["severity"] = "Info"
    same = before is not None and before["status"] == condition.status
    wire["lastTransitionTime"] = before["lastTransitionTime"] if before is not None and same else now()
    return wire
