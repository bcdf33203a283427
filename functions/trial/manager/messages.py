"""The DB manager's messages as bytes (proto3): few and small, so they are written out here.

Source: Katib api.v1.beta1 (api.proto): ReportObservationLogRequest, GetObservationLogRequest, ObservationLog.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from zeroflow.errors import InvalidInput
from zeroflow.functions.trial.collector.tfevents import fields


class MetricLog(NamedTuple):
    """One reported value."""

    time_stamp: str
    """RFC 3339."""
    name: str
    value: str


def texts(message: bytes) -> dict[int, str]:
    """Return the string fields of a message by number."""
    try:
        return {number: value.decode() for number, value in fields(message) if isinstance(value, bytes)}
    except (ValueError, IndexError) as error:
        raise InvalidInput("the message is no protobuf message of this method") from error


def reported(message: bytes) -> tuple[str, list[MetricLog]]:
    """Read a ReportObservationLogRequest: the trial's name and what it reports."""
    trial, logs = "", []
    try:
        for number, value in fields(message):
            if number == 1 and isinstance(value, bytes):
                trial = value.decode()
            elif number == 2 and isinstance(value, bytes):
                logs += [_log(each) for inner, each in fields(value) if inner == 1 and isinstance(each, bytes)]
    except (ValueError, IndexError) as error:
        raise InvalidInput("the message is no ReportObservationLogRequest") from error
    return trial, logs


def observation_log_reply(logs: Iterable[MetricLog]) -> bytes:
    """Write a GetObservationLogReply."""
    inner = b"".join(
        _bytes(1, _bytes(1, each.time_stamp.encode()) + _bytes(2, _text(1, each.name) + _text(2, each.value)))
        for each in logs
    )
    return _bytes(1, inner)


def _log(message: bytes) -> MetricLog:
    time_stamp, name, value = "", "", ""
    for number, content in fields(message):
        if number == 1 and isinstance(content, bytes):
            time_stamp = content.decode()
        elif number == 2 and isinstance(content, bytes):
            named = texts(content)
            name, value = named.get(1, ""), named.get(2, "")
    return MetricLog(time_stamp, name, value)


def _text(number: int, text: str) -> bytes:
    return _bytes(number, text.encode()) if text else b""


def _bytes(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*written, value))
