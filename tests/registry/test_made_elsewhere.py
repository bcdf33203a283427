"""Models that Experiments and training jobs make, and the versions that follow from their events."""

import hashlib
import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from registry.test_model_produced import name_for, plain, versions_of

RESOURCE = "dev.knative.apiserver.resource.update"


@pytest.fixture
def stored(registry: Any) -> tuple[str, str]:
    """Put a model into the local store; return its location and its hash."""
    key = f"trials/{uuid.uuid4().hex}/model.onnx"
    path = Path(registry.store) / "models" / key
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x08\x07not a whole graph")
    return f"store://models/{key}", hashlib.sha256(path.read_bytes()).hexdigest()


def experiment(name: str, uri: str, **changes: Any) -> dict[str, Any]:
    uid = str(uuid.uuid4())
    return {
        "namespace": "default",
        "experiment": f"tune-{uid[:8]}",
        "experiment_uid": uid,
        "objective": {"metric": "auc", "type": "maximize", "value": 0.93},
        "trial": {
            "name": f"tune-{uid[:8]}-x7",
            "uid": str(uuid.uuid4()),
            "parameters": {"lr": "0.01"},
            "metrics": {"auc": 0.93, "loss": 0.2},
        },
        "register_as": name,
        "model": {"uri": uri, "format_name": "onnx", "format_version": "1"},
        "inputs": [{"name": "train", "uri": f"store://data/{uid}"}],
        **changes,
    }


def deliver(registry: Any, data: dict[str, Any]) -> Any:
    return registry.deliver(data, f"{data['experiment_uid']}.succeeded", event_type="dev.zeroflow.experiment.succeeded")


def test_the_best_trial_becomes_a_version_once(
    registry: Any, request: pytest.FixtureRequest, stored: tuple[str, str]
) -> None:
    name, (uri, sha256) = name_for(request), stored
    data = experiment(name, uri)
    for _ in range(2):
        assert deliver(registry, data).status == 204
    (version,) = versions_of(registry, name)
    told = plain(version["customProperties"])
    assert told["trial"] == data["trial"]["name"]
    assert told["parameter.lr"] == "0.01"
    assert told["sha256"] == sha256
    artifacts = registry.ok("GET", f"model_versions/{version['id']}/artifacts")["items"]
    model = next(one for one in artifacts if one["artifactType"] == "model-artifact")
    assert (model["modelSourceKind"], model["modelFormatName"], model["uri"]) == ("katib", "onnx", uri)
    values = {one["name"]: one["value"] for one in artifacts if one["artifactType"] in ("metric", "parameter")}
    assert values == {"auc": 0.93, "loss": 0.2, "lr": "0.01"}
    graph = registry.raw("GET", "/api/model_registry/zeroflow/lineage", query={"of": f"{name}/1"}).body
    kinds = {node["node"].partition(":")[0] for node in graph["nodes"]}
    assert {"artifact", "trial", "experiment", "model_version"} <= kinds
    from_data = registry.raw("GET", "/api/model_registry/zeroflow/lineage", query={"of": data["inputs"][0]["uri"]})
    assert f"model_version:{version['id']}" in [node["node"] for node in from_data.body["nodes"]]


@pytest.mark.parametrize("change", [{"register_as": ""}, {"model": None}, {"model": {}}], ids=str)
def test_an_experiment_that_asks_for_nothing_leaves_nothing(
    registry: Any, request: pytest.FixtureRequest, change: dict[str, Any]
) -> None:
    name = name_for(request)
    assert deliver(registry, experiment(name, "store://models/x") | change).status == 204
    assert registry.call("GET", "registered_model", query={"name": name}).status == 404


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": {"uri": "store://models/nothing-here"}}, "nothing at store://models/nothing-here"),
        ({"model": {"uri": "ftp://x/y"}}, "expected a URI"),
        ({"trial": {"name": "t", "metrics": {"auc": "high"}}}, "metrics.auc"),
        ({"trial": {}}, "trial.name"),
        ({"objective": {"metric": "auc", "value": "x"}}, "objective.value"),
    ],
    ids=str,
)
def test_what_cannot_be_registered_is_refused_by_name(
    registry: Any, request: pytest.FixtureRequest, change: dict[str, Any], words: str
) -> None:
    name = name_for(request)
    answer = deliver(registry, experiment(name, "store://models/x") | change)
    assert answer.status == 400
    assert words in answer.body.decode()
    assert registry.call("GET", "registered_model", query={"name": name}).status == 404


def test_bytes_that_are_not_those_that_were_told_are_refused(
    registry: Any, request: pytest.FixtureRequest, stored: tuple[str, str]
) -> None:
    answer = deliver(registry, experiment(name_for(request), stored[0], model={"uri": stored[0], "sha256": "ab" * 32}))
    assert answer.status == 400
    assert stored[1] in answer.body.decode()


@pytest.mark.parametrize(
    ("kind", "condition"), [("Job", "Complete"), ("TrainJob", "Complete"), ("PyTorchJob", "Succeeded")]
)
def test_a_finished_training_job_becomes_a_version_once(
    registry: Any, stored: tuple[str, str], kind: str, condition: str
) -> None:
    name, (uri, sha256) = f"trained-{uuid.uuid4().hex}", stored
    job = {
        "kind": kind,
        "metadata": {
            "namespace": "default",
            "name": "train",
            "uid": str(uuid.uuid4()),
            "labels": {"zeroflow.dev/register-as": name},
            "annotations": {
                "zeroflow.dev/model-uri": uri,
                "zeroflow.dev/metrics": json.dumps({"auc": 0.8}),
                "zeroflow.dev/inputs": "s3://data/a, s3://data/b",
            },
        },
        "status": {"conditions": [{"type": condition, "status": "False"}]},
    }
    assert registry.deliver(job, str(uuid.uuid4()), event_type=RESOURCE).status == 204
    assert registry.call("GET", "registered_model", query={"name": name}).status == 404
    job["status"] = {"conditions": [{"type": condition, "status": "True"}]}
    for _ in range(3):  # each change of the object is an event of its own
        assert registry.deliver(job, str(uuid.uuid4()), event_type=RESOURCE).status == 204
    (version,) = versions_of(registry, name)
    told = plain(version["customProperties"])
    assert told["sha256"] == sha256
    assert told["training_job"] == "train"
    assert told["auc"] == 0.8
    assert told["input.input-1"] == "s3://data/b"


def test_a_job_that_does_not_say_where_its_model_is_gets_told(registry: Any) -> None:
    job = {
        "kind": "Job",
        "metadata": {
            "namespace": "default",
            "name": "train",
            "uid": "u",
            "labels": {"zeroflow.dev/register-as": "m"},
        },
        "status": {"conditions": [{"type": "Complete", "status": "True"}]},
    }
    answer = registry.deliver(job, str(uuid.uuid4()), event_type=RESOURCE)
    assert answer.status == 400
    assert "zeroflow.dev/model-uri" in answer.body.decode()
