"""Metrics out of a trial's output.

A line counts only when it holds the name of a metric that is collected; in it every match of a filter whose first
group is such a name, and whose second is a number, is one value. The default filter lets `loss=nan` and `loss=`
through with an empty value: that is no value, but it is remembered, so that the trial can say so.
Source: Katib v1beta1 file metrics collector (default filter, RFC 3339 time at the beginning of a line), observation
(latest, min and max as text).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from zeroflow.tuning.spec import Object, Objective, number

DEFAULT_FILTER = r"([\w|-]+)\s*=\s*([+-]?\d*(\.\d+)?([Ee][+-]?\d+)?)"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
EXCEPTION = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Exit)(?::.*)?")
LINE_LIMIT = 64 * 1024
"""Longer lines are cut: what is printed on one line for ever is no metric."""


@dataclass(frozen=True)
class Value:
    """One value of a metric as it was printed."""

    text: str
    reported_at: str | None = None


@dataclass
class Output:
    """What a trial's output says."""

    series: Mapping[str, list[Value]]
    without_number: str = ""
    """The last line that named the objective without a number."""
    error: str = ""
    """The last line that is a Python exception; output that is buffered may come after it."""
    last_words: str = ""
    """The last line that is neither blank nor a metric."""


def filters(collector: Object) -> list[re.Pattern[str]]:
    """Return the regular expressions of a collector."""
    given = ((collector.get("source") or {}).get("filter") or {}).get("metricsFormat") or [DEFAULT_FILTER]
    return [re.compile(pattern, re.ASCII) for pattern in given]


def read(lines: Iterable[str], objective: Objective, patterns: list[re.Pattern[str]]) -> Output:
    """Read the output of one trial."""
    series: dict[str, list[Value]] = {name: [] for name in objective.metrics}
    output = Output(series)
    for raw in lines:
        line = raw[:LINE_LIMIT].rstrip()
        if EXCEPTION.fullmatch(line):
            output.error = line
        if not any(name in line for name in series):
            output.last_words = line.strip() or output.last_words
            continue
        first = line.split(maxsplit=1)[0]
        reported_at = first if TIME.fullmatch(first) else None
        found = [match for pattern in patterns for match in pattern.finditer(line) if match[1] in series]
        if not found:
            output.last_words = line.strip()
        for match in found:
            if number(match[2]) is not None:
                series[match[1]].append(Value(match[2], reported_at))
            elif match[1] == objective.metric:
                output.without_number = line.strip()
    return output


def observation(output: Output, objective: Objective) -> Object:
    """Return the observation of a trial's status: of each metric the latest value, the least and the greatest."""
    metrics: list[dict[str, Any]] = []
    for name in objective.metrics:
        values = output.series[name]
        if not values:
            metrics.append({"name": name, "latest": "unavailable", "min": "unavailable", "max": "unavailable"})
            continue
        numbers = [float(value.text) for value in values]
        latest = max(values, key=lambda value: value.reported_at or "") if _all_timed(values) else values[-1]
        metrics.append({"name": name, "latest": latest.text, "min": _text(min(numbers)), "max": _text(max(numbers))})
    return {"metrics": metrics}


def objective_value(observed: Object | None, objective: Objective) -> float | None:
    """Return the value of the objective that counts by its strategy."""
    for metric in (observed or {}).get("metrics") or ():
        if metric["name"] == objective.metric:
            return number(metric.get(objective.strategies.get(objective.metric, "latest")))
    return None


def _all_timed(values: list[Value]) -> bool:
    """RFC 3339 times in UTC of one form sort as text; others keep the order of the lines."""
    times = {len(value.reported_at) for value in values if value.reported_at and value.reported_at.endswith("Z")}
    return len(times) == 1 and all(value.reported_at for value in values)


def _text(value: float) -> str:
    return repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
