"""Steps that are Jobs: what asks for it, what Kubernetes then sees, how they end."""

import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from kfp import compiler, dsl

ONE_SECOND = {"name": "ZEROFLOW_STEP_TIME_LIMIT_S", "value": "1"}
JOBS = "/apis/batch/v1/namespaces/default/jobs"


@dsl.component
def greet(name: str) -> str:
    return f"hello {name}"


@dsl.component
def write(path: str, text: str):
    with open(path, "a") as file:
        file.write(text)


@dsl.component
def read(path: str) -> str:
    with open(path) as file:
        return file.read()


@dsl.component
def nap(seconds: float, begun: str) -> float:
    import time

    with open(begun, "a") as file:
        file.write("begun\n")
    time.sleep(seconds)
    return seconds


@dsl.component
def beside_others(n: int, folder: str):
    """Note how many run at the same time."""
    import os
    import time

    mine = f"{folder}/running-{n}"
    open(mine, "w").close()
    time.sleep(0.5)
    running = len([name for name in os.listdir(folder) if name.startswith("running-")])
    with open(f"{folder}/beside-{n}", "w") as file:
        file.write(str(running))
    os.remove(mine)


@dsl.component
def start_a_family(pids: str):
    import os
    import subprocess
    import time

    child = subprocess.Popen(["sleep", "300"], start_new_session=True)
    with open(pids, "w") as file:
        file.write(f"{os.getpid()} {child.pid}")
    time.sleep(300)


@dsl.pipeline(name="greeting")
def greeting(name: str = "you"):
    greet(name=name)


@dsl.pipeline(name="napping")
def napping(begun: str, seconds: float = 1.5):
    nap(seconds=seconds, begun=begun).set_caching_options(False)


@dsl.pipeline(name="crowd")
def crowd(folder: str):
    with dsl.ParallelFor(list(range(12))) as n:
        beside_others(n=n, folder=folder)


@dsl.pipeline(name="family")
def family(pids: str):
    start_a_family(pids=pids)


@dsl.pipeline(name="sharing", pipeline_config=dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size="1Mi")))
def sharing():
    path = f"{dsl.WORKSPACE_PATH_PLACEHOLDER}/note"
    first = write(path=path, text="one ")
    second = write(path=path, text="two").after(first)
    read(path=path).after(second).set_caching_options(False)


def submit(host: Any, pipeline: Any, tmp: Path, config: dict[str, Any] | None = None, **parameters: Any) -> str:
    """Submit a pipeline, each of whose executors is configured so; return the id of its run."""
    path = tmp / f"{pipeline.name}.yaml"
    compiler.Compiler().compile(pipeline, str(path))
    spec, *platform = yaml.safe_load_all(path.read_text())
    found = platform[0] if platform else {"platforms": {"kubernetes": {}}}
    if config:
        executors = dict.fromkeys(spec["deploymentSpec"]["executors"], config)
        found["platforms"]["kubernetes"]["deploymentSpec"] = {"executors": executors}
    answer = host.request(
        "POST",
        "/apis/v2beta1/runs",
        json={
            "display_name": pipeline.name,
            "pipeline_spec": {"pipeline_spec": spec, "platform_spec": found},
            "runtime_config": {"parameters": parameters},
        },
    )
    assert answer.status == 200, answer.data
    return str(answer.json()["run_id"])


@pytest.fixture
def finish(wait_until: Callable[..., Any]) -> Callable[[Any, str], dict[str, Any]]:
    def finish(host: Any, run_id: str) -> dict[str, Any]:
        path = f"/apis/v2beta1/runs/{run_id}"
        wait_until(lambda: host.get(path)["state"] in ("SUCCEEDED", "FAILED", "CANCELED"), "the end of the run")
        found: dict[str, Any] = host.get(path)
        return found

    return finish


def test_a_marked_step_is_a_job_that_kubernetes_sees_as_it_was_asked_for(
    host: Any, tmp_path: Path, finish: Callable[..., Any]
) -> None:
    config = {
        "podMetadata": {"annotations": {"zeroflow.dev/execution": "job"}, "labels": {"team": "a"}},
        "nodeSelector": {"labels": {"disk": "ssd"}},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "securityContext": {"runAsNonRoot": True},
        "imagePullPolicy": "Always",
    }
    run_id = submit(host, greeting, tmp_path, config, name="ada")
    run = finish(host, run_id)
    assert run["state"] == "SUCCEEDED", run
    (task,) = host.tasks(run_id)
    assert task["outputs"]["parameters"] == {"Output": "hello ada"}
    (job,) = [job for job in host.get(JOBS)["items"] if job["metadata"]["labels"]["zeroflow.dev/run"] == run_id]
    assert job["metadata"]["annotations"]["zeroflow.dev/task-name"] == "greet"
    assert job["status"]["succeeded"] == 1
    template = job["spec"]["template"]
    assert template["metadata"]["labels"]["team"] == "a"
    assert template["spec"]["nodeSelector"] == {"disk": "ssd"}
    assert template["spec"]["tolerations"] == [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
    (container,) = template["spec"]["containers"]
    assert job["metadata"]["annotations"]["zeroflow.dev/image"] == "python:3.11"
    assert container["imagePullPolicy"] == "Always"
    assert container["securityContext"] == {"runAsNonRoot": True}
    token = (host.home / "secrets" / "platform.token").read_text().strip()
    assert token not in str(job)
    assert token not in str(host.get("/api/v1/namespaces/default/secrets"))


def test_tasks_share_the_workspace_of_their_run_and_no_longer(
    host: Any, tmp_path: Path, finish: Callable[..., Any], wait_until: Callable[..., Any]
) -> None:
    run_id = submit(host, sharing, tmp_path)
    run = finish(host, run_id)
    assert run["state"] == "SUCCEEDED", run
    read_task = next(task for task in host.tasks(run_id) if task["name"] == "read")
    assert read_task["outputs"]["parameters"] == {"Output": "one two"}
    claims = "/api/v1/namespaces/default/persistentvolumeclaims"
    wait_until(lambda: host.get(claims)["items"] == [], "the workspace to be let go")


def test_jobs_beyond_the_number_that_may_run_wait_for_others_to_end(
    host: Any, tmp_path: Path, finish: Callable[..., Any], wait_until: Callable[..., Any]
) -> None:
    config = {"podMetadata": {"labels": {"zeroflow.dev/execution": "job"}}}
    run_id = submit(host, crowd, tmp_path, config, folder=str(tmp_path))
    wait_until(lambda: len(_jobs_of(host, run_id)) == 12, "all Jobs")
    assert any(job["spec"].get("suspend") for job in _jobs_of(host, run_id))
    assert finish(host, run_id)["state"] == "SUCCEEDED"
    most = max(int(file.read_text()) for file in tmp_path.glob("beside-*"))
    assert 1 < most <= 8


def test_a_missing_claim_fails_the_step_and_says_so(host: Any, tmp_path: Path, finish: Callable[..., Any]) -> None:
    config = {"pvcMount": [{"mountPath": "/data", "pvcNameParameter": {"runtimeValue": {"constant": "absent"}}}]}
    run = finish(host, submit(host, greeting, tmp_path, config))
    assert run["state"] == "FAILED"
    expected = "task greet failed: the step needs PersistentVolumeClaim 'absent', which is not in namespace default"
    assert run["error"]["message"].startswith(expected)


def test_a_canceled_job_ends_with_all_that_it_started_within_two_seconds(
    host: Any, tmp_path: Path, wait_until: Callable[..., Any], is_alive: Callable[[int], bool]
) -> None:
    config = {"podMetadata": {"labels": {"zeroflow.dev/execution": "job"}}}
    run_id = submit(host, family, tmp_path, config, pids=str(tmp_path / "pids"))
    wait_until(lambda: (tmp_path / "pids").exists() and len((tmp_path / "pids").read_text().split()) == 2, "the step")
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    asked = time.monotonic()
    assert host.request("POST", f"/apis/v2beta1/runs/{run_id}:terminate").status == 200
    wait_until(lambda: not any(map(is_alive, pids)), "the end of the step and of its child")
    assert time.monotonic() - asked < 4  # two, on a machine that does nothing else
    wait_until(lambda: _jobs_of(host, run_id) == [], "the Job to be gone")
    assert host.get(f"/apis/v2beta1/runs/{run_id}")["state"] == "CANCELED"


def test_a_step_that_outgrows_a_request_goes_on_as_a_job_and_is_one_from_then_on(
    start_host: Callable[..., Any], tmp_path: Path, finish: Callable[..., Any], wait_until: Callable[..., Any]
) -> None:
    host = start_host()
    path = "/apis/serving.knative.dev/v1/namespaces/zeroflow/services/step"
    limit = {"op": "add", "path": "/spec/template/spec/containers/0/env", "value": [ONE_SECOND]}
    headers = {"Content-Type": "application/json-patch+json"}
    assert host.request("PATCH", path, body=json.dumps([limit]), headers=headers).status == 200
    wait_until(lambda: host.get(path)["status"].get("latestReadyRevisionName") == "step-00002", "the new limit")
    begun = tmp_path / "begun"
    for times, why in (((1, 2), "it takes longer than the 1 s of a request"), ((1,), "it took longer than the 1 s")):
        begun.write_text("")
        run_id = submit(host, napping, tmp_path, begun=str(begun))
        run = finish(host, run_id)
        assert run["state"] == "SUCCEEDED", run
        assert begun.read_text().count("begun") in times  # what the request has begun is ended, and begins anew
        (job,) = _jobs_of(host, run_id)
        assert job["metadata"]["annotations"]["zeroflow.dev/why"].startswith(why)


def _jobs_of(host: Any, run_id: str) -> list[dict[str, Any]]:
    jobs = host.get(JOBS)["items"]
    return [job for job in jobs if job["metadata"]["labels"].get("zeroflow.dev/run") == run_id]
