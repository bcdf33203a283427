"""The official kfp client and `zeroflow run` against the function in gunicorn, with steps that really run."""

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import urllib3

pytestmark = pytest.mark.filterwarnings("ignore")

HERE = Path(__file__).parent


def test_the_tutorial_runs_unmodified(client: Any) -> None:
    from pipelines.tutorial import tutorial

    result = client.create_run_from_pipeline_func(tutorial, arguments={"name": "xyz", "rows": 4}, enable_caching=False)
    run = client.wait_for_run_completion(result.run_id, timeout=60, sleep_duration=0.05)
    assert run.state == "SUCCEEDED"
    assert run.runtime_config.parameters == {"name": "xyz", "rows": 4}
    assert run.pipeline_spec["pipelineInfo"]["name"] == "tutorial"
    states = {detail.display_name: detail.state for detail in run.run_details.task_details}
    assert states == {"tutorial": "SUCCEEDED", "create": "SUCCEEDED", "process": "SUCCEEDED", "report": "SUCCEEDED"}
    assert run.finished_at > run.created_at


def test_a_failing_step_fails_the_run_with_its_cause(client: Any, package: Path, url: str) -> None:
    result = client.create_run_from_pipeline_package(str(package), arguments={"least": 100}, run_name="too few")
    run = client.wait_for_run_completion(result.run_id, timeout=60, sleep_duration=0.05)
    assert run.state == "FAILED"
    assert "task report failed: ValueError: no rows: 6 < 100 (exit code 1); log: store://logs/" in run.error.message
    log = urllib3.request("GET", f"{url}/apis/v2beta1/runs/{result.run_id}/tasks/report/log")
    assert b"ValueError: no rows" in log.data


def test_experiments_by_the_client(client: Any) -> None:
    import kfp_server_api

    made = client.create_experiment("lab", description="d")
    assert client.create_experiment("lab").experiment_id == made.experiment_id
    assert client.get_experiment(experiment_name="lab").description == "d"
    assert client.get_experiment(experiment_id=made.experiment_id).storage_state == "AVAILABLE"
    client.archive_experiment(made.experiment_id)
    assert client.get_experiment(made.experiment_id).storage_state == "ARCHIVED"
    client.unarchive_experiment(made.experiment_id)
    assert "lab" in {found.display_name for found in client.list_experiments(page_size=50).experiments}
    client.delete_experiment(made.experiment_id)
    with pytest.raises(kfp_server_api.ApiException) as refused:
        client.get_experiment(experiment_id=made.experiment_id)
    assert refused.value.status == 404
    assert json.loads(refused.value.body)["code"] == 5
    with pytest.raises(ValueError, match="No experiment is found"):
        client.get_experiment(experiment_name="lab")


def test_pipelines_versions_and_runs_of_them_by_the_client(client: Any, package: Path, tmp_path: Path) -> None:
    import kfp_server_api

    zipped, tarred = tmp_path / "p.zip", tmp_path / "p.tar.gz"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.write(package, "pipeline.yaml")
    with tarfile.open(tarred, "w:gz") as archive:
        archive.add(package, "pipeline.yaml")
    made = client.upload_pipeline(str(package), pipeline_name="tutorial", description="three steps")
    assert client.get_pipeline_id("tutorial") == made.pipeline_id
    with pytest.raises(kfp_server_api.ApiException, match="already exists"):
        client.upload_pipeline(str(zipped), pipeline_name="tutorial")
    by_zip = client.upload_pipeline_version(str(zipped), "v2", pipeline_id=made.pipeline_id)
    by_tar = client.upload_pipeline_version(str(tarred), "v3", pipeline_name="tutorial")
    assert by_zip.pipeline_spec == by_tar.pipeline_spec
    versions = client.list_pipeline_versions(made.pipeline_id, sort_by="created_at desc").pipeline_versions
    assert [version.display_name for version in versions] == ["v3", "v2", "tutorial"]
    assert client.get_pipeline_version(made.pipeline_id, by_zip.pipeline_version_id).name == "v2"
    experiment = client.create_experiment("versions")
    run = client.run_pipeline(
        experiment.experiment_id, "of v2", pipeline_id=made.pipeline_id, version_id=by_zip.pipeline_version_id
    )
    assert client.wait_for_run_completion(run.run_id, 60, sleep_duration=0.05).state == "SUCCEEDED"
    assert client.get_run(run.run_id).pipeline_version_reference.pipeline_version_id == by_zip.pipeline_version_id
    found = client.list_runs(experiment_id=experiment.experiment_id, sort_by="created_at desc")
    assert [item.display_name for item in found.runs] == ["of v2"]
    with pytest.raises(kfp_server_api.ApiException, match="still has versions"):
        client.delete_pipeline(made.pipeline_id)
    for version in versions:
        client.delete_pipeline_version(made.pipeline_id, version.pipeline_version_id)
    client.delete_pipeline(made.pipeline_id)
    assert client.get_pipeline_id("tutorial") is None


def test_runs_by_the_client(client: Any, package: Path) -> None:
    import kfp_server_api

    result = client.create_run_from_pipeline_package(str(package), run_name="one", experiment_name="kept")
    client.wait_for_run_completion(result.run_id, 60, sleep_duration=0.05)
    client.archive_run(result.run_id)
    assert client.get_run(result.run_id).storage_state == "ARCHIVED"
    client.unarchive_run(result.run_id)
    predicate = {"operation": "EQUALS", "key": "display_name", "stringValue": "one"}
    found = client.list_runs(filter=json.dumps({"predicates": [predicate]}))
    assert [run.run_id for run in found.runs] == [result.run_id]
    for change in (client.terminate_run, client._run_api.run_service_retry_run):
        with pytest.raises(kfp_server_api.ApiException) as refused:
            change(result.run_id)
        assert refused.value.status == 400
    client.delete_run(result.run_id)
    with pytest.raises(kfp_server_api.ApiException) as gone:
        client.get_run(result.run_id)
    assert gone.value.status == 404


def _zeroflow(url: str, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from zeroflow.cli.main import main; main()", "run", *args]
    environment = {**os.environ, "ZEROFLOW_URL": url}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_zeroflow_run_compiles_submits_follows_and_shows_outputs(url: str) -> None:
    done = _zeroflow(url, str(HERE / "tutorial.py"), "-p", "rows=5", "-p", "name=q", "--no-cache", "--name", "by hand")
    assert done.returncode == 0, done.stderr
    assert "SUCCEEDED  report" in done.stderr
    assert "Output = q: /data/q/processed (5)" in done.stdout
    assert "store://artifacts/default/tutorial/" in done.stdout
    assert "run by hand SUCCEEDED" in done.stdout


def test_zeroflow_run_of_a_failing_run_shows_the_log_and_ends_with_1(url: str, package: Path) -> None:
    done = _zeroflow(url, str(package), "-p", "least=1000", "-o", "json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["state"] == "FAILED"
    assert "task report failed: ValueError" in done.stderr
    assert "Traceback (most recent call last)" in done.stderr


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["-p", "rows=many"], 2, "-p rows: expected an integer, got 'many'"),
        (["-p", "colour=red"], 2, "-p colour: the pipeline has no such parameter; it has: least, name, rows"),
        (["-p", "rows"], 2, "-p rows: expected name=value"),
    ],
)
def test_zeroflow_run_checks_parameters_before_it_submits(
    url: str, package: Path, args: list[str], code: int, message: str
) -> None:
    done = _zeroflow(url, str(package), *args)
    assert (done.returncode, done.stderr.strip()) == (code, f"zeroflow: {message}")


def test_zeroflow_run_names_the_pipelines_of_a_file(url: str) -> None:
    done = _zeroflow(url, f"{HERE / 'tutorial.py'}:another")
    assert done.returncode == 2
    assert "it has no pipeline another; its functions with @dsl.pipeline: tutorial" in done.stderr


def test_too_large_a_body_is_refused_with_the_limit(url: str) -> None:
    answer = urllib3.request("POST", f"{url}/apis/v2beta1/runs", body=b" " * ((64 << 20) + 1), retries=False)
    assert answer.status == 413
    assert answer.json()["message"] == "the body is larger than 64 MiB, the most that is taken"


def test_ctrl_c_detaches_and_a_second_one_cancels(url: str, tmp_path: Path) -> None:
    for presses, state in ((1, "SUCCEEDED"), (2, "CANCELED")):
        gate = tmp_path / f"gate{presses}"
        name, options = f"pressed {presses}", ["-p", f"path={gate}", "--no-cache", "--name", f"pressed {presses}"]
        command = [sys.executable, "-c", "from zeroflow.cli.main import main; main()", "run", str(HERE / "waiting.py")]
        environment = {**os.environ, "ZEROFLOW_URL": url}
        process = subprocess.Popen([*command, *options], env=environment, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        for awaited in ("RUNNING", "press Ctrl-C again")[:presses]:
            assert any(awaited in line for line in process.stderr)
            process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait(30) == 130
        process.stderr.close()
        assert ("canceled: " if presses == 2 else "detached: the run goes on") in said
        gate.touch()
        assert _state(url, name) == state


def _state(url: str, name: str) -> str:
    """Wait for the end of the run of this name."""
    query = {"filter": json.dumps({"predicates": [{"operation": 1, "key": "name", "stringValue": name}]})}
    deadline = time.monotonic() + 30
    while True:
        run = urllib3.request("GET", f"{url}/apis/v2beta1/runs", fields=query).json()["runs"][0]
        if run["state"] != "RUNNING":
            return str(run["state"])
        assert time.monotonic() < deadline, f"run {name} does not end"
        time.sleep(0.02)


def test_zeroflow_run_without_a_host_says_how_to_start_one(package: Path, tmp_path: Path) -> None:
    done = _zeroflow("http://127.0.0.1:9", str(package))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "zeroflow: nothing answers at http://127.0.0.1:9; start it with `zeroflow up`\n"
    broken = tmp_path / "broken.py"
    broken.write_text("import nothing_like_it\n")
    assert "does not compile: ModuleNotFoundError" in _zeroflow("http://127.0.0.1:9", str(broken)).stderr
