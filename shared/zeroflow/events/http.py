"""CloudEvents over HTTP, by the official SDK (CloudEvents 1.0.2, HTTP protocol binding).

Guarantees: what cannot be read raises InvalidInput saying which attribute is at fault, whatever the SDK raised.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event
from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.v1.event import CloudEvent

from zeroflow.errors import InvalidInput
from zeroflow.metadata.events import EventRecord

STRUCTURED = "application/cloudevents+json"
REQUIRED = ("specversion", "id", "source", "type")


def from_request(headers: Mapping[str, str], body: bytes) -> BaseCloudEvent:
    """Read the event of a request in binary or structured mode; raise InvalidInput when there is none."""
    lowered = {name.lower(): value for name, value in headers.items()}
    if "ce-specversion" in lowered:
        given = {name.removeprefix("ce-") for name, value in lowered.items() if value}
    elif lowered.get("content-type", "").partition(";")[0].strip().lower() == STRUCTURED:
        given = _names_in(body)
    else:
        raise InvalidInput(
            "expected a CloudEvent: either ce-specversion, ce-type, ce-source and ce-id headers or a body of type "
            f"{STRUCTURED}"
        )
    missing = [name for name in REQUIRED if name not in given]
    if missing:  # the SDK would make up an id, and an id that changes defeats deduplication
        raise InvalidInput(f"malformed CloudEvent: the required attribute {missing[0]!r} is missing")
    try:
        return from_http_event(HTTPMessage(headers=dict(headers), body=body))
    except CloudEventValidationError as error:
        faults = "; ".join(str(fault) for faults in error.errors.values() for fault in faults)
        raise InvalidInput(f"malformed CloudEvent: {faults}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(f"malformed CloudEvent: {error}") from error


def _names_in(body: bytes) -> set[str]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"malformed CloudEvent: the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidInput("malformed CloudEvent: the body is not a JSON object")
    return {name for name, value in document.items() if value}


def data_of(event: BaseCloudEvent) -> dict[str, Any]:
    """Return the event's data as a JSON object; raise InvalidInput when it is something else."""
    data = event.get_data()
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise InvalidInput(f"event {event.get_id()!r}: data must be a JSON object, got {type(data).__name__}")
    return data


def as_json(event: BaseCloudEvent) -> dict[str, Any]:
    """Return the event in its JSON format (attributes beside `data`), for expressions over the whole event."""
    document: dict[str, Any] = {}
    for name, value in event.get_attributes().items():
        document[name] = value.isoformat() if isinstance(value, datetime) else value
    document["data"] = event.get_data()
    return document


def from_record(record: EventRecord) -> CloudEvent:
    """Rebuild the event that a row of the event log holds."""
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": record.id,
        "source": record.source,
        "type": record.type,
        "time": datetime.fromtimestamp(record.time_ms / 1000, UTC),
        **(record.extensions or {}),
    }
    if record.subject is not None:
        attributes["subject"] = record.subject
    if record.traceparent is not None:
        attributes["traceparent"] = record.traceparent
    if record.data is not None:
        attributes["datacontenttype"] = "application/json"
    return CloudEvent(attributes, record.data)


def to_message(event: BaseCloudEvent) -> HTTPMessage:
    """Encode the event in binary mode."""
    return to_binary_event(event)
