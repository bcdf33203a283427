"""A CloudEvent as the broker holds it: attributes as they came, data as bytes, untouched.

The official SDK turns a body into Python objects and back; a broker must hand on the very bytes it got, so headers
are read here directly. The tests hold this module against the SDK in both directions.
Source: CloudEvents 1.0.2, HTTP protocol binding 3.1 (binary) and 3.2 (structured), JSON format 2 and 3.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NoReturn
from urllib.parse import quote, unquote_to_bytes, urlsplit

import orjson

from zeroflow.knative.local.eventing.errors import InvalidEvent

Attribute = str | int | bool

JSON_MEDIA = "application/json"
STRUCTURED_MEDIA = "application/cloudevents+json"
REQUIRED = ("id", "source", "specversion", "type")
CORE = frozenset((*REQUIRED, "datacontenttype", "dataschema", "subject", "time"))

_EXTENSION = re.compile(r"[a-z0-9]+")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+*%'`|~-]+/[\w!#$&^.+*%'`|~-]+\s*(;.*)?")
_HEADER_SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in ' "%')


class DataForm(StrEnum):
    """How data stands in JSON: as the sender put it, or to be found out from the content type."""

    UNKNOWN = "unknown"
    JSON = "json"
    TEXT = "text"
    BASE64 = "base64"


@dataclass(frozen=True, slots=True)
class Event:
    """One CloudEvent. `attributes` holds every context attribute, `specversion` and `datacontenttype` among them."""

    attributes: Mapping[str, Attribute]
    data: bytes | None = None
    structured: bool = False
    form: DataForm = field(default=DataForm.UNKNOWN)

    @property
    def id(self) -> str:
        return str(self.attributes["id"])

    @property
    def source(self) -> str:
        return str(self.attributes["source"])

    @property
    def type(self) -> str:
        return str(self.attributes["type"])

    @property
    def subject(self) -> str | None:
        subject = self.attributes.get("subject")
        return None if subject is None else str(subject)

    def extended(self, extensions: Mapping[str, Attribute | None]) -> Event:
        """Return a copy with these extensions; None removes one."""
        merged = dict(self.attributes)
        for name, value in extensions.items():
            if value is None:
                merged.pop(name, None)
            else:
                merged[name] = value
        return replace(self, attributes=merged)


def create(
    type: str,  # noqa: A002 - the attribute's name in the specification
    source: str,
    data: Any = None,
    *,
    subject: str | None = None,
    id: str | None = None,  # noqa: A002 - as above
    extensions: Mapping[str, Attribute] | None = None,
) -> Event:
    """Build an event with JSON data, an id and the present time; raise InvalidEvent when an attribute is unusable."""
    attributes: dict[str, Attribute] = {
        "specversion": "1.0",
        "id": id or str(uuid.uuid4()),
        "source": source,
        "type": type,
        "time": timestamp(),
        **({"subject": subject} if subject else {}),
        **({"datacontenttype": JSON_MEDIA} if data is not None else {}),
        **(extensions or {}),
    }
    _validate(attributes)
    return Event(attributes, None if data is None else orjson.dumps(data), form=DataForm.JSON)


def timestamp(at: datetime | None = None) -> str:
    """Return RFC 3339 in UTC with microseconds."""
    return (at or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def is_event(headers: Mapping[str, str]) -> bool:
    """Tell whether an HTTP message claims to carry one CloudEvent. `headers` must look names up case-insensitively."""
    return "ce-specversion" in headers or _media_type(headers.get("content-type", "")) == STRUCTURED_MEDIA


def from_http(headers: Iterable[tuple[str, str]], body: bytes) -> Event:
    """Read one event in binary or structured mode; raise InvalidEvent naming the attribute at fault."""
    context: dict[str, str] = {}
    content_type = ""
    for name, value in headers:
        lowered = name.lower()
        if lowered.startswith("ce-"):
            context[lowered[3:]] = value
        elif lowered == "content-type":
            content_type = value
    media = _media_type(content_type)
    if media == STRUCTURED_MEDIA:
        return _from_structured(body)
    if media.startswith("application/cloudevents-batch"):
        raise InvalidEvent(None, "a broker takes one event per request: batches (cloudevents-batch) are not accepted")
    if media.startswith("application/cloudevents"):
        raise InvalidEvent(None, f"event format {media!r} is not supported: use {STRUCTURED_MEDIA} or binary mode")
    if "specversion" not in context:
        raise InvalidEvent(
            "specversion", f"missing: neither a ce-specversion header nor content type {STRUCTURED_MEDIA}"
        )
    return _from_binary(context, content_type, body)


def to_http(event: Event, *, structured: bool | None = None) -> tuple[dict[str, str], bytes]:
    """Write the event as it came, or in the mode that is asked for; return (headers, body)."""
    if event.structured if structured is None else structured:
        return {"Content-Type": f"{STRUCTURED_MEDIA}; charset=utf-8"}, to_json(event)
    headers: dict[str, str] = {}
    for name, value in event.attributes.items():
        if name == "datacontenttype":
            headers["Content-Type"] = str(value)
        else:
            headers[f"ce-{name}"] = quote(_canonical(value), safe=_HEADER_SAFE)
    if "Content-Type" not in headers and event.data and event.form is DataForm.JSON:
        headers["Content-Type"] = JSON_MEDIA
    return headers, event.data or b""


def to_json(event: Event) -> bytes:
    """Write the JSON event format; JSON data stays byte for byte what it was."""
    document: dict[str, Any] = dict(event.attributes)
    if event.data is not None:
        form = event.form if event.form is not DataForm.UNKNOWN else _form(event.data, event.attributes)
        if form is DataForm.JSON:
            document["data"] = orjson.Fragment(event.data)
        elif form is DataForm.TEXT:
            document["data"] = event.data.decode()
        else:
            document["data_base64"] = base64.b64encode(event.data).decode()
    return orjson.dumps(document)


def _from_binary(context: Mapping[str, str], content_type: str, body: bytes) -> Event:
    attributes: dict[str, Attribute] = {}
    for name, value in context.items():
        if name == "datacontenttype":
            raise InvalidEvent(name, "in binary mode this attribute is the Content-Type header")
        attributes[name] = _decoded(name, value)
    if content_type:
        attributes["datacontenttype"] = content_type
    _validate(attributes)
    return Event(attributes, body or None)


def _from_structured(body: bytes) -> Event:
    try:
        document = json.loads(body, parse_constant=_not_json)
    except (ValueError, RecursionError) as error:
        raise InvalidEvent(None, f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidEvent(None, f"the body must be a JSON object, not {type(document).__name__}")
    return from_document(document)


def from_document(given: Mapping[str, Any]) -> Event:
    """Read an event from its JSON format, already parsed; raise InvalidEvent naming the attribute at fault."""
    document = dict(given)
    data, encoded = document.pop("data", None), document.pop("data_base64", None)
    attributes = {name: value for name, value in document.items() if value is not None}
    _validate(attributes)
    if data is not None and encoded is not None:
        raise InvalidEvent("data_base64", "only one of data and data_base64 may be given")
    if encoded is not None:
        try:
            return Event(attributes, base64.b64decode(encoded, validate=True), True, DataForm.BASE64)
        except (binascii.Error, TypeError, ValueError) as error:
            raise InvalidEvent("data_base64", f"not base64: {error}") from error
    if data is None:
        return Event(attributes, None, True)
    if isinstance(data, str) and not _is_json(str(attributes.get("datacontenttype", JSON_MEDIA))):
        try:
            return Event(attributes, data.encode(), True, DataForm.TEXT)
        except UnicodeEncodeError as error:
            raise InvalidEvent("data", f"not Unicode text: {error}") from error
    try:
        return Event(attributes, json.dumps(data, separators=(",", ":"), allow_nan=False).encode(), True, DataForm.JSON)
    except (ValueError, RecursionError) as error:
        raise InvalidEvent("data", f"cannot be kept exactly: {error}") from error


def _validate(attributes: Mapping[str, Any]) -> None:
    for name in REQUIRED:
        value = attributes.get(name)
        if not isinstance(value, str) or not value:
            raise InvalidEvent(name, "missing" if value is None else "must be a non-empty string")
    if attributes["specversion"] != "1.0":
        raise InvalidEvent("specversion", f"must be 1.0, not {attributes['specversion']!r}")
    for name, value in attributes.items():
        if name in REQUIRED:
            continue
        if name in CORE:
            if not isinstance(value, str) or not value:
                raise InvalidEvent(name, "must be a non-empty string when present")
        elif not _EXTENSION.fullmatch(name) or name == "data":
            raise InvalidEvent(name, "attribute names consist of lower-case letters and digits, and 'data' is reserved")
        elif isinstance(value, int) and not isinstance(value, bool):
            if not -(2**31) <= value < 2**31:
                raise InvalidEvent(name, "an integer must fit 32 bits; send it as a string")
        elif not isinstance(value, str | bool):
            raise InvalidEvent(name, f"must be a string, an integer or a boolean, not {type(value).__name__}")
    _validate_core(attributes)


def _validate_core(attributes: Mapping[str, Any]) -> None:
    if "time" in attributes:
        try:
            moment = attributes["time"].upper()
            if not _TIME.fullmatch(moment):
                raise ValueError("expected YYYY-MM-DDThh:mm:ss with Z or an offset")
            datetime.fromisoformat(moment)
        except ValueError as error:
            raise InvalidEvent("time", f"{attributes['time']!r} is not an RFC 3339 timestamp: {error}") from error
    if "datacontenttype" in attributes and not _MEDIA_TYPE.fullmatch(attributes["datacontenttype"]):
        raise InvalidEvent("datacontenttype", f"{attributes['datacontenttype']!r} is not a media type")
    for name in ("source", "dataschema"):
        value = attributes.get(name)
        if value is not None:
            try:
                scheme = urlsplit(value).scheme
            except ValueError as error:
                raise InvalidEvent(name, f"{value!r} is not a URI reference: {error}") from error
            if any(ord(character) < 0x20 or ord(character) == 0x7F for character in value):
                raise InvalidEvent(name, "control characters do not belong in a URI")
            if name == "dataschema" and not scheme:
                raise InvalidEvent(name, f"{value!r} is not an absolute URI")


def _decoded(name: str, value: str) -> str:
    if "%" not in value:
        if value.isascii():
            return value
        raw = value.encode("utf-8", "surrogateescape")
    else:
        raw = unquote_to_bytes(value.encode("utf-8", "surrogateescape"))
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise InvalidEvent(name, "the header's value is not UTF-8 once percent-decoded") from error


def _canonical(value: Attribute) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _is_json(content_type: str) -> bool:
    media = _media_type(content_type)
    return media in {JSON_MEDIA, "text/json"} or media.endswith("+json")


def _form(data: bytes, attributes: Mapping[str, Attribute]) -> DataForm:
    content_type = str(attributes.get("datacontenttype", ""))
    try:
        if _is_json(content_type):
            orjson.loads(data)
            return DataForm.JSON
        if _media_type(content_type).startswith("text/"):
            data.decode()
            return DataForm.TEXT
    except ValueError:
        pass
    return DataForm.BASE64


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
