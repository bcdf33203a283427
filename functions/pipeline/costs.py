"""What a run has cost: wall and CPU time, memory, bytes; measured in each step's own process.

CPU time and peak memory are those of the step's process and of its children that it waited for (rusage); bytes are
those of input and output artifacts. A step that was tried several times has cost all its attempts.
"""

from collections.abc import Iterable
from typing import Any

from zeroflow.functions.pipeline.inputs import Values
from zeroflow.functions.pipeline.outcomes import Outcome
from zeroflow.metadata.pipelines import Task

SUMS = ("attempts", "wall_ms", "cpu_ms", "bytes_in", "bytes_out")
PEAK = "max_rss_bytes"

Usage = dict[str, Any]


def with_attempt(usage: Usage | None, outcome: Outcome, given: Values) -> Usage:
    """Add what one more attempt has cost."""
    started, finished = outcome.started_ms, outcome.finished_ms
    one = {
        "attempts": 1,
        "wall_ms": max(0, finished - started) if started and finished else 0,
        "cpu_ms": outcome.usage.get("cpu_ms") or 0,
        "bytes_in": _bytes(given),
        PEAK: outcome.usage.get(PEAK) or 0,
    }
    return _added([usage or {}, one])


def with_output(usage: Usage | None, given: Values) -> Usage:
    """Add what a step has written."""
    return _added([usage or {}, {"bytes_out": _bytes(given)}])


def of_run(rows: Iterable[Task]) -> dict[str, Any]:
    """Return the cost of each step and of the whole, and what reuse has saved: the steps that did not run again."""
    steps = [row for row in rows if row.kind == "step"]
    ran = [row for row in steps if row.usage]
    return {
        "total": _added(row.usage or {} for row in ran),
        "reused": sum(row.cached_from is not None for row in steps),
        "steps": [
            {"task_id": row.id, "name": row.name, "state": row.state, **_added([row.usage or {}])}
            for row in sorted(ran, key=lambda row: (-(row.usage or {}).get("wall_ms", 0), row.name))
        ],
    }


def _added(usages: Iterable[Usage]) -> Usage:
    held = list(usages)
    return {
        **{name: round(sum(one.get(name) or 0 for one in held), 3) for name in SUMS},
        PEAK: max((one.get(PEAK) or 0 for one in held), default=0),
    }


def _bytes(given: Values) -> int:
    return sum(item.get("size_bytes") or 0 for held in given["artifacts"].values() for item in held)
