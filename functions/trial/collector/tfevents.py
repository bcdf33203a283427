"""Scalars in TensorFlow event files, without TensorFlow.

A file is a sequence of records (length, checksum, bytes, checksum); each is an `Event` message with a time, a step and
a summary of tagged values, as numbers (TensorBoard of PyTorch, TensorFlow 1) or as scalar tensors (TensorFlow 2). What
cannot be read ends the file's turn until it has grown. Checksums are not verified: a torn record is told by its length.
Source: tensorflow/core/lib/io/record_writer.h, core/util/event.proto, core/framework/{summary,tensor}.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from zeroflow.functions.trial.collector.lines import pair

RECORD_LIMIT = 64 << 20
FLOAT, DOUBLE, INT32, INT64 = 1, 2, 3, 9
FORMATS = {FLOAT: "<f", DOUBLE: "<d", INT32: "<i", INT64: "<q"}


@dataclass
class Events:
    """Reads event files below a directory as they grow."""

    directory: Path
    metrics: Sequence[str]
    _read: dict[Path, int] = field(default_factory=dict)

    def new(self) -> Iterator[str]:
        """Yield a line `TIME NAME=VALUE` for each value that was written since the last call, in the files' order."""
        for path in sorted(self.directory.rglob("*tfevents*")):
            if path.is_file():
                yield from self._of(path)

    def _of(self, path: Path) -> Iterator[str]:
        folder = path.parent.relative_to(self.directory).as_posix()
        with path.open("rb") as file:
            file.seek(self._read.get(path, 0))
            while (record := _record(file.read(12), file)) is not None:
                self._read[path] = file.tell()
                try:
                    time_s, values = event(record)
                except (ValueError, struct.error, IndexError):
                    continue
                for tag, value in values:
                    for name in (tag, f"{folder}/{tag}"):
                        if name in self.metrics:
                            yield pair(name, value, time_s)


def _record(header: bytes, file: object) -> bytes | None:
    if len(header) < 12:
        return None
    (length,) = struct.unpack("<Q", header[:8])
    if length > RECORD_LIMIT:
        return None
    body: bytes = file.read(length + 4)  # type: ignore[attr-defined]  # a binary file
    return body[:length] if len(body) == length + 4 else None


def event(record: bytes) -> tuple[float, list[tuple[str, float]]]:
    """Return the time (seconds since 1970) and the tagged scalars of an Event message."""
    time_s, values = 0.0, []
    for number, content in fields(record):
        if number == 1 and isinstance(content, bytes):
            (time_s,) = struct.unpack("<d", content)
        elif number == 5 and isinstance(content, bytes):
            for inner, value in fields(content):
                if inner == 1 and isinstance(value, bytes) and (found := _value(value)) is not None:
                    values.append(found)
    return time_s, values


def _value(message: bytes) -> tuple[str, float] | None:
    tag, number = "", None
    for name, content in fields(message):
        if not isinstance(content, bytes):
            continue
        if name == 1:
            tag = content.decode("utf-8", "replace")
        elif name == 2 and len(content) == 4:
            (number,) = struct.unpack("<f", content)
        elif name == 8:
            number = _scalar(content)
    return None if number is None else (tag, float(number))


def _scalar(tensor: bytes) -> float | None:
    """Return the number in a tensor of one element."""
    kind, content, given = 0, b"", None
    for name, value in fields(tensor):
        if name == 1 and isinstance(value, int):
            kind = value
        elif name == 4 and isinstance(value, bytes):
            content = value
        elif name in (5, 6) and isinstance(value, bytes):  # float_val and double_val, packed or not
            form = "<f" if name == 5 else "<d"
            if len(value) == struct.calcsize(form):
                (given,) = struct.unpack(form, value)
    form = FORMATS.get(kind, "")
    if content and form and len(content) == struct.calcsize(form):
        (given,) = struct.unpack(form, content)
    return None if given is None else float(given)


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield (field number, value) of a protobuf message: integers, and the bytes of everything else."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(message, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + size > len(message):
            raise ValueError("the message ends too early")
        yield number, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
