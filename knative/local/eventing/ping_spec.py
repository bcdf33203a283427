"""A PingSource's spec: its schedule and its event.

Source: Knative PingSource (sources/v1): 5 fields, or 6 with seconds first, or a descriptor; an IANA time zone; data
or dataBase64.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from zeroflow.knative.local.api.objects import Object
from zeroflow.knative.local.eventing import destinations, overrides
from zeroflow.knative.local.eventing.errors import InvalidSpec
from zeroflow.knative.local.schedules import BadSchedule, Schedule, schedule, time_zone


def schedule_of(spec: dict[str, Any]) -> Schedule:
    """Read schedule and timezone; raise InvalidSpec."""
    text = spec.get("schedule") or "* * * * *"
    if not isinstance(text, str):
        raise InvalidSpec("spec.schedule", "must be a string")
    try:
        time_zone(spec.get("timezone"))
    except BadSchedule as error:
        raise InvalidSpec("spec.timezone", str(error)) from error
    try:
        return schedule(text, spec.get("timezone"), seconds=True)
    except BadSchedule as error:
        raise InvalidSpec("spec.schedule", str(error)) from error


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
