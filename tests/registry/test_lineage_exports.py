"""The lineage graph as OpenLineage events and as a CycloneDX ML-BOM, checked by their own libraries."""

import json
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from environments import python_of
from registry.test_lineage import LINEAGE, Chain
from zeroflow.cli.main import app

CHECKS = Path(__file__).with_name("lineage_checks.py")
LIBRARIES = ("openlineage-python==1.54.0", "cyclonedx-python-lib[json-validation]==11.12.0")


@pytest.fixture
def chain(registry: Any) -> Chain:
    """Return data -> prepare -> rows -> train -> model -> version -> revision -> drift."""
    made = Chain(registry).register()
    revision = f"{made.name}-predictor-00001"
    made.serve(latestCreatedRevision=revision, latestReadyRevision=revision)
    drift = {"namespace": "default", "inferenceservice": made.name, "revision": revision}
    assert registry.deliver(drift, str(uuid.uuid4()), event_type="dev.zeroflow.drift.detected").status == 204
    return made


def export(chain: Chain, form: str) -> str:
    answer = chain.registry._pool.request(
        "GET", f"{chain.registry.url}{LINEAGE}", fields={"of": chain.uri("data"), "format": form}
    )
    assert answer.status == 200, answer.data
    return str(answer.data.decode())


def check(form: str, text: str) -> None:
    ran = subprocess.run(
        [python_of(*LIBRARIES), str(CHECKS), form], input=text, capture_output=True, text=True, timeout=100
    )
    assert ran.returncode == 0, ran.stderr


def test_open_lineage_events_are_the_official_librarys(chain: Chain) -> None:
    text = export(chain, "openlineage")
    check("openlineage", text)
    events = [json.loads(line) for line in text.splitlines()]
    kinds = [event["job"]["facets"]["jobType"]["jobType"] for event in events]
    assert sorted(kinds) == ["DEPLOYMENT", "DEPLOYMENT", "MONITORING", "REGISTRATION", "TASK", "TASK"]
    train = next(event for event in events if event["job"]["name"].endswith("train"))
    (rows,), (model,) = train["inputs"], train["outputs"]
    assert (rows["namespace"], rows["name"]) == ("store://artifacts", f"{chain.run}/rows")
    assert model["facets"]["version"]["datasetVersion"] == "ab" * 32
    assert train["run"]["facets"]["parent"]["run"]["runId"] == chain.run
    register = next(event for event in events if event["job"]["name"].startswith("registration"))
    assert register["outputs"][0]["name"] == f"{chain.name}/1"
    assert export(chain, "openlineage") == text


def test_ml_bom_is_valid_by_the_official_schema(registry: Any, chain: Chain) -> None:
    model = registry.ok("GET", "registered_model", query={"name": chain.name})
    version = registry.ok("GET", f"registered_models/{model['id']}/versions")["items"][0]
    path = f"model_versions/{version['id']}/artifacts"
    registry.ok("POST", path, {"artifactType": "metric", "name": "auc", "value": 0.9})
    signature = json.dumps([{"name": "x", "datatype": "FP32", "shape": [-1, 4]}])
    told = version["customProperties"] | {
        "signature.inputs": {"metadataType": "MetadataStringValue", "string_value": signature},
        "code.repository": {"metadataType": "MetadataStringValue", "string_value": "https://git.example/x"},
    }
    registry.ok("PATCH", f"model_versions/{version['id']}", {"customProperties": told, "author": "Ada"})
    text = export(chain, "cyclonedx")
    check("cyclonedx", text)
    bom = json.loads(text)
    made = next(one for one in bom["components"] if one["type"] == "machine-learning-model")
    assert (made["name"], made["version"], made["authors"]) == (chain.name, "1", [{"name": "Ada"}])
    assert made["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    card = made["modelCard"]
    assert card["quantitativeAnalysis"]["performanceMetrics"] == [{"type": "auc", "value": "0.9"}]
    assert card["modelParameters"]["inputs"] == [{"format": "x FP32 [-1, 4]"}]
    data = {one["bom-ref"] for one in bom["components"] if one["type"] == "data"}
    assert data == {f"artifact:{chain.ids['data']}", f"artifact:{chain.ids['rows']}"}
    depends = {one["ref"]: one.get("dependsOn", []) for one in bom["dependencies"]}
    assert set(depends[made["bom-ref"]]) == data


@pytest.mark.parametrize("form", ["openlineage", "cyclonedx"])
def test_the_command_prints_either(chain: Chain, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setenv("ZEROFLOW_URL", chain.registry.url)
    ran = CliRunner().invoke(app, ["lineage", f"{chain.name}/1", "-o", form])
    assert ran.exit_code == 0, ran.output
    check(form, ran.stdout)
    assert CliRunner().invoke(app, ["lineage", chain.name, "-o", "xml"]).exit_code == 2
