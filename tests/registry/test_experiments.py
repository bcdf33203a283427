"""Experiments, their runs and the history of metrics: v1alpha3 only."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def experiment(registry: Any) -> dict[str, Any]:
    name = "experiment of " + registry.model()["name"]
    made: dict[str, Any] = registry.ok("POST", "experiments", {"name": name, "owner": "Ada"})
    return made


@pytest.fixture
def run(registry: Any, experiment: dict[str, Any]) -> dict[str, Any]:
    body = {"name": "first", "experimentId": experiment["id"], "startTimeSinceEpoch": "1700000000000"}
    made: dict[str, Any] = registry.ok("POST", "experiment_runs", body)
    return made


def log(registry: Any, run: dict[str, Any], **artifact: Any) -> dict[str, Any]:
    made: dict[str, Any] = registry.ok("POST", f"experiment_runs/{run['id']}/artifacts", artifact)
    return made


def test_experiment_is_found_and_unique(registry: Any, experiment: dict[str, Any]) -> None:
    assert (experiment["state"], experiment["owner"]) == ("LIVE", "Ada")
    assert registry.ok("GET", "experiment", query={"name": experiment["name"]}) == experiment
    assert registry.call("POST", "experiments", {"name": experiment["name"]}).status == 409
    path = f"experiments/{experiment['id']}"
    assert registry.ok("PATCH", path, {"state": "ARCHIVED"})["state"] == "ARCHIVED"


def test_v1_has_no_experiments(registry: Any) -> None:
    for path in ("experiments", "experiment_runs", "experiment_runs/metric_history"):
        assert registry.call("GET", path, version="v1").status == 404


def test_run_has_its_times_and_status(registry: Any, experiment: dict[str, Any], run: dict[str, Any]) -> None:
    assert (run["status"], run["state"], run["startTimeSinceEpoch"]) == ("RUNNING", "LIVE", "1700000000000")
    path = f"experiment_runs/{run['id']}"
    assert registry.call("PATCH", path, {"endTimeSinceEpoch": "1699999999999"}).status == 400
    assert registry.call("PATCH", path, {"endTimeSinceEpoch": "soon"}).status == 400
    done = registry.ok("PATCH", path, {"endTimeSinceEpoch": "1700000000001", "status": "FINISHED"})
    assert (done["endTimeSinceEpoch"], done["status"]) == ("1700000000001", "FINISHED")
    found = registry.ok("GET", "experiment_run", query={"name": "first", "parentResourceId": experiment["id"]})
    assert found == done
    assert registry.ok("GET", f"experiments/{experiment['id']}/experiment_runs")["items"] == [done]
    query = {"filterQuery": f"startTimeSinceEpoch < 1700000000001 AND experimentId = {experiment['id']}"}
    assert registry.ok("GET", "experiment_runs", query=query)["items"] == [done]


def test_run_needs_an_experiment(registry: Any, experiment: dict[str, Any]) -> None:
    assert registry.call("POST", "experiment_runs", {"name": "x"}).status == 422
    assert registry.call("POST", "experiment_runs", {"experimentId": registry.model()["id"]}).status == 404
    unnamed = registry.ok("POST", f"experiments/{experiment['id']}/experiment_runs", {})
    assert len(unnamed["name"]) == 36


def test_artifacts_of_a_run_say_which_run(registry: Any, experiment: dict[str, Any], run: dict[str, Any]) -> None:
    kinds: tuple[dict[str, Any], ...] = (
        {"artifactType": "parameter", "name": "lr", "value": "0.1", "parameterType": "number"},
        {"artifactType": "dataset-artifact", "name": "data", "uri": "s3://b/d"},
        {"artifactType": "doc-artifact", "name": "doc", "uri": "s3://b/doc"},
        {"artifactType": "model-artifact", "name": "model", "uri": "s3://b/m"},
        {"artifactType": "metric", "name": "auc", "value": 0.5, "step": 1},
    )
    made = [log(registry, run, **kind) for kind in kinds]
    for artifact in made:
        assert (artifact["experimentId"], artifact["experimentRunId"]) == (experiment["id"], run["id"])
    assert registry.ok("GET", f"experiment_runs/{run['id']}/artifacts")["items"] == made
    plain = registry.ok("GET", f"artifacts/{made[0]['id']}", version="v1")
    assert "experimentRunId" not in plain, "v1 does not know experiments"
    query = {"filterQuery": f"experimentRunId = {run['id']}", "artifactType": "parameter"}
    assert registry.ok("GET", "artifacts", query=query)["items"] == made[:1]
    again = registry.call("POST", f"experiment_runs/{run['id']}/artifacts", {**kinds[0], "value": "0.2"})
    assert (again.status, again.body["id"], again.body["value"]) == (200, made[0]["id"], "0.2")
    assert registry.call("POST", f"experiment_runs/{run['id']}/artifacts", kinds[1]).status == 409


def test_metric_keeps_its_history(registry: Any, run: dict[str, Any]) -> None:
    for step, value in enumerate((0.5, 0.7, 0.9)):
        log(registry, run, artifactType="metric", name="auc", value=value, step=step, timestamp=str(step))
    log(registry, run, artifactType="metric", name="loss", value=0.1, step=2)
    last = registry.ok("GET", f"experiment_runs/{run['id']}/artifacts", query={"name": "auc"})["items"]
    assert [one["value"] for one in last] == [0.9]
    path = f"experiment_runs/{run['id']}/metric_history"

    def history(**query: str) -> list[tuple[str, float, int]]:
        found = registry.ok("GET", path, query=query)["items"]
        return [(one["name"], one["value"], one["step"]) for one in found]

    assert history(name="auc") == [("auc", 0.5, 0), ("auc", 0.7, 1), ("auc", 0.9, 2)]
    assert history(stepIds="0,2") == [("auc", 0.5, 0), ("auc", 0.9, 2), ("loss", 0.1, 2)]
    assert history(filterQuery="value > 0.6", sortOrder="DESC") == [("auc", 0.9, 2), ("auc", 0.7, 1)]
    everywhere = registry.ok("GET", "experiment_runs/metric_history", query={"pageSize": "2", "name": "auc"})
    assert (everywhere["size"], bool(everywhere["nextPageToken"])) == (2, True)
    assert registry.call("GET", path, query={"filterQuery": "own = 1"}).status == 400


def test_change_of_a_metric_by_id_is_a_point_of_its_history_too(registry: Any, run: dict[str, Any]) -> None:
    made = log(registry, run, artifactType="metric", name="auc", value=0.5, step=1)
    registry.ok("PATCH", f"artifacts/{made['id']}", {"artifactType": "metric", "value": 0.6, "step": 2})
    found = registry.ok("GET", f"experiment_runs/{run['id']}/metric_history")["items"]
    assert [(one["value"], one["step"]) for one in found] == [(0.5, 1), (0.6, 2)]


def test_official_client_logs_a_run(registry: Any, client_python: Callable[[str], str]) -> None:
    script = Path(__file__).parent / "experiments_client.py"
    name = "official client's of " + registry.model()["name"]
    ran = subprocess.run(
        [client_python("0.3.11"), str(script), registry.url, name], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    seen = json.loads(ran.stdout.splitlines()[-1])  # the client prints of its own
    assert (seen["made"]["name"], seen["listed"]) == (name, True)
    assert seen["runs"] == 4
    assert (seen["first"]["experiment_id"], seen["first"]["state"]) == (seen["made"]["id"], "LIVE")
    assert [log[:2] for log in seen["logs"]] == [
        ["DataSet", "train"],
        ["Metric", "auc"],
        ["Parameter", "fast"],
        ["Parameter", "lr"],
    ]
    assert seen["logs"][1][2] == 0.92
