"""`zeroflow tune FILE.py:FUNCTION --space ...`: find the parameters that make a Python function's result best.

Submits a Katib Experiment whose trials run the function here, and shows the trials as they end.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from zeroflow.cli.host import Host, host_url
from zeroflow.cli.output import as_json, as_table, fail
from zeroflow.cli.spaces import parameter
from zeroflow.errors import InvalidInput, ZeroflowError

API = "/apis/kubeflow.org/v1beta1"
LOOK_EVERY_S = 0.3
ENDED = ("Succeeded", "Failed", "Killed", "EarlyStopped", "MetricsUnavailable")


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
    metadata = {"name": name or _name(function), "namespace": namespace}
    experiment = {"apiVersion": "kubeflow.org/v1beta1", "kind": "Experiment", "metadata": metadata, "spec": spec}
    try:
        host = Host(host_url(home))
        host.json("POST", f"{API}/namespaces/{namespace}/experiments", experiment)
        ended = _follow(host, metadata, metric)
    except ZeroflowError as error:
        fail(str(error))
    except KeyboardInterrupt:
        typer.echo(f"\ndetached: the Experiment {namespace}/{metadata['name']} goes on", err=True)
        raise typer.Exit(130) from None
    _show(ended, output)


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


def _follow(host: Host, metadata: dict[str, str], metric: str) -> Any:
    """Show trials as they end; return the Experiment when it has."""
    where = f"{API}/namespaces/{metadata['namespace']}"
    shown: set[str] = set()
    while True:
        experiment = host.json("GET", f"{where}/experiments/{metadata['name']}")
        selector = {"labelSelector": f"katib.kubeflow.org/experiment={metadata['name']}"}
        for trial in host.json("GET", f"{where}/trials", query=selector)["items"]:
            if trial["metadata"]["name"] not in shown and _outcome(trial):
                shown.add(trial["metadata"]["name"])
                typer.echo(_line(trial, metric), err=True)
        if _outcome(experiment):
            return experiment
        time.sleep(LOOK_EVERY_S)


def _line(trial: dict[str, Any], metric: str) -> str:
    values = " ".join(f"{each['name']}={_short(each['value'])}" for each in trial["spec"]["parameterAssignments"])
    condition = _outcome(trial) or {}
    if condition.get("type") != "Succeeded":
        return f"{condition.get('type'):<10} {values}   {condition.get('message', '')}"
    observed = trial["status"]["observation"]["metrics"]
    latest = next((each["latest"] for each in observed if each["name"] == metric), "")
    return f"{metric}={_short(latest):<12} {values}"


def _short(value: str) -> str:
    """Return a number with six digits, and any other word as it is."""
    try:
        return f"{float(value):.6g}"
    except ValueError:
        return value


def _outcome(obj: dict[str, Any]) -> dict[str, Any] | None:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((each for each in conditions if each["type"] in ENDED and each["status"] == "True"), None)


def _show(experiment: dict[str, Any], output: str) -> None:
    condition, status = _outcome(experiment) or {}, experiment["status"]
    optimal = status.get("currentOptimalTrial")
    if output == "json":
        as_json({"experiment": experiment["metadata"]["name"], "condition": condition, "optimal": optimal})
    elif optimal:
        rows = [
            *({"name": each["name"], "value": each["latest"]} for each in optimal["observation"]["metrics"]),
            *({"name": each["name"], "value": each["value"]} for each in optimal["parameterAssignments"]),
        ]
        typer.echo(f"best of {status['trials']} trials: {optimal['bestTrialName']}")
        as_table(["name", "value"], rows)
    if condition.get("type") != "Succeeded":
        fail(condition.get("message", "the Experiment has failed"))
