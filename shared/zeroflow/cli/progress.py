"""A run's progress and result in the terminal: a live table on a terminal, a line per change elsewhere."""

import sys
import time
from collections.abc import Iterator
from typing import Any

import typer

from zeroflow.cli.host import Host
from zeroflow.cli.output import as_json, as_table
from zeroflow.errors import ZeroflowError

FINAL = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
LOG_LINES = 20
_FASTEST_S, _SLOWEST_S = 0.05, 1.0
"""Between two looks at a run: at first often, later less, as a long run changes less often."""


def follow(host: Host, path: str, name: str) -> str:
    """Show progress until the run ends; return its state."""
    looks = _looks(host, path)
    return _live(looks, name) if sys.stderr.isatty() else _lines(looks)


def show_result(host: Host, run: dict[str, Any], tasks: list[dict[str, Any]], output: str) -> None:
    """Print how the run ended: its outputs and where they lie, or the failed step's last log lines."""
    if output == "json":
        as_json({**run, "tasks": tasks})
    else:
        _print_steps(tasks)
        _print_outputs(run, tasks)
        typer.echo(f"\nrun {run['display_name']} {run['state']} in {elapsed(run)}   {run['run_id']}")
    if run["state"] != "SUCCEEDED":
        _print_failure(host, run, tasks)


def _looks(host: Host, path: str) -> Iterator[dict[str, Any]]:
    pause_s = _FASTEST_S
    while True:
        look = host.json("GET", f"{path}/tasks")
        yield look
        if look["state"] in FINAL:
            return
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.2, _SLOWEST_S)


def _lines(looks: Iterator[dict[str, Any]]) -> str:
    shown: dict[str, tuple[str, int]] = {}
    state = ""
    for look in looks:
        state = look["state"]
        for task in _steps(look["tasks"]):
            now = (task["state"], task["attempt"])
            if shown.get(task["name"], ("PENDING", 0)) != now:
                shown[task["name"]] = now
                typer.echo(f"{task['state']:<10} {task['name']}  {_time(task)}".rstrip(), err=True)
    return state


def _live(looks: Iterator[dict[str, Any]], name: str) -> str:
    from rich.console import Console
    from rich.live import Live

    state = ""
    with Live(console=Console(stderr=True), transient=True, refresh_per_second=10) as live:
        for look in looks:
            state = look["state"]
            live.update(_table(name, look))
    return state


def _table(name: str, look: dict[str, Any]) -> Any:
    from rich.table import Table

    colours = {"SUCCEEDED": "green", "FAILED": "red", "RUNNING": "yellow", "CANCELED": "red"}
    steps = _steps(look["tasks"])
    done = sum(task["state"] in FINAL for task in steps)
    table = Table(title=f"{name}: {done} of {len(steps)} steps", box=None, title_justify="left", pad_edge=False)
    for heading in ("STEP", "STATE", "TIME"):
        table.add_column(heading)
    for task in [task for task in steps if task["state"] != "PENDING"][-30:]:
        colour = colours.get(task["state"], "dim")
        table.add_row(task["name"], f"[{colour}]{task['state']}[/]", _time(task))
    return table


def _steps(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [task for task in tasks if task["kind"] == "step"]


def _time(task: dict[str, Any]) -> str:
    if task["cache_hit"]:
        return "cached"
    attempt = f"  (attempt {task['attempt']})" if task["attempt"] > 1 else ""
    return "" if task["duration_ms"] is None else f"{task['duration_ms'] / 1000:.3f} s{attempt}"


def _print_steps(tasks: list[dict[str, Any]]) -> None:
    rows = [{"step": task["name"], "state": task["state"], "time": _time(task)} for task in _steps(tasks)]
    as_table(["step", "state", "time"], rows)


def _print_outputs(run: dict[str, Any], tasks: list[dict[str, Any]]) -> None:
    parameters = (run.get("outputs") or {}).get("parameters") or {}
    artifacts = [
        {
            "artifact": f"{task['name']}.{key}",
            "type": item["type"],
            "bytes": item["size_bytes"] or 0,
            "uri": item["uri"],
        }
        for task in _steps(tasks)
        for key, held in task["outputs"]["artifacts"].items()
        for item in held
    ]
    if parameters:
        typer.echo("\nOutputs")
        for name, value in parameters.items():
            typer.echo(f"  {name} = {value}")
    if artifacts:
        typer.echo("")
        as_table(["artifact", "type", "bytes", "uri"], artifacts)


def _print_failure(host: Host, run: dict[str, Any], tasks: list[dict[str, Any]]) -> None:
    typer.echo((run.get("error") or {}).get("message") or f"run {run['run_id']} is {run['state']}", err=True)
    failed = next((task for task in _steps(tasks) if task["state"] == "FAILED" and task["attempt"]), None)
    if failed is None:
        return
    try:
        log = host.text(f"/apis/v2beta1/runs/{run['run_id']}/tasks/{failed['name']}/log")
    except ZeroflowError as error:
        typer.echo(f"its log cannot be read: {error}", err=True)
        return
    for line in log.splitlines()[-LOG_LINES:]:
        typer.echo(f"  {line}", err=True)


def elapsed(run: dict[str, Any]) -> str:
    """Say how long a run took."""
    from datetime import datetime

    if "finished_at" not in run:
        return "?"
    elapsed = datetime.fromisoformat(run["finished_at"]) - datetime.fromisoformat(run["created_at"])
    return f"{elapsed.total_seconds():.2f} s"
