"""A PingSource's spec: its schedule and its event.

Source: Knative PingSource (sources/v1): 5 fields, or 6 with seconds first, or a descriptor; an IANA time zone; data
or dataBase64.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from zeroflow.knative.local.api.objects import Object
from zeroflow.knative.local.eventing import destinations, overrides
from zeroflow.knative.local.eventing.errors import InvalidSpec

DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELD = re.compile(r"[0-9A-Za-z*/,\-?]+")
_WORDS = re.compile(r"[A-Za-z]+")
_MONTHS = frozenset(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"])
_DAYS = frozenset(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a PingSource is due."""

    fields: str
    seconds: bool
    zone: tzinfo

    def after(self, moment: datetime) -> datetime | None:
        """Return the first due time after a moment, in UTC; None when there is none within five years."""
        from croniter import CroniterBadDateError, croniter

        try:
            ticks = croniter(
                self.fields, moment.astimezone(self.zone), ret_type=datetime, second_at_beginning=self.seconds
            )
            due: datetime = ticks.get_next(datetime)
        except CroniterBadDateError:
            return None
        return due.astimezone(UTC)


def schedule_of(spec: dict[str, Any]) -> Schedule:
    """Read schedule and timezone; raise InvalidSpec."""
    text = spec.get("schedule") or "* * * * *"
    path = "spec.schedule"
    if not isinstance(text, str):
        raise InvalidSpec(path, "must be a string")
    if "@every" in text:
        raise InvalidSpec(path, "unsupported descriptor @every")
    fields = DESCRIPTORS.get(text, text)
    if fields.startswith("@"):
        raise InvalidSpec(path, f"unrecognized descriptor {text!r}; known are {', '.join(DESCRIPTORS)}")
    parts = fields.split()
    if len(parts) not in {5, 6}:
        raise InvalidSpec(path, f"expected 5 fields, or 6 with seconds first, found {len(parts)}: {text!r}")
    for index, part in enumerate(parts[-5:]):
        _check_words(part, _MONTHS if index == 3 else _DAYS if index == 4 else frozenset(), path)
    for part in parts:
        if not _FIELD.fullmatch(part):
            raise InvalidSpec(path, f"field {part!r} holds characters that cron fields do not have")
    seconds = len(parts) == 6
    fields = " ".join("*" if part == "?" else part for part in parts)
    _check_cron(fields, seconds, text)
    return Schedule(fields, seconds, _zone(spec.get("timezone")))


def check_ping_source(new: Object, old: Object | None) -> Object:
    """Default and check a PingSource."""
    spec = new["spec"] = new.get("spec") or {}
    spec["schedule"] = spec.get("schedule") or "* * * * *"
    schedule_of(spec)
    destinations.validate(spec.get("sink"), "spec.sink")
    spec["sink"] = destinations.with_namespace(spec["sink"], new["metadata"].get("namespace", ""))
    overrides.extensions(spec)
    event_data(spec)
    return new


def event_data(spec: dict[str, Any]) -> tuple[bytes | None, str | None]:
    """Return the data and content type of the source's events; raise InvalidSpec."""
    content_type = spec.get("contentType") or None
    data, encoded = spec.get("data"), spec.get("dataBase64")
    if content_type is not None and not isinstance(content_type, str):
        raise InvalidSpec("spec.contentType", "must be a string")
    if data and encoded:
        raise InvalidSpec("spec", "expected exactly one of data and dataBase64, got both")
    if encoded:
        try:
            decoded = base64.b64decode(encoded, validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise InvalidSpec("spec.dataBase64", f"not base64: {error}") from error
        if content_type == "application/json":
            _json_object(decoded, "spec.dataBase64")
        return decoded, content_type
    if not data:
        return None, content_type
    if not isinstance(data, str):
        raise InvalidSpec("spec.data", "must be a string")
    if content_type == "application/json":
        return json.dumps(_json_object(data, "spec.data"), separators=(",", ":")).encode(), content_type
    return data.encode(), content_type


def _json_object(text: str | bytes, path: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidSpec(path, f"contentType is application/json, but this is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise InvalidSpec(
            path, f"must be a JSON object when contentType is application/json, not {type(found).__name__}"
        )
    return found


def _check_words(part: str, known: frozenset[str], path: str) -> None:
    for word in _WORDS.findall(part):
        if word.lower() not in known:
            raise InvalidSpec(path, f"{word!r} in {part!r} is not a name that this field knows")


def _check_cron(fields: str, seconds: bool, text: str) -> None:
    from croniter import CroniterError, croniter

    try:
        croniter(fields, datetime(2026, 1, 1, tzinfo=UTC), second_at_beginning=seconds)
    except (CroniterError, ValueError, KeyError) as error:
        raise InvalidSpec("spec.schedule", f"{text!r} is not a cron schedule: {error}") from error


def _zone(name: Any) -> tzinfo:
    if not name:
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise InvalidSpec("spec.timezone", f"{name!r} is not an IANA time zone such as Europe/Berlin") from error
