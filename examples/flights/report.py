"""What was measured, as tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

from host import Host, console
from rich.table import Table


@dataclass
class ColdStart:
    """The first prediction after everything slept, and the next one, in milliseconds."""

    first_ms: float
    next_ms: float


@dataclass
class Month:
    """What one arrival of data led to."""

    label: str
    run: dict[str, Any] = field(default_factory=dict)
    tasks: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    outputs: dict[str, Any] = field(default_factory=dict)
    outcome: str = ""


def report(host: Host, months: list[Month], slept: ColdStart, seconds: float) -> None:
    """Print the tables."""
    console.print()
    table = Table(title="What each month led to")
    for column in ("data", "run", "AUC", "Brier", "registered AUC", "outcome"):
        table.add_column(column)
    for month in months:
        out = month.outputs
        champion = f"{out['champion_auc']:.4f}" if out["champion_auc"] else "-"
        table.add_row(
            month.label, f"{month.seconds:.1f} s", f"{out['auc']:.4f}", f"{out['brier']:.4f}", champion, month.outcome
        )
    console.print(table)
    steps = Table(
        title="Steps: time, and what the platform added",
        caption="A library is loaded at its first use, once for all later steps: most of what the first month adds.",
    )
    for column in ("step", *(month.label for month in months)):
        steps.add_column(column)
    for name in ("ingest", "features", "train", "evaluate"):
        cells = []
        for month in months:
            task = next(task for task in month.tasks if task["name"] == name)
            cells.append(f"{task_seconds(task):.2f} s (+{overhead_ms(task):.0f} ms)")
        steps.add_row(name, *cells)
    console.print(steps)
    woken = Table(title="Who was woken by what")
    for column in ("function", "event", "times"):
        woken.add_column(column)
    for function, event_type, times in wakings(host):
        woken.add_row(function, event_type, str(times))
    console.print(woken)
    console.print(f"the predictor's first answer from zero {slept.first_ms:.0f} ms, the next {slept.next_ms:.1f} ms")
    console.print(f"the whole demo {seconds:.0f} s")


def task_seconds(task: dict[str, Any]) -> float:
    """Return how long the user's code ran."""
    return float(task["timings_ms"]["run_ms"]) / 1000 if task.get("timings_ms") else 0.0


def overhead_ms(task: dict[str, Any]) -> float:
    """Return the time from the request of a task to its recorded end, less the user's code."""
    requested, finished = (datetime.fromisoformat(task[name]) for name in ("requested_at", "finished_at"))
    return (finished - requested).total_seconds() * 1000 - task_seconds(task) * 1000


def wakings(host: Host) -> Iterator[tuple[str, str, int]]:
    """Count, from the event log, which events reached which function."""
    counts: dict[tuple[str, str], int] = {}
    for listed in host.get("/eventing?limit=1000")["events"]:
        [event] = host.get(f"/eventing?id={quote(listed['id'])}")["events"][:1]
        for delivery in event["deliveries"]:
            if delivery["attempts"]:
                key = (service_of(delivery["attempts"][-1]["to"]), event["type"])
                counts[key] = counts.get(key, 0) + 1
    for (function, event_type), times in sorted(counts.items()):
        yield function, event_type, times


def service_of(url: str) -> str:
    """Return the Service that a subscriber's URL names, in either of its forms."""
    parts = urlsplit(url)
    return parts.path.split("/")[3] if parts.path.startswith("/serving/") else str(parts.hostname).split(".")[0]
