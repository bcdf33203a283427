"""What a CronJob must look like: Kubernetes' defaults and refusals. Source: Kubernetes batch/v1 CronJob validation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zeroflow.knative.local.api.errors import Cause, Invalid
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.jobs import admission
from zeroflow.knative.local.schedules import BadSchedule, Schedule, schedule, time_zone

Object = dict[str, Any]

CRONJOB_KIND = "CronJob.batch"
POLICIES = ("Allow", "Forbid", "Replace")
MAX_NAME = 52  # a Job's name is this one's and eleven characters more
DEFAULTS = (
    ("concurrencyPolicy", "Allow"),
    ("suspend", False),
    ("successfulJobsHistoryLimit", 3),
    ("failedJobsHistoryLimit", 1),
)


def register(store: Store) -> None:
    """Have `store` ask here about every write of a CronJob."""
    store.admit(CRONJOB_KIND, admit)


def admit(new: Object, old: Object | None) -> Object:
    """Return `new` with defaults; raise Invalid with the fields that are wrong."""
    spec = new.setdefault("spec", {})
    for name, value in DEFAULTS:
        if spec.get(name) is None:
            spec[name] = value
    template = spec.setdefault("jobTemplate", {}).setdefault("spec", {})
    admission.complete(template)
    causes = [*_name_faults(new), *_schedule_faults(spec), *_faults(spec)]
    causes += admission.faults(template, "spec.jobTemplate.spec")
    if causes:
        raise Invalid.fields("CronJob", "batch", new["metadata"].get("name", ""), *causes)
    return new


def schedule_of(spec: Object) -> Schedule:
    """Read an admitted CronJob's schedule."""
    return schedule(spec["schedule"], spec.get("timeZone"))


def _name_faults(new: Object) -> Iterator[Cause]:
    name = str(new["metadata"].get("name", ""))
    if len(name) > MAX_NAME:
        yield Cause("metadata.name", f'Invalid value: "{name}": must be no more than {MAX_NAME} characters')


def _schedule_faults(spec: Object) -> Iterator[Cause]:
    text, zone = spec.get("schedule"), spec.get("timeZone")
    if not isinstance(text, str) or not text:
        yield Cause("spec.schedule", "Required value", "FieldValueRequired")
    elif "TZ" in text:
        message = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        yield Cause("spec.schedule", f'Invalid value: "{text}": {message}')
    else:
        try:
            schedule(text)
        except BadSchedule as error:
            yield Cause("spec.schedule", f'Invalid value: "{text}": {error}')
    if zone is not None:
        try:
            if not isinstance(zone, str) or not zone or zone.lower() == "local":
                raise BadSchedule(
                    "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
                )
            time_zone(zone)
        except BadSchedule as error:
            yield Cause("spec.timeZone", f'Invalid value: "{zone}": {error}')


def _faults(spec: Object) -> Iterator[Cause]:
    for name in ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        value = spec.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            yield Cause(f"spec.{name}", f"Invalid value: {value}: must be greater than or equal to 0")
    if not isinstance(spec["suspend"], bool):
        yield Cause("spec.suspend", f"Invalid value: {spec['suspend']!r}: must be true or false")
    if spec["concurrencyPolicy"] not in POLICIES:
        choices = ", ".join(f'"{choice}"' for choice in POLICIES)
        message = f'Unsupported value: "{spec["concurrencyPolicy"]}": supported values: {choices}'
        yield Cause("spec.concurrencyPolicy", message, "FieldValueNotSupported")
