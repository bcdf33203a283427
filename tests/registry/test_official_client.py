"""The unmodified official client, in the releases that speak v1 and v1alpha3."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent / "official_client.py"


@pytest.fixture(scope="module", params=["0.3.18", "0.3.11"], ids=["v1", "v1alpha3"])
def seen(request: pytest.FixtureRequest, registry: Any, client_python: Callable[[str], str]) -> dict[str, Any]:
    """Return what the script saw through one release of the client."""
    name = f"official % client's_{request.param}"
    foreign = registry.version()["id"]
    for artifact in ({"artifactType": "metric", "value": 0.5}, {"artifactType": "parameter", "value": "x"}):
        registry.ok("POST", f"model_versions/{foreign}/artifacts", {"name": artifact["artifactType"], **artifact})
    ran = subprocess.run(
        [client_python(request.param), str(SCRIPT), registry.url, name, foreign],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    document: dict[str, Any] = json.loads(ran.stdout)
    return document


def test_registers_a_model_with_metadata_of_every_scalar_kind(seen: dict[str, Any]) -> None:
    assert seen["same_model"]
    assert seen["version"] == {
        "author": "Ada",
        "state": "LIVE",
        "properties": {"accuracy": 0.93, "epochs": 500, "stage": "tüst", "ok": True, "label": ""},
    }


def test_reads_the_model_artifact_back(seen: dict[str, Any]) -> None:
    artifact = seen["artifact"]
    assert artifact["model_format_name"] == "onnx"
    assert artifact["storage_path"] == "path"
    assert artifact["model_source_class"] == "pipelinerun"
    assert artifact["model_source_name"] == "a run"
    assert artifact["state"] == "UNKNOWN"
    assert seen["artifacts"] == ["ModelArtifact"]


def test_reads_metrics_and_parameters_that_others_wrote_without_step_and_type(seen: dict[str, Any]) -> None:
    metric, parameter = seen["of_others"]
    assert (metric["value"], metric["step"]) == (0.5, 0)
    assert (parameter["value"], parameter["parameter_type"]) == ("x", "string")


def test_sees_that_a_version_is_there_already(seen: dict[str, Any]) -> None:
    assert seen["duplicate"] == "Version 1.0 already exists"


def test_updates_models_versions_and_artifacts(seen: dict[str, Any]) -> None:
    assert seen["updated"]["description"] == "described"
    assert seen["updated"]["custom_properties"] == {"team": "blue"}
    assert seen["artifact_uri"] == "s3://bucket/elsewhere"
    assert seen["version_description"] == ""


def test_pages_end_in_every_order(seen: dict[str, Any]) -> None:
    in_order = ["1.0", "2.0", "3", "4", "5", "6", "7"]
    assert seen["pages"] == {
        "ascending": in_order,
        "descending": in_order[::-1],
        "updated": ["2.0", "1.0", "3", "4", "5", "6", "7"],
        "exact": in_order,
    }
    assert seen["listed"]


def test_gets_none_for_a_model_that_is_not_there(seen: dict[str, Any]) -> None:
    assert seen["missing_model"] is None
