"""Metrics in lines of text or JSON, by Katib's rules.

A line of text counts only when it holds the name of a metric that is collected; in it every match of a filter whose
first group is such a name is one value, its second group. The default filter lets `loss=nan` through with an empty
value. An RFC 3339 time at the beginning of the line is when it was reported. A line of JSON is an object with the
metrics as strings or numbers, and perhaps a `timestamp` (RFC 3339, or seconds since 1970).
Source: Katib v1beta1 file metrics collector.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

DEFAULT_FILTER = r"([\w|-]+)\s*=\s*([+-]?\d*(\.\d+)?([Ee][+-]?\d+)?)"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
MARK = "[metrics] "
"""Begins each line of a trial's log that the collector adds: what was read elsewhere than in the log."""
STOPPED = "[early-stopped] "
"""Begins the line that says by which rule the trial was ended."""


class Measured(NamedTuple):
    """One value of a metric as it was written."""

    metric: str
    text: str
    """Empty when the filter found the name without a number."""
    reported_at: str | None


def compiled(filters: Iterable[str] | None) -> list[re.Pattern[str]]:
    """Return the filters of a collector as regular expressions; Katib's own when it has none."""
    return [re.compile(pattern, re.ASCII) for pattern in filters or [DEFAULT_FILTER]]


def in_text(line: str, metrics: Sequence[str], patterns: Sequence[re.Pattern[str]]) -> list[Measured]:
    """Return the values in a line of text."""
    if not any(name in line for name in metrics):
        return []
    first = line.split(maxsplit=1)[0]
    reported_at = first if TIME.fullmatch(first) else None
    return [
        Measured(match[1].strip(), (match[2] or "").strip(), reported_at)
        for pattern in patterns
        for match in pattern.finditer(line)
        if match[1] is not None and match[1].strip() in metrics
    ]


def in_json(line: str, metrics: Sequence[str]) -> list[Measured]:
    """Return the values in a line of JSON; raise ValueError when it is no JSON object."""
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("expected a JSON object")
    reported_at = _time(found.get("timestamp"))
    return [
        Measured(name, str(found[name]).strip(), reported_at)
        for name in metrics
        if isinstance(found.get(name), str | int | float) and not isinstance(found[name], bool)
    ]


def in_pairs(line: str, metrics: Sequence[str]) -> list[Measured]:
    """Return the value in a line `TIME NAME=VALUE`, as the collector writes it."""
    time, _, pair = line.partition(" ")
    name, equals, value = pair.rpartition("=")
    return [Measured(name, value, time)] if equals and name in metrics else []


def finite(text: str) -> float | None:
    """Return a finite number that was written as text, None for anything else."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def pair(metric: str, value: float, at_s: float) -> str:
    """Write a value as `in_pairs` reads it; `at_s` is in seconds since 1970."""
    return f"{datetime.fromtimestamp(at_s, UTC).strftime('%Y-%m-%dT%H:%M:%S.%fZ')} {metric}={value!r}"


def whole_lines(chunks: Iterable[bytes], limit: int) -> Iterator[str]:
    """Yield lines; what is longer than `limit` bytes is cut."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line[:limit].decode("utf-8", "replace")
        rest = rest[:limit]
    if rest:
        yield rest.decode("utf-8", "replace")


def _time(stamp: object) -> str | None:
    if isinstance(stamp, str):
        return stamp if TIME.fullmatch(stamp) else None
    if isinstance(stamp, int | float) and not isinstance(stamp, bool) and 0 <= stamp < 1e11:
        return datetime.fromtimestamp(stamp, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return None
