"""`zeroflow models reproduce`: run again what made a version, and compare what comes out.

The same definition, parameters and pipeline root are submitted as a new run, without the cache. The new run says whose
reproduction it is; the registry then does not register its model as a version but notes what came out. Compared are the
hashes of what the producing task read, the model's hash, and each metric.
"""

import json
import math
import time
from typing import Annotated, Any

import typer

from zeroflow.cli import registered
from zeroflow.cli.host import Host, host_url
from zeroflow.cli.output import as_json, as_table, fail
from zeroflow.cli.progress import follow
from zeroflow.cli.run import API, without_cache
from zeroflow.errors import NotFound, Unavailable, ZeroflowError

MARK = "zeroflow.dev/reproduces: "
"""In a run's description, before the id of the version that it reproduces."""
NOTED_S = 60.0


def reproduce(
    model: Annotated[str, typer.Argument(help="The registered model.")],
    version: Annotated[str, typer.Argument(help="One of its versions, made by a run.")],
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="How far a metric may be off, relative to its value.")
    ] = 0.0,
    output: Annotated[str, typer.Option("--output", "-o", help="table or json")] = "table",
) -> None:
    """Run what made a version once more and compare inputs, bytes and metrics; end with 1 if metrics differ."""
    try:
        told = _reproduce(Host(host_url()), model, version, tolerance)
    except ZeroflowError as error:
        fail(str(error))
    if output == "json":
        as_json(told)
    else:
        rows = [
            {
                "metric": one["metric"],
                "registered": one["registered"],
                "reproduced": "-" if one["reproduced"] is None else one["reproduced"],
                "same": "yes" if one["same"] else "NO",
            }
            for one in told["metrics"]
        ]
        as_table(["metric", "registered", "reproduced", "same"], rows)
        typer.echo(f"model bytes: {'the same' if told['sameBytes'] else 'others'}   run {told['runId']}")
        for name, change in told["changedInputs"].items():
            typer.echo(f"input {name} was sha256 {change['registered']}, is {change['reproduced']}")
    if not told["reproduced"]:
        fail(f"{model} {version} was not reproduced")


def _reproduce(host: Host, model: str, version: str, tolerance: float) -> dict[str, Any]:
    found = registered.find(host, model, version)
    properties = {
        name: next((value for key, value in told.items() if key.endswith("_value")), "")
        for name, told in found["customProperties"].items()
    }
    run_id = properties.get("run_id")
    if not run_id:
        raise NotFound(f"{model} {version} was not made by a pipeline's run: there is nothing to run again")
    first = host.json("GET", f"{API}/runs/{run_id}")
    spec = first["pipeline_spec"]
    without_cache(spec.get("pipeline_spec", spec))
    body = {
        "display_name": f"{model} {version} once more, {time.strftime('%Y-%m-%d %H-%M-%S')}",
        "description": f"{MARK}{found['id']}",
        "experiment_id": first["experiment_id"],
        "pipeline_spec": spec,
        "runtime_config": first.get("runtime_config") or {},
        "service_account": first.get("service_account", ""),
    }
    created = host.json("POST", f"{API}/runs", body)
    state = follow(host, f"{API}/runs/{created['run_id']}", created["display_name"])
    if state != "SUCCEEDED":
        raise Unavailable(f"the run {created['run_id']} ended {state}: {model} {version} was not reproduced")
    noted = _noted(host, found["id"], created["run_id"])
    metrics = _metrics(host, found["id"], noted["metrics"], tolerance)
    before = {
        name.removeprefix("input.").removesuffix(".sha256"): value
        for name, value in properties.items()
        if name.startswith("input.") and name.endswith(".sha256")
    }
    return {
        "model": model,
        "version": version,
        "runId": created["run_id"],
        "reproduced": all(one["same"] for one in metrics),
        "sameBytes": noted["sha256"] == properties.get("sha256"),
        "metrics": metrics,
        "changedInputs": {
            name: {"registered": sha256, "reproduced": noted["inputs"].get(name)}
            for name, sha256 in before.items()
            if noted["inputs"].get(name) != sha256
        },
    }


def _noted(host: Host, version_id: str, run_id: str) -> dict[str, Any]:
    """Wait until the registry has noted what the run made."""
    deadline = time.monotonic() + NOTED_S
    while time.monotonic() < deadline:
        lines = host.text(f"{registered.OWN}/audit?entity=model_version/{version_id}").splitlines()
        for record in map(json.loads, reversed(lines)):
            if record["verb"] == "reproduce" and record["after"]["run_id"] == run_id:
                told: dict[str, Any] = record["after"]
                return told
        time.sleep(0.2)
    raise Unavailable(f"run {run_id} ended, and the registry was not told of its model within {NOTED_S:.0f} s")


def _metrics(host: Host, version_id: str, again: dict[str, float], tolerance: float) -> list[dict[str, Any]]:
    query = {"artifactType": "metric"}
    listed = host.json("GET", f"{registered.API}/model_versions/{version_id}/artifacts", query=query)["items"]
    return [
        {
            "metric": one["name"],
            "registered": one["value"],
            "reproduced": again.get(one["name"]),
            "same": one["name"] in again and math.isclose(one["value"], again[one["name"]], rel_tol=tolerance),
        }
        for one in listed
    ]
