"""`zeroflow tune FILE.py:FUNCTION --space ...`: find the parameters that make a Python function's result best.

Submits a Katib Experiment whose trials run the function here, and shows the trials as they end.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from zeroflow.cli.host import Host, host_url
from zeroflow.cli.output import as_json, as_table, fail
from zeroflow.cli.spaces import parameter
from zeroflow.cli.trials import outcome, report_of, short, written
from zeroflow.cli.tuning_report import Report, Row
from zeroflow.errors import InvalidInput, ZeroflowError

API = "/apis/kubeflow.org/v1beta1"
LOOK_EVERY_S = 0.3
ROWS = 15
"""How many trials the table on a terminal shows."""


def tune(
    objective: Annotated[str, typer.Argument(help="FILE.py:FUNCTION")],
    space: Annotated[list[str], typer.Option("--space", help="x=0.0..1.0, n=1..9, lr=log:1e-5..1e-1, opt=sgd,adam")],
    trials: Annotated[int, typer.Option(min=1, help="How many trials.")] = 30,
    parallel: Annotated[int, typer.Option(min=1, help="How many at a time.")] = os.cpu_count() or 1,
    algorithm: Annotated[str, typer.Option(help="random, grid, sobol, tpe, multivariate-tpe, cmaes, ...")] = "tpe",
    setting: Annotated[list[str] | None, typer.Option("--setting", help="name=value of the algorithm.")] = None,
    metric: Annotated[str, typer.Option(help="Name of the objective metric.")] = "objective",
    maximize: Annotated[bool, typer.Option("--maximize/--minimize", help="What is best.")] = False,
    goal: Annotated[float | None, typer.Option(help="End as soon as this is reached.")] = None,
    name: Annotated[str, typer.Option(help="Name of the Experiment.")] = "",
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="Namespace.")] = "default",
    early_stopping: Annotated[str, typer.Option(help="medianstop, median or asha.")] = "",
    also: Annotated[list[str] | None, typer.Option(help="A further metric that is collected.")] = None,
    constraint: Annotated[list[str] | None, typer.Option(help="A condition on parameters: 'x + y <= 1'.")] = None,
    warm_start: Annotated[str, typer.Option(help="Earlier Experiments to learn from, by name.")] = "",
    max_duration: Annotated[str, typer.Option(help="How long it may run in all: 90s, 30m, 2h.")] = "",
    html: Annotated[Path | None, typer.Option(help="Write history and parallel coordinates to this page.")] = None,
    png: Annotated[Path | None, typer.Option(help="Write them to this picture.")] = None,
    output: Annotated[str, typer.Option("-o", "--output", help="table or json")] = "table",
    home: Annotated[Path | None, typer.Option(envvar="ZEROFLOW_HOME", help="Home of the host.")] = None,
) -> None:
    """Find the parameters that make a Python function's result best."""
    if output not in ("table", "json"):
        fail(f"--output must be table or json, got {output!r}", 2)
    try:
        file, function = _objective(objective)
        parameters = [parameter(written) for written in space]
        spec: dict[str, Any] = {
            "objective": {"type": "maximize" if maximize else "minimize", "objectiveMetricName": metric},
            "algorithm": {"algorithmName": algorithm, "algorithmSettings": _settings(setting or [])},
            "parameters": parameters,
            "maxTrialCount": trials,
            "parallelTrialCount": min(parallel, trials),
            "trialTemplate": _template(file, function, metric, parameters),
        }
    except InvalidInput as error:
        fail(str(error), 2)
    if goal is not None:
        spec["objective"]["goal"] = goal
    if early_stopping:
        spec["earlyStopping"] = {"algorithmName": early_stopping}
    if also:
        spec["objective"]["additionalMetricNames"] = also
    metadata: dict[str, Any] = {"name": name or _name(function), "namespace": namespace}
    asked = {
        "zeroflow.dev/constraints": json.dumps(constraint) if constraint else "",
        "zeroflow.dev/warm-start": warm_start,
        "zeroflow.dev/max-duration": max_duration,
    }
    if annotations := {key: value for key, value in asked.items() if value}:
        metadata["annotations"] = annotations
    experiment = {"apiVersion": "kubeflow.org/v1beta1", "kind": "Experiment", "metadata": metadata, "spec": spec}
    try:
        host = Host(host_url(home))
        host.json("POST", f"{API}/namespaces/{namespace}/experiments", experiment)
        ended = _follow(host, metadata)
        written(ended, html, png)
    except ZeroflowError as error:
        fail(str(error))
    except KeyboardInterrupt:
        typer.echo(f"\ndetached: the Experiment {namespace}/{metadata['name']} goes on", err=True)
        raise typer.Exit(130) from None
    _show(host, ended, metadata, output)


def _objective(written: str) -> tuple[Path, str]:
    file, colon, function = written.rpartition(":")
    if not colon or not function.isidentifier():
        raise InvalidInput(f"{written}: expected FILE.py:FUNCTION")
    path = Path(file).resolve()
    if not path.is_file():
        raise InvalidInput(f"{file}: no such file")
    return path, function


def _settings(given: list[str]) -> list[dict[str, str]]:
    pairs = [pair.partition("=") for pair in given]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise InvalidInput(f"--setting {wrong[0]}: expected name=value")
    return [{"name": name, "value": value} for name, _, value in pairs]


def _template(file: Path, function: str, metric: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    words = [f"{each['name']}:{each['parameterType']}=${{trialParameters.{each['name']}}}" for each in parameters]
    container = {
        "name": "objective",
        "image": "zeroflow/objective",
        "command": [sys.executable, "-u", "-m", "zeroflow.cli.objective"],
        "args": [str(file), function, metric, *words],
        "workingDir": str(Path.cwd()),
    }
    return {
        "primaryContainerName": "objective",
        "trialParameters": [{"name": each["name"], "reference": each["name"]} for each in parameters],
        "trialSpec": {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "spec": {"template": {"spec": {"containers": [container], "restartPolicy": "Never"}}},
        },
    }


def _name(function: str) -> str:
    letters = "".join(each if each.isalnum() and each.isascii() else "-" for each in function.lower()).strip("-")
    return f"tune-{letters[:20].strip('-') or 'objective'}-{int(time.time()) % 10**8}"


def _follow(host: Host, metadata: dict[str, str]) -> Report:
    """Show trials as they end; return what is known when the Experiment has."""
    with _shown() as show:
        while True:
            report = report_of(host, metadata["namespace"], metadata["name"])
            show(report)
            if report.state != "Running":
                return report
            time.sleep(LOOK_EVERY_S)


@contextmanager
def _shown() -> Iterator[Callable[[Report], None]]:
    """Give what shows a report: a table that is drawn anew on a terminal, else a line for each trial that has ended."""
    if not sys.stderr.isatty():
        told: set[str] = set()

        def lines(report: Report) -> None:
            for row in report.rows:
                if row.state != "Running" and row.name not in told:
                    told.add(row.name)
                    typer.echo(_line(row, report.metric), err=True)

        yield lines
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), auto_refresh=False) as live:
        yield lambda report: live.update(_table(report), refresh=True)


def _table(report: Report) -> Any:
    """Return the last trials and the best as a table of rich."""
    from rich.table import Table

    best = report.best
    names = list(dict.fromkeys(name for row in report.rows for name in row.parameters))
    told = f"best so far: {report.metric}={best.value:.6g} by trial {best.number}" if best else "no trial has ended"
    table = Table(title=report.title, caption=f"{told}; {len(report.rows)} trials", title_justify="left")
    for name in ("#", "state", report.metric, *names):
        table.add_column(name)
    shown = report.rows[-ROWS:]
    for row in [*([best] if best and best not in shown else []), *shown]:
        value = "" if row.value is None else f"{row.value:.6g}"
        cells = [short(row.parameters.get(name, "")) for name in names]
        table.add_row(str(row.number), row.state, value, *cells, style="bold" if row is best else "")
    return table


def _line(row: Row, metric: str) -> str:
    values = " ".join(f"{name}={short(value)}" for name, value in row.parameters.items())
    if row.value is None:
        return f"{row.state:<10} {values}   {row.message}"
    state = "" if row.state == "Succeeded" else f"   {row.state}"
    return f"{metric}={row.value:<12.6g} {values}{state}"


def _show(host: Host, report: Report, metadata: dict[str, str], output: str) -> None:
    best = report.best
    if output == "json":
        where = f"{API}/namespaces/{metadata['namespace']}/experiments/{metadata['name']}"
        experiment = host.json("GET", where)
        optimal = experiment["status"].get("currentOptimalTrial")
        as_json({"experiment": metadata["name"], "condition": outcome(experiment), "optimal": optimal})
    elif best is not None:
        rows = [*best.metrics.items(), *best.parameters.items()]
        typer.echo(f"best of {len(report.rows)} trials: {best.name}")
        as_table(["name", "value"], [{"name": name, "value": value} for name, value in rows])
    if report.state != "Succeeded":
        fail(report.message)
