"""Official pipelines end as Kubeflow says that they do, run by an unmodified client on a whole host.

A fast part runs whenever ZEROFLOW_CONTRACTS names the contracts, all of them with ZEROFLOW_ALL_PIPELINES=1. What
needs a package index is skipped where there is none, saying so. REFUSED: it is not taken, with the reason.
"""

import functools
import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import urllib3

DEADLINE_S = 120.0
http = urllib3.PoolManager(retries=False, timeout=60.0)
ALL = os.environ.get("ZEROFLOW_ALL_PIPELINES") == "1"

FAST = (
    "add_numbers", "artifact_cache", "container_component_with_no_inputs", "flip_coin", "parameter_oneof",
    "pipeline_with_importer_workspace", "pipeline_with_pod_metadata", "pipeline_with_secret_as_env",
    "pipeline_with_nested_conditions_yaml", "pipeline_with_params_containing_format", "pipeline_with_exit_handler",
    "placeholder_with_if_placeholder_none_input_value", "local_execution_pipeline_with_ignore_upstream_failure",
    "local_execution_pipeline_with_oneof", "local_execution_pipeline_with_retry", "pipeline_with_collected_artifacts",
    "parallel_for_secret", "pipeline_in_pipeline_complex", "pipeline_with_volume", "init_container",
    "component_with_metadata_fields", "pipeline_with_string_machine_fields_pipeline_input",
)  # fmt: skip

REFUSED = "REFUSED"

DECIDED = {
    # Whose volumes, Secrets and ConfigMaps are there.
    "backend/pvc-mount.yaml": "SUCCEEDED",
    "kubernetes_platform/config_map_as_env.yaml": "SUCCEEDED",
    "kubernetes_platform/create_mount_delete_existing_pvc.yaml": "SUCCEEDED",
    "kubernetes_platform/create_mount_delete_existing_pvc_from_task_output.yaml": "SUCCEEDED",
    "kubernetes_platform/empty_dir_mounts.yaml": "SUCCEEDED",
    "kubernetes_platform/field_path_as_env.yaml": "SUCCEEDED",
    "kubernetes_platform/general_ephemeral_volume.yaml": "SUCCEEDED",
    "kubernetes_platform/init_container.yaml": "SUCCEEDED",
    "valid/pipeline_with_secret_as_volume.yaml": "SUCCEEDED",
    "valid/pipeline_with_volume.yaml": "SUCCEEDED",
    # Its claim is to be made from VolumeSnapshot `my-snap`, which nobody has; on a cluster the claim stays unbound.
    "kubernetes_platform/create_mount_delete_dynamic_pvc.yaml": "FAILED",
    # What concerns nodes is carried to where there are nodes to choose from.
    "kubernetes_platform/node_selector.yaml": "SUCCEEDED",
    "kubernetes_platform/nodeaffinity.yaml": "SUCCEEDED",
    "kubernetes_platform/toleration.yaml": "SUCCEEDED",
    # It asks for an accelerator that no node has: on a cluster it stays pending for ever.
    "valid/pipeline_with_string_machine_fields_pipeline_input.yaml": REFUSED,
    "valid/artifacts_complex.yaml": "SUCCEEDED",
    # Its container reads what `uri` names with gs:// replaced by /gcs/: on anything but a store of Google's there is no
    # such file.
    "valid/artifacts_simple.yaml": "FAILED",
    "valid/collected_artifacts.yaml": "SUCCEEDED",
    "valid/component_with_metadata_fields.yaml": "SUCCEEDED",
    # The status of a task is given by an exit handler, and here is none (kubeflow/pipelines#12033).
    "valid/component_with_task_final_status_GH-12033.yaml": "FAILED",
    "valid/conditional_producer_and_consumers.yaml": "SUCCEEDED",
    "valid/env-var.yaml": "FAILED",  # raises without a variable that only the installation of its test sets
    "valid/if_elif_else_with_oneof_parameters.yaml": "SUCCEEDED",
    "valid/log_streaming_compiled.yaml": "SUCCEEDED",
    "valid/notebook_component_mixed.yaml": "SUCCEEDED",
    "valid/parameters_complex.yaml": "SUCCEEDED",
    "valid/pipeline_as_exit_task.yaml": "FAILED",  # its guarded task fails on purpose
    "valid/pipeline_producer_consumer.yaml": "SUCCEEDED",
    "valid/pipeline_with_dynamic_importer_metadata.yaml": "SUCCEEDED",
    # Reads bytes at gs://, which is a store by reference here: it has the URI and the metadata, not the file.
    "valid/pipeline_with_importer.yaml": "FAILED",
    "valid/pythonic_artifact_with_single_return.yaml": "FAILED",
    "valid/pipeline_with_loops_and_conditions.yaml": "SUCCEEDED",
    "valid/pipeline_with_nested_loops.yaml": "SUCCEEDED",
    "valid/pipeline_with_only_display_name.yaml": "SUCCEEDED",
    "valid/pipeline_with_task_final_status.yaml": "FAILED",  # its guarded task fails on purpose
    "valid/pipeline_with_utils.yaml": "SUCCEEDED",
    "valid/preprocess.yaml": "SUCCEEDED",
    "valid/take_nap_compiled.yaml": "SUCCEEDED",
    "valid/take_nap_pipeline_root_compiled.yaml": "SUCCEEDED",
}
"""What upstream says nothing about, and what the semantics demand."""

ARGUMENTS: dict[str, dict[str, Any]] = {
    "backend/pvc-mount.yaml": {"pvc_name": "given-claim"},
    "valid/component_with_metadata_fields.yaml": {
        "dataset_a": "store://given/a.txt",
        "dataset_b": {"uri": "store://given/b.txt", "metadata": {"rows": 2}},
    },
}
"""What must be given, where any value of the type does not do."""


def _entries() -> list[dict[str, Any]]:
    folder = os.environ.get("ZEROFLOW_CONTRACTS")
    if not folder:
        return []
    entries: list[dict[str, Any]] = json.loads((Path(folder) / "kfp/pipelines/index.json").read_text())["pipelines"]
    for entry in entries:
        entry["expected_state"] = entry["expected_state"] or DECIDED[entry["file"]]
    return entries if ALL else [entry for entry in entries if Path(entry["file"]).stem in FAST]


ENTRIES = _entries()


@pytest.fixture(scope="module")
def host(official_host: tuple[str, Path]) -> str:
    """The URL of the host."""
    return official_host[0]


@pytest.fixture(scope="module")
def runs(host: str, contracts: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Every pipeline, submitted by the official client before the first of them is waited for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from kfp import Client
        from kfp_server_api import ApiException
    client, submitted = Client(host=host), {}
    for entry in ENTRIES:
        if entry["pip"] and not _reachable():
            continue
        folder = tmp_path_factory.mktemp("args")
        arguments = {
            name: value.replace("{tmp}", str(folder)) if isinstance(value, str) else value
            for name, value in {
                **_any(entry["required_inputs"]),
                **(entry["args"] or {}),
                **ARGUMENTS.get(entry["file"], {}),
            }.items()
        }
        path = contracts / "kfp/pipelines" / entry["file"]
        try:
            run = client.create_run_from_pipeline_package(str(path), arguments=arguments)
        except ApiException as error:
            submitted[entry["file"]] = {"refused": json.loads(error.body)["message"], "arguments": arguments}
        else:
            submitted[entry["file"]] = {"id": run.run_id, "arguments": arguments}
    return submitted


@functools.cache
def _reachable() -> bool:
    """Say whether steps can install packages."""
    try:
        return http.request("GET", "https://pypi.org/simple/dill/", timeout=20.0).status == 200
    except urllib3.exceptions.HTTPError:
        return False


def _any(inputs: dict[str, str]) -> dict[str, Any]:
    """Return a value of its type for each required input."""
    values = {"STRING": "text", "NUMBER_INTEGER": 3, "NUMBER_DOUBLE": 1.5, "BOOLEAN": True, "LIST": [1], "STRUCT": {}}
    return {name: values[kind] for name, kind in inputs.items()}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: Path(entry["file"]).stem)
def test_an_official_pipeline_ends_as_expected(
    entry: dict[str, Any], runs: dict[str, dict[str, Any]], host: str
) -> None:
    if entry["pip"] and not _reachable():
        pytest.skip(f"{entry['file']} installs {', '.join(entry['pip'])} from a package index")
    submitted = runs[entry["file"]]
    if entry["expected_state"] == REFUSED or "refused" in submitted:
        assert entry["expected_state"] == REFUSED, submitted
        assert submitted.get("refused"), submitted
        return
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
