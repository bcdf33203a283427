"""`zeroflow models` against a running registry."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from zeroflow.cli import models


@pytest.fixture
def run(registry: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("ZEROFLOW_URL", registry.url)
    return lambda *arguments: CliRunner().invoke(models.app, arguments)


def test_lists_models_with_their_newest_version(registry: Any, run: Any) -> None:
    model = registry.model(owner="Ada")
    for name in ("1", "2"):
        registry.version(model, name=name)
    listed = run("list")
    assert listed.exit_code == 0, listed.output
    (line,) = [line for line in listed.stdout.splitlines() if model["name"] in line]
    assert line.split()[1:4] == ["2", "LIVE", "Ada"]
    found = {one["name"]: one["newestVersion"] for one in json.loads(run("list", "-o", "json").stdout)}
    assert found[model["name"]] == "2"


def test_shows_a_model_and_one_of_its_versions(registry: Any, run: Any) -> None:
    model = registry.model(description="delays")
    property_ = {"metadataType": "MetadataStringValue", "string_value": "run-7"}
    version = registry.version(model, name="1", customProperties={"run_id": property_})
    registry.artifact(version, uri="s3://b/model", modelFormatName="onnx")
    registry.ok(
        "POST", f"model_versions/{version['id']}/artifacts", {"artifactType": "metric", "name": "auc", "value": 0.7}
    )
    shown = run("show", model["name"])
    assert "delays" in shown.stdout
    assert "run-7" in shown.stdout
    shown = run("show", model["name"], "1")
    assert "model-artifact  s3://b/model  onnx" in shown.stdout
    assert ["auc", "0.7"] in [line.split() for line in shown.stdout.splitlines()]
    document = json.loads(run("show", model["name"], "1", "-o", "json").stdout)
    assert [one["artifactType"] for one in document["artifacts"]] == ["model-artifact", "metric"]


def test_says_in_one_line_what_is_not_there(registry: Any, run: Any) -> None:
    missing = run("show", "no such model")
    assert missing.exit_code == 1
    assert missing.stderr.count("\n") == 1
    assert "no registered model found for name='no such model'" in missing.stderr


def test_says_in_one_line_that_no_host_answers(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEROFLOW_URL", "http://127.0.0.1:1")
    failed = run("list")
    assert failed.exit_code == 1
    assert failed.stderr.count("\n") == 1
    assert "nothing answers at http://127.0.0.1:1" in failed.stderr
