"""Official pipelines end as Kubeflow says that they do, run by an unmodified client on a whole host.

A fast part of those with an expectation runs whenever ZEROFLOW_CONTRACTS names the contracts; all of them, and those
whose end we have decided ourselves, with ZEROFLOW_ALL_PIPELINES=1. What needs a network is skipped, saying so.
"""

import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml

DEADLINE_S = 120.0
http = urllib3.PoolManager(retries=False, timeout=60.0)
ALL = os.environ.get("ZEROFLOW_ALL_PIPELINES") == "1"

FAST = (
    "add_numbers", "artifact_cache", "container_component_with_no_inputs", "flip_coin", "parameter_oneof",
    "pipeline_with_importer_workspace", "pipeline_with_pod_metadata", "pipeline_with_secret_as_env",
    "pipeline_with_nested_conditions_yaml", "pipeline_with_params_containing_format", "pipeline_with_exit_handler",
    "placeholder_with_if_placeholder_none_input_value", "local_execution_pipeline_with_ignore_upstream_failure",
    "local_execution_pipeline_with_oneof", "local_execution_pipeline_with_retry", "pipeline_with_collected_artifacts",
    "parallel_for_secret", "pipeline_in_pipeline_complex",
)  # fmt: skip

DECIDED = {
    "kubernetes_platform/config_map_as_env.yaml": "SUCCEEDED",
    "kubernetes_platform/field_path_as_env.yaml": "SUCCEEDED",
    "kubernetes_platform/node_selector.yaml": "SUCCEEDED",
    "kubernetes_platform/nodeaffinity.yaml": "SUCCEEDED",
    "kubernetes_platform/toleration.yaml": "SUCCEEDED",
    "valid/artifacts_complex.yaml": "SUCCEEDED",
    "valid/collected_artifacts.yaml": "SUCCEEDED",
    # The status of a task is given by an exit handler, and here is none (kubeflow/pipelines#12033).
    "valid/component_with_task_final_status_GH-12033.yaml": "FAILED",
    "valid/conditional_producer_and_consumers.yaml": "SUCCEEDED",
    "valid/if_elif_else_with_oneof_parameters.yaml": "SUCCEEDED",
    "valid/parameters_complex.yaml": "SUCCEEDED",
    "valid/pipeline_as_exit_task.yaml": "FAILED",  # its guarded task fails on purpose
    "valid/pipeline_producer_consumer.yaml": "SUCCEEDED",
    "valid/pipeline_with_dynamic_importer_metadata.yaml": "SUCCEEDED",
    "valid/pipeline_with_loops_and_conditions.yaml": "SUCCEEDED",
    "valid/pipeline_with_nested_loops.yaml": "SUCCEEDED",
    "valid/pipeline_with_only_display_name.yaml": "SUCCEEDED",
    "valid/pipeline_with_task_final_status.yaml": "FAILED",  # its guarded task fails on purpose
    "valid/pipeline_with_utils.yaml": "SUCCEEDED",
    "valid/preprocess.yaml": "SUCCEEDED",
    "valid/take_nap_compiled.yaml": "SUCCEEDED",
}
"""What upstream says nothing about, and what the semantics demand."""


def _entries() -> list[dict[str, Any]]:
    folder = os.environ.get("ZEROFLOW_CONTRACTS")
    if not folder:
        return []
    entries: list[dict[str, Any]] = json.loads((Path(folder) / "kfp/pipelines/index.json").read_text())["pipelines"]
    for entry in entries:
        entry["expected_state"] = entry["expected_state"] or DECIDED.get(entry["file"])
    chosen = [entry for entry in entries if entry["expected_state"]]
    return chosen if ALL else [entry for entry in chosen if Path(entry["file"]).stem in FAST]


ENTRIES = _entries()


@pytest.fixture(scope="module")
def host(contracts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A host with the Secrets and ConfigMaps that the official pipelines expect; yields its URL."""
    home = tmp_path_factory.mktemp("official")
    command = [sys.executable, "-m", "zeroflow", "up", "--home", str(home), "--port", "0"]
    with (home / "host.log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("zeroflow is up"), (home / "host.log").read_text()
    url = str(json.loads((home / "host.json").read_text())["url"])
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "my-cm"}, "data": {"foo": "bar"}}
    secrets = yaml.safe_load_all((contracts / "kfp/test-secrets.yaml").read_text())
    for obj in (config_map, *(found for found in secrets if found["kind"] == "Secret")):
        path = f"{url}/api/v1/namespaces/default/{obj['kind'].lower()}s"
        assert http.request("POST", path, json=obj).status == 201
    yield url
    process.terminate()
    process.communicate(timeout=60)


@pytest.fixture(scope="module")
def runs(host: str, contracts: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Every pipeline, submitted by the official client before the first of them is waited for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from kfp import Client
    client, submitted = Client(host=host), {}
    for entry in ENTRIES:
        if entry["pip"]:
            continue
        folder = tmp_path_factory.mktemp("args")
        arguments = {
            name: value.replace("{tmp}", str(folder)) if isinstance(value, str) else value
            for name, value in {**_any(entry["required_inputs"]), **(entry["args"] or {})}.items()
        }
        path = contracts / "kfp/pipelines" / entry["file"]
        run = client.create_run_from_pipeline_package(str(path), arguments=arguments)
        submitted[entry["file"]] = {"id": run.run_id, "arguments": arguments}
    return submitted


def _any(inputs: dict[str, str]) -> dict[str, Any]:
    """Return a value of its type for each required input."""
    values = {"STRING": "text", "NUMBER_INTEGER": 3, "NUMBER_DOUBLE": 1.5, "BOOLEAN": True, "LIST": [1], "STRUCT": {}}
    return {name: values[kind] for name, kind in inputs.items()}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: Path(entry["file"]).stem)
def test_an_official_pipeline_ends_as_expected(
    entry: dict[str, Any], runs: dict[str, dict[str, Any]], host: str
) -> None:
    if entry["pip"]:
        pytest.skip(f"{entry['file']} installs {', '.join(entry['pip'])} from a package index")
    submitted = runs[entry["file"]]
    path = f"{host}/apis/v2beta1/runs/{submitted['id']}"
    deadline = time.monotonic() + DEADLINE_S
    while (run := http.request("GET", path).json())["state"] not in ("SUCCEEDED", "FAILED", "CANCELED"):
        assert time.monotonic() < deadline, run
        time.sleep(0.05)
    assert run["state"] == entry["expected_state"], run.get("error")
    tasks = http.request("GET", f"{path}/tasks").json()["tasks"]
    # Where upstream's test names an output of a step, not of the pipeline, it stands among the steps' outputs.
    given = [run["outputs"]["parameters"], *(task["outputs"]["parameters"] for task in tasks)]
    for name, expected in (entry["expected_outputs"] or {}).items():
        any_of = expected.get("any_of", [expected]) if isinstance(expected, dict) else [expected]
        assert any(values.get(name) in any_of for values in given), (name, given)
    if marker := submitted["arguments"].get("marker_path"):
        assert "cleanup_ran" in Path(marker).read_text()


@pytest.mark.skipif(not ENTRIES, reason="ZEROFLOW_CONTRACTS does not name the contracts")
def test_exit_tasks_of_official_pipelines_ran(runs: dict[str, dict[str, Any]], host: str) -> None:
    submitted = runs["failing/pipeline_with_exit_handler.yaml"]
    tasks = http.request("GET", f"{host}/apis/v2beta1/runs/{submitted['id']}/tasks").json()["tasks"]
    states = {task["name"]: task["state"] for task in tasks}
    assert (states["exit-handler-1"], states["print-op"]) == ("FAILED", "SUCCEEDED")
