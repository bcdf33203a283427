"""When the lines of a log were written: `<log>.times`, which the host writes beside a log while its process runs.

A record says that the log had grown to so many bytes at such a time; both only grow. What no record covers - a log
that an earlier version has left, the last words before a `kill -9` of the host - has the time of the file itself.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left, bisect_right
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Final

RECORD: Final = struct.Struct("=QQ")
"""Bytes of the log, nanoseconds since 1970."""


def beside(log: Path) -> Path:
    """Return the file of a log's times."""
    return log.with_name(f"{log.name}.times")


class WrittenTimes:
    """The times of one log, read as far as they are needed."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._ends, self._times = array("Q"), array("Q")
        self._read()

    def since(self, time_ns: int) -> int:
        """Return the position from which on everything was written at that time or later."""
        first = bisect_left(self._times, time_ns)
        end = self._ends[-1] if self._ends else 0
        if first == len(self._times):  # what has no record is the file's last write, or one before it
            return end if self._written_ns() >= time_ns else self._size()
        return self._ends[first - 1] if first else 0

    def at(self, position: int) -> int:
        """Return when the byte at a position was written."""
        if not self._ends or position >= self._ends[-1]:
            self._read()
        place = bisect_right(self._ends, position)
        return self._times[place] if place < len(self._times) else self._written_ns()

    def _read(self) -> None:
        try:
            with beside(self._log).open("rb") as file:
                file.seek(len(self._ends) * RECORD.size)
                data = file.read()
        except FileNotFoundError:
            return
        both = array("Q", data[: len(data) // RECORD.size * RECORD.size])
        self._ends.extend(both[0::2])
        self._times.extend(both[1::2])

    def _written_ns(self) -> int:
        return self._log.stat().st_mtime_ns

    def _size(self) -> int:
        return self._log.stat().st_size


class Stamps:
    """Puts the time before each line of a log's pieces, which come in order."""

    def __init__(self, log: Path) -> None:
        self._times = WrittenTimes(log)
        self._begins_line = True

    def stamped(self, piece: bytes, position: int) -> bytes:
        """Return a piece, which begins at a position of the log, with a time before each line that begins in it."""
        parts = []
        for line in _lines(piece):
            if self._begins_line:
                parts.append(rfc3339(self._times.at(position)))
            parts.append(line)
            position += len(line)
            self._begins_line = line.endswith(b"\n")
        return b"".join(parts)


def _lines(piece: bytes) -> list[bytes]:
    """Split at newlines alone: a progress bar's carriage returns begin no line."""
    whole = [line + b"\n" for line in piece.split(b"\n")]
    whole[-1] = whole[-1][:-1]
    return [line for line in whole if line]


@lru_cache(64)
def rfc3339(time_ns: int) -> bytes:
    """Return a time as the kubelet writes it before a line, the space included."""
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z ".encode()
