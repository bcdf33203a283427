"""Katib's conditions: in the order in which they came about, the newest last, as its clients and printer columns read.

Guarantees: setting a condition that is so already changes nothing. Source: Katib v1beta1 API (ExperimentCondition,
TrialCondition).
"""

from __future__ import annotations

from typing import Any

from zeroflow.resources.conditions import now

Object = dict[str, Any]

TERMINAL = ("Succeeded", "Failed", "Killed", "EarlyStopped", "MetricsUnavailable")


def marked(status: Object, kind: str, reason: str, message: str, value: str = "True") -> Object:
    """Return the status with this condition, at the end when it is new or has changed."""
    conditions = status.get("conditions") or []
    old = next((each for each in conditions if each["type"] == kind), None)
    if old is not None and (old["status"], old["reason"], old["message"]) == (value, reason, message):
        return status
    time = now()
    changed = old is None or old["status"] != value
    new = {
        "type": kind,
        "status": value,
        "reason": reason,
        "message": message,
        "lastUpdateTime": time,
        "lastTransitionTime": time if changed or old is None else old["lastTransitionTime"],
    }
    return {**status, "conditions": [*(each for each in conditions if each["type"] != kind), new]}


def ended(status: Object, kind: str, reason: str, message: str) -> Object:
    """Return the status of what is over: no longer running, and why."""
    running = find(status, "Running")
    if running is not None:
        status = marked(status, "Running", running["reason"], running["message"], "False")
    status = marked(status, kind, reason, message)
    return {**status, "completionTime": status.get("completionTime") or now()}


def find(status: Object, kind: str) -> Object | None:
    """Return the condition of a type."""
    return next((each for each in status.get("conditions") or () if each["type"] == kind), None)


def is_true(status: Object, kind: str) -> bool:
    """Say whether the condition is there with status True."""
    found = find(status, kind)
    return found is not None and found["status"] == "True"


def outcome(status: Object) -> str | None:
    """Return how a trial or Experiment ended, None while it goes on."""
    true = [each["type"] for each in status.get("conditions") or () if each["status"] == "True"]
    return next((kind for kind in TERMINAL if kind in true), None)
