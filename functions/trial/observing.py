"""Metrics out of a trial's log, and the observation that they make.

The log of a trial whose metrics are read elsewhere has them in marked lines (`collector/lines.py`); of those that only
print, every line may have some. A value that is not finite is kept in the series and counts for nothing: a trial
without a single finite value of its objective has no metrics, and says what it had instead.
Source: Katib v1beta1 file metrics collector, observation (latest, min and max as text).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from zeroflow.functions.trial import diagnosis
from zeroflow.functions.trial.collector import lines
from zeroflow.functions.trial.collector.lines import MARK, STOPPED, Measured
from zeroflow.tuning.collectors import Collector
from zeroflow.tuning.spec import Object, Objective, number

LINE_LIMIT = 64 * 1024
"""Longer lines are cut: what is printed on one line for ever is no metric."""
ODD_LIMIT = 200
UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class Value:
    """One value of a metric as it was reported."""

    text: str
    reported_at: str | None = None

    @property
    def number(self) -> float | None:
        """The value, None when it is not finite."""
        return number(self.text)


@dataclass
class Output:
    """What is known of a trial when it has ended."""

    series: Mapping[str, list[Value]]
    odd: str = ""
    """The last line, or reported value, that named the objective without a finite number."""
    unreadable: str = ""
    """The first line of a JSON file that is not JSON."""
    stopped: str = ""
    """The rule by which the trial was ended early."""
    error: str = ""
    """The last line that is a Python exception; output that is buffered may come after it."""
    last_words: str = ""
    """The last line that is neither blank nor a metric."""


def read(log: Iterable[str], objective: Objective, collector: Collector) -> Output:
    """Read the log of one trial."""
    output = Output({name: [] for name in objective.metrics})
    measured = _reader(objective, collector, output)
    elsewhere = collector.kind != "StdOut"
    for raw in log:
        line = raw[:LINE_LIMIT].rstrip()
        if line.startswith(STOPPED):
            output.stopped = line.removeprefix(STOPPED)
            continue
        marked = line.startswith(MARK)
        found = measured(line.removeprefix(MARK)) if marked is elsewhere else []
        if diagnosis.EXCEPTION.fullmatch(line):
            output.error = line
        if not found and not marked:
            output.last_words = line.strip() or output.last_words
        add(output, found, objective, line.removeprefix(MARK).strip())
    return output


def add(output: Output, found: Iterable[Measured], objective: Objective, line: str) -> None:
    """Add values to the series."""
    for metric, text, reported_at in found:
        value = Value(text, reported_at)
        if text:
            output.series[metric].append(value)
        if value.number is None and metric == objective.metric:
            output.odd = line


def _reader(objective: Objective, collector: Collector, output: Output) -> Callable[[str], list[Measured]]:
    metrics = objective.metrics
    if collector.kind in ("TensorFlowEvent", "PrometheusMetric"):
        return lambda line: lines.in_pairs(line, metrics)
    if collector.kind == "File" and collector.format == "JSON":

        def in_json(line: str) -> list[Measured]:
            try:
                return lines.in_json(line, metrics) if line.strip() else []
            except ValueError:
                output.unreadable = output.unreadable or line
                return []

        return in_json
    patterns = lines.compiled(collector.filters)
    return lambda line: lines.in_text(line, metrics, patterns)


def observation(output: Output, objective: Objective) -> Object:
    """Return the observation of a trial's status: of each metric the latest value, the least and the greatest."""
    return {"metrics": [_observed(name, output.series[name]) for name in objective.metrics]}


def _observed(name: str, series: list[Value]) -> dict[str, Any]:
    values = [value for value in series if value.number is not None]
    if not values:
        return {"name": name, "latest": UNAVAILABLE, "min": UNAVAILABLE, "max": UNAVAILABLE}
    numbers = [value.number for value in values if value.number is not None]
    latest = max(reversed(values), key=lambda value: value.reported_at or "") if _all_timed(values) else values[-1]
    return {"name": name, "latest": latest.text, "min": _text(min(numbers)), "max": _text(max(numbers))}


def missing(output: Output, objective: Objective, collector: Collector) -> str:
    """Say why a trial has no value of its objective, and what would be one."""
    name = objective.metric
    if output.odd:
        return f"There is no finite number for the objective metric {name!r}: {output.odd[:ODD_LIMIT]}"
    if output.unreadable:
        return f"{collector.path} is not one JSON object a line: {output.unreadable[:ODD_LIMIT]}"
    return {
        "StdOut": f"Its output has no value of the objective metric {name!r}; print {name}=NUMBER",
        "File": f"{collector.path} has no value of the objective metric {name!r}, or was not written",
        "TensorFlowEvent": f"No event file below {collector.path} has a scalar {name!r}",
        "PrometheusMetric": f"http://127.0.0.1:{collector.port}{collector.http_path} has not served a metric {name!r}",
    }.get(collector.kind, f"No value of the objective metric {name!r} was reported to the DB manager")


def is_worded(output: Output, objective: Objective) -> bool:
    """Say whether the objective is reported in words and never as a number."""
    series = output.series[objective.metric]
    return bool(series) and all(_is_word(value.text) for value in series)


def _is_word(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return True
    return False


def worded(output: Output, objective: Objective) -> Object:
    """Return the observation of a metric that is words, as an architecture is: the last that was reported."""
    series = output.series[objective.metric]
    said = series[-1].text if series else UNAVAILABLE
    return {"metrics": [{"name": objective.metric, "latest": said, "min": UNAVAILABLE, "max": UNAVAILABLE}]}


def objective_value(observed: Object | None, objective: Objective) -> float | None:
    """Return the value of the objective that counts by its strategy."""
    return metric_value(observed, objective.metric, objective.strategies.get(objective.metric, "latest"))


def metric_value(observed: Object | None, name: str, strategy: str) -> float | None:
    """Return the value of one metric that counts by a strategy."""
    for metric in (observed or {}).get("metrics") or ():
        if metric["name"] == name:
            return number(metric.get(strategy))
    return None


def _all_timed(values: list[Value]) -> bool:
    """RFC 3339 times in UTC of one form sort as text; others keep the order of the lines."""
    times = {len(value.reported_at) for value in values if value.reported_at and value.reported_at.endswith("Z")}
    return len(times) == 1 and all(value.reported_at for value in values)


def _text(value: float) -> str:
    return repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
