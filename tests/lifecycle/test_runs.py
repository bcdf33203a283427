"""Unmodified kfp pipelines and the official client against the whole host; runs survive kill -9 of anything."""

import os
import signal
from collections import Counter
from pathlib import Path

import kfp
import pytest

from lifecycle import pipelines


def submit(host, pipeline, **arguments) -> str:
    client = kfp.Client(host=host.url)
    run = client.create_run_from_pipeline_func(pipeline, arguments=arguments, enable_caching=False)
    return run.run_id


def wait(host, run_id: str):
    return kfp.Client(host=host.url).wait_for_run_completion(run_id, timeout=120, sleep_duration=0.2)


def noted(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def test_the_tutorial_pipeline_succeeds_unmodified(host):
    done = wait(host, submit(host, pipelines.simple_ml_workflow))
    assert done.state == "SUCCEEDED"
    tasks = {task["name"]: task for task in host.tasks(done.run_id)}
    assert set(tasks) == {"load-data-op", "preprocess-data-op", "train-model-op"}
    model_path = tasks["train-model-op"]["outputs"]["parameters"]["model_path"]
    assert Path(model_path).read_text() == "trained on 4 rows"


def test_a_failing_step_ends_the_run_with_its_cause_and_its_traceback(host):
    done = wait(host, submit(host, pipelines.failing))
    assert done.state == "FAILED"
    run = host.get(f"/apis/v2beta1/runs/{done.run_id}")
    assert "no rows to train on" in run["error"]["message"]
    assert "\n" not in run["error"]["message"]
    log = host.request("GET", f"/apis/v2beta1/runs/{done.run_id}/tasks/fails/log").data.decode()
    assert "Traceback (most recent call last)" in log
    assert "ValueError: no rows to train on" in log


def test_kill_9_of_the_host_in_the_middle_of_a_run(start_host, wait_until, tmp_path):
    host, notes = start_host(), tmp_path / "notes"
    run_id = submit(host, pipelines.twenty_steps, path=str(notes), seconds=0.1)
    wait_until(lambda: len(noted(notes)) >= 6, "six steps")
    host.kill()
    finished = set(noted(notes))
    host.start()
    assert wait(host, run_id).state == "SUCCEEDED"
    counts = Counter(noted(notes))
    assert set(counts) == set(range(20))
    assert {number for number in finished if counts[number] > 1} == set()


@pytest.mark.parametrize("function", ["pipeline", "step"])
def test_kill_9_of_a_function_in_the_middle_of_a_run(start_host, wait_until, tmp_path, function):
    host, notes = start_host(), tmp_path / "notes"
    run_id = submit(host, pipelines.twenty_steps, path=str(notes), seconds=0.1)
    for at in (4, 9):
        wait_until(lambda at=at: len(noted(notes)) >= at, f"{at} steps")
        for pid in processes_of(host, function):
            os.kill(pid, signal.SIGKILL)
    assert wait(host, run_id).state == "SUCCEEDED"
    counts = Counter(noted(notes))
    assert set(counts) == set(range(20))
    assert sum(counts.values()) <= 22  # a step that was under way when its function died may have run again


def processes_of(host, function: str) -> list[int]:
    """Return the processes whose environment says that they serve this function."""
    found = []
    for pid in host.processes():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"K_SERVICE={function}".encode() in environment:
            found.append(pid)
    return found


def test_the_client_without_a_host_comes_through_the_kubeconfig(host, monkeypatch):
    # the kubernetes package reads KUBECONFIG when it is imported
    location = "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"
    monkeypatch.setattr(location, str(host.home / "kubeconfig"))
    client = kfp.Client()
    started = client.create_run_from_pipeline_func(pipelines.say_it, arguments={"word": "hi"}, enable_caching=False)
    assert client.wait_for_run_completion(started.run_id, 60, sleep_duration=0.05).state == "SUCCEEDED"
    assert client.get_run(started.run_id).run_id == started.run_id
    cost = host.get(f"/apis/v2beta1/runs/{started.run_id}/cost")
    assert cost["total"]["cpu_ms"] > 0
    assert cost["total"]["max_rss_bytes"] > 1 << 20
    service = "/api/v1/namespaces/zeroflow/services/pipeline:http/proxy"
    assert host.get(f"{service}/apis/v2beta1/healthz") == host.get("/apis/v2beta1/healthz")
    assert host.request("GET", "/api/v1/namespaces/kubeflow/services/ml-pipeline/proxy").status == 200
    assert host.request("GET", "/api/v1/namespaces/default/services/ghost/proxy/").status == 404


def test_a_repeated_run_is_answered_from_the_cache(host):
    client = kfp.Client(host=host.url)
    first = client.create_run_from_pipeline_func(pipelines.say_it, arguments={"word": "again"}, enable_caching=True)
    assert wait(host, first.run_id).state == "SUCCEEDED"
    second = client.create_run_from_pipeline_func(pipelines.say_it, arguments={"word": "again"}, enable_caching=True)
    assert wait(host, second.run_id).state == "SUCCEEDED"
    [task] = host.tasks(second.run_id)
    assert task["cache_hit"] is True
    assert task["outputs"]["parameters"] == {"Output": "AGAIN"}
