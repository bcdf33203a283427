"""`zeroflow trials EXPERIMENT`: the trials of an Experiment, as a table, JSON or a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from zeroflow.cli.host import Host, host_url
from zeroflow.cli.output import as_json, as_table, fail
from zeroflow.cli.tuning_report import Report, Row
from zeroflow.errors import ZeroflowError

API = "/apis/kubeflow.org/v1beta1"
ENDED = ("Succeeded", "Failed", "Killed", "EarlyStopped", "MetricsUnavailable")


def trials(
    experiment: Annotated[str, typer.Argument(help="Name of the Experiment.")],
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="Namespace.")] = "default",
    html: Annotated[Path | None, typer.Option(help="Write history and parallel coordinates to this page.")] = None,
    png: Annotated[Path | None, typer.Option(help="Write them to this picture.")] = None,
    output: Annotated[str, typer.Option("-o", "--output", help="table or json")] = "table",
    home: Annotated[Path | None, typer.Option(envvar="ZEROFLOW_HOME", help="Home of the host.")] = None,
) -> None:
    """Show the trials of an Experiment."""
    if output not in ("table", "json"):
        fail(f"--output must be table or json, got {output!r}", 2)
    try:
        report = report_of(Host(host_url(home)), namespace, experiment)
        written(report, html, png)
    except ZeroflowError as error:
        fail(str(error))
    if output == "json":
        as_json([row.__dict__ for row in report.rows])
        return
    names = list(dict.fromkeys(name for row in report.rows for name in row.parameters))
    as_table(
        ["trial", "state", report.metric, *names],
        [
            {
                "trial": row.name,
                "state": row.state,
                report.metric: "" if row.value is None else f"{row.value:.6g}",
                **{name: short(value) for name, value in row.parameters.items()},
            }
            for row in report.rows
        ],
    )


def written(report: Report, html: Path | None, png: Path | None) -> None:
    """Write the page and the picture, where they are asked for; raise Unavailable as `Report.image`."""
    if html is not None:
        _write(html, report.page().encode())
    if png is not None:
        _write(png, report.image())


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        fail(f"cannot write {path}: {error.strerror}")
    typer.echo(f"written: {path}", err=True)


def report_of(host: Host, namespace: str, name: str) -> Report:
    """Return what is known of an Experiment and its trials, in the order in which they were suggested."""
    where = f"{API}/namespaces/{namespace}"
    experiment = host.json("GET", f"{where}/experiments/{name}")
    selector = {"labelSelector": f"katib.kubeflow.org/experiment={name}"}
    found = {each["metadata"]["name"]: each for each in host.json("GET", f"{where}/trials", query=selector)["items"]}
    objective, status = experiment["spec"]["objective"], experiment.get("status") or {}
    metric = objective["objectiveMetricName"]
    strategies = {each["name"]: each["value"] for each in objective.get("metricStrategies") or ()}
    suggestion = host.json("GET", f"{where}/suggestions/{name}") if found else {}
    told = [each["name"] for each in (suggestion.get("status") or {}).get("suggestions") or ()]
    later = sorted(set(found).difference(told), key=lambda each: found[each]["metadata"]["creationTimestamp"])
    rows = [
        row(number, found[each], metric, strategies) for number, each in enumerate([*told, *later]) if each in found
    ]
    condition = outcome(experiment) or {"type": "Running", "message": f"{len(rows)} trials so far"}
    title = f"Experiment {namespace}/{name}"
    message = f"{condition['message']} ({status.get('trials', len(rows))} trials)"
    return Report(title, metric, objective["type"] == "maximize", condition["type"], message, rows)


def row(number: int, trial: dict[str, Any], metric: str, strategies: dict[str, str]) -> Row:
    """Return a trial as it is shown."""
    status = trial.get("status") or {}
    condition = outcome(trial) or {"type": "Running", "message": ""}
    observed = {
        each["name"]: each.get(strategies.get(each["name"], "latest"), "")
        for each in (status.get("observation") or {}).get("metrics") or ()
    }
    counts = condition["type"] in ("Succeeded", "EarlyStopped")
    return Row(
        number,
        trial["metadata"]["name"],
        condition["type"],
        number_of(observed.get(metric, "")) if counts else None,
        {each["name"]: each["value"] for each in trial["spec"]["parameterAssignments"]},
        observed,
        condition.get("message", ""),
    )


def outcome(obj: dict[str, Any]) -> dict[str, Any] | None:
    """Return the condition by which a trial or Experiment has ended."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((each for each in conditions if each["type"] in ENDED and each["status"] == "True"), None)


def number_of(text: str) -> float | None:
    """Return a number that was written as text, None for anything else."""
    try:
        return float(text)
    except ValueError:
        return None


def short(value: str) -> str:
    """Return a number with six digits, and any other word as it is."""
    number = number_of(value)
    return value if number is None else f"{number:.6g}"
