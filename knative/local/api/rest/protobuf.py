"""Built-in objects that arrive as protobuf, turned into the same JSON objects as everything else.

kubectl (since 1.32) sends what it creates itself - namespaces, config maps, secrets, jobs, access reviews - as
`application/vnd.kubernetes.protobuf` and cannot be told otherwise. Answers are always JSON, which it accepts.
Guarantees: nothing is lost silently: a message, field or encoding that is not known here is refused with the advice
to send JSON. Source: protobuf wire format; Kubernetes API concepts, "Protobuf encoding" (`k8s\\0` and
runtime.Unknown).
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from zeroflow.knative.local.api.errors import BadRequest, UnsupportedMediaType
from zeroflow.knative.local.api.messages import messages
from zeroflow.knative.local.api.objects import Object

MEDIA_TYPE: Final = "application/vnd.kubernetes.protobuf"
MAGIC: Final = b"k8s\x00"
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_MESSAGES: Final = 50  # nested
# Structures that are always sent, even when there is nothing in them.
ALWAYS_SENT: Final = frozenset(
    {"metadata", "spec", "status", "resources", "template", "jobTemplate", "source", "involvedObject"}
)


def decode(body: bytes) -> Object:
    """Return the JSON object of an enveloped message."""
    if not body.startswith(MAGIC):
        raise BadRequest("the body is no Kubernetes protobuf message: it does not begin with k8s\\0")
    envelope: dict[int, Any] = {number: value for number, _, value in _fields(body[len(MAGIC) :])}
    names = {number: value for number, _, value in _fields(envelope.get(1, b""))}
    api_version, kind = _text(names.get(1, b"")), _text(names.get(2, b""))
    if envelope.get(3) or kind not in messages():
        raise UnsupportedMediaType(f"{kind or 'this object'} is not accepted as protobuf here: send application/json")
    return {"apiVersion": api_version, "kind": kind} | _message(kind, envelope.get(2, b""), 0)


def _message(kind: str, data: bytes, depth: int) -> Object:
    if depth > MAX_MESSAGES:
        raise BadRequest("the protobuf message nests too deep")
    known = messages()[kind]
    result: Object = {}
    if kind.endswith("Status"):
        return result  # a status is written through its subresource, which takes no protobuf
    for number, wire, raw in _fields(data):
        field = known.get(number)
        if field is None:
            if wire == BYTES and not raw:
                continue
            raise BadRequest(f"field {number} of {kind} is not understood as protobuf here: send application/json")
        if field.mapped:
            entry = {place: value for place, _, value in _fields(raw)}
            value = _value(field.type, entry.get(2, b""), depth)
            result.setdefault(field.name, {})[_text(entry.get(1, b""))] = "" if value is None else value
        elif field.repeated:
            result.setdefault(field.name, []).append(_value(field.type, raw, depth))
        else:
            value = _value(field.type, raw, depth)
            if field.inline:
                result |= value
            elif value or field.pointer or (value == {} and field.name not in ALWAYS_SENT):
                result[field.name] = value
    return result


def _value(kind: str, raw: Any, depth: int) -> Any:
    if (kind in "ib") != isinstance(raw, int):
        raise BadRequest("the protobuf message has a field of the wrong wire type")
    match kind:
        case "s":
            return _text(raw)
        case "i":
            return raw - (1 << 64) if raw >> 63 else raw
        case "b":
            return bool(raw)
        case "y":
            return base64.b64encode(raw).decode()
        case "Time" | "MicroTime":
            return _time(raw, "microseconds" if kind == "MicroTime" else "seconds")
        case "Quantity":
            return _text(next((value for number, _, value in _fields(raw) if number == 1), b""))
        case "IntOrString":
            parts = {number: value for number, _, value in _fields(raw)}
            return _text(parts.get(3, b"")) if parts.get(1) else parts.get(2, 0)
        case "FieldsV1":
            return orjson.loads(next((value for number, _, value in _fields(raw) if number == 1), b"{}"))
        case _:
            return _message(kind, raw, depth + 1)


def _time(raw: bytes, precision: str) -> str | None:
    parts = {number: value for number, _, value in _fields(raw)}
    if not parts:
        return None
    try:
        moment = datetime.fromtimestamp(parts.get(1, 0) + parts.get(2, 0) / 1e9, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise BadRequest(f"the protobuf message has a time out of range: {error}") from error
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


def _text(raw: Any) -> str:
    if not isinstance(raw, bytes):
        raise BadRequest("the protobuf message has a field of the wrong wire type")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise BadRequest("the protobuf message holds text that is not UTF-8") from error


def _fields(data: Any) -> Iterator[tuple[int, int, Any]]:
    """Yield (field number, wire type, value) of a message."""
    if not isinstance(data, bytes):
        raise BadRequest("the protobuf message has a field of the wrong wire type")
    position, end = 0, len(data)
    while position < end:
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, position = _varint(data, position)
            yield number, wire, value
            continue
        if wire == BYTES:
            size, position = _varint(data, position)
        elif wire in (FIXED32, FIXED64):
            size = 4 if wire == FIXED32 else 8
        else:
            raise BadRequest("the protobuf message cannot be read")
        if position + size > end:
            raise BadRequest("the protobuf message ends before it is complete")
        yield number, wire, data[position : position + size]
        position += size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while position < len(data) and shift < 64:
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & ((1 << 64) - 1), position
        shift += 7
    raise BadRequest("the protobuf message ends before it is complete")
