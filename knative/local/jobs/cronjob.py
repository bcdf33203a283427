"""One CronJob: its latest due time, the Job of a due time, and what it says about its Jobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from zeroflow.knative.local.api.objects import copy
from zeroflow.knative.local.jobs.cronjob_admission import schedule_of
from zeroflow.knative.local.schedules import Schedule
from zeroflow.resources.owners import owned_by

Object = dict[str, Any]

SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"
TOO_MANY_MISSED = 100


def most_recent(schedule: Schedule, after: datetime, now: datetime) -> tuple[datetime | None, int]:
    """Return the last due time in (after, now] and how many there were (no more than a few beyond the limit)."""
    due, found = _due(schedule, after, now), 0
    latest = None
    while due is not None:
        latest, found = due, found + 1
        due = _due(schedule, latest, now)
        if found == TOO_MANY_MISSED + 1:  # a long sleep: go on from the shortest span before now that has one
            span = timedelta(minutes=1)
            while (recent := _due(schedule, now - span, now)) is None:
                span *= 2
            due = recent if recent > latest else due
    return latest, found


def _due(schedule: Schedule, after: datetime, now: datetime) -> datetime | None:
    """Return the first due time in (after, now]."""
    due = schedule.after(after) if after < now else None
    return due if due is not None and due <= now else None


def job_at(cronjob: Object, name: str, due: datetime) -> Object:
    """Return the Job of a due time."""
    metadata, template = cronjob["metadata"], cronjob["spec"]["jobTemplate"]
    given = template.get("metadata") or {}
    zone = schedule_of(cronjob["spec"]).zone
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            "labels": dict(given.get("labels") or {}),
            "annotations": (given.get("annotations") or {}) | {SCHEDULED_AT: written(due.astimezone(zone))},
            "ownerReferences": owned_by(cronjob),
        },
        "spec": copy(template["spec"]),
    }


def owns(cronjob: Object, job: Object) -> bool:
    """Return whether the CronJob controls the Job."""
    owners = job["metadata"].get("ownerReferences") or ()
    return any(owner.get("controller") and owner.get("uid") == cronjob["metadata"]["uid"] for owner in owners)


def reference_to(job: Object) -> Object:
    """Return the entry of a Job in status.active."""
    metadata = job["metadata"]
    named = {name: metadata[name] for name in ("namespace", "name", "uid", "resourceVersion")}
    return {"apiVersion": "batch/v1", "kind": "Job", **named}


def outcome(job: Object) -> str:
    """Return how a finished Job has ended: Complete or Failed."""
    conditions = job["status"]["conditions"]
    return str(next(c["type"] for c in conditions if c["type"] in ("Complete", "Failed") and c["status"] == "True"))


def written(moment: datetime) -> str:
    """Return a moment as metav1.Time, in its own zone."""
    text = moment.isoformat(timespec="seconds")
    return text.replace("+00:00", "Z") if moment.tzinfo is UTC or text.endswith("+00:00") else text
