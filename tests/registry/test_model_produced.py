"""The event that a model was made, and the version that follows from it."""

import json
import threading
import uuid
from typing import Any

import pytest
from sqlalchemy import select

from zeroflow.metadata import Database
from zeroflow.metadata.artifacts import Artifact
from zeroflow.metadata.registry import LineageEdge

SHA = "ab" * 32


def produced(register_as: str, /, **changes: Any) -> dict[str, Any]:
    artifact = str(uuid.uuid4())
    return {
        "artifact_id": artifact,
        "name": "model",
        "uri": f"store://artifacts/default/delays/{artifact}/train/model",
        "sha256": SHA,
        "size_bytes": 5_000_000_000,
        "namespace": "default",
        "register_as": register_as,
        "metadata": {
            "register_as": register_as,
            "framework": "sklearn",
            "framework_version": "1.5",
            "trees": 100,
            "l": [1],
        },
        "run_id": "run-1",
        "run_name": "delays of March",
        "pipeline_name": "delays",
        "task_name": "train",
        "metrics": {"auc": 0.71, "sha256": 5, "rows": 1000},
        "inputs": [
            {
                "artifact_id": f"d-{artifact}",
                "name": "data",
                "type": "system.Dataset",
                "uri": "s3://b/d",
                "sha256": SHA,
            },
            {
                "artifact_id": f"w-{artifact}",
                "name": "data",
                "type": "system.Dataset",
                "uri": "s3://b/w",
                "sha256": None,
            },
        ],
        **changes,
    }


def name_for(request: pytest.FixtureRequest) -> str:
    return f"{request.node.name}-{uuid.uuid4().hex[:8]}"


def versions_of(registry: Any, name: str) -> list[dict[str, Any]]:
    model = registry.ok("GET", "registered_model", query={"name": name})
    items: list[dict[str, Any]] = registry.ok("GET", f"registered_models/{model['id']}/versions")["items"]
    return items


def plain(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        name: next(value for key, value in prop.items() if key.endswith("_value")) for name, prop in properties.items()
    }


def test_makes_model_version_artifact_and_metrics(registry: Any, request: pytest.FixtureRequest) -> None:
    name = name_for(request)
    data = produced(name)
    answer = registry.deliver(data, f"{data['artifact_id']}.produced", reply=True)
    assert answer.status == 200, answer
    model = registry.ok("GET", "registered_model", query={"name": name})
    assert plain(model["customProperties"]) == {"namespace": "default"}
    (version,) = versions_of(registry, name)
    assert version["name"] == "1"
    assert plain(version["customProperties"]) == {
        "artifact_id": data["artifact_id"],
        "namespace": "default",
        "sha256": SHA,
        "size_bytes": 5e9,
        "run_id": "run-1",
        "run_name": "delays of March",
        "pipeline_name": "delays",
        "task_name": "train",
        "input.data": "s3://b/d",
        "input.data.sha256": SHA,
        "input.data.1": "s3://b/w",
        "auc": 0.71,
        "rows": 1000,
    }
    artifacts = registry.ok("GET", f"model_versions/{version['id']}/artifacts")["items"]
    artifact, metrics = artifacts[0], artifacts[1:]
    assert {metric["name"]: metric["value"] for metric in metrics} == data["metrics"]
    assert {metric["artifactType"] for metric in metrics} == {"metric"}
    expected = {
        "name": "model",
        "uri": data["uri"],
        "modelFormatName": "sklearn",
        "modelFormatVersion": "1.5",
        "modelSourceKind": "kfp",
        "modelSourceClass": "pipelinerun",
        "modelSourceGroup": "default",
        "modelSourceId": "run-1",
        "modelSourceName": "delays of March",
        "state": "LIVE",
    }
    assert expected.items() <= artifact.items()
    assert plain(artifact["customProperties"]) == {
        "artifact_id": data["artifact_id"],
        "namespace": "default",
        "sha256": SHA,
        "size_bytes": 5e9,
        "framework": "sklearn",
        "framework_version": "1.5",
        "trees": "100",
    }
    assert answer.headers["ce-type"] == "dev.zeroflow.modelversion.registered"
    assert answer.body == {
        "registered_model_id": model["id"],
        "registered_model": name,
        "version_id": version["id"],
        "version": "1",
        "model_artifact_id": artifact["id"],
        "uri": data["uri"],
        "sha256": SHA,
        "model_format_name": "sklearn",
        "model_format_version": "1.5",
        "namespace": "default",
        "run_id": "run-1",
        "metrics": data["metrics"],
        "metadata": data["metadata"],
    }


def test_lineage_leads_from_data_to_version(registry: Any, request: pytest.FixtureRequest) -> None:
    name = name_for(request)
    data = produced(name)
    registry.deliver(data, "lineage " + name)
    (version,) = versions_of(registry, name)
    database = Database(registry.database_url)
    with database.reading() as session:
        edges = session.scalars(select(LineageEdge).where(LineageEdge.cause_id == "lineage " + name)).all()
    database.close()
    artifact, task = data["artifact_id"], "run-1/train"
    found = {(edge.kind, edge.from_type, edge.from_id, edge.to_type, edge.to_id) for edge in edges}
    # The edge from run to task is the first such event's: all tests' events tell of one run.
    assert found - {("contains", "run", "run-1", "task", task)} == {
        ("registered_as", "artifact", artifact, "model_version", version["id"]),
        ("wrote", "task", task, "artifact", artifact),
        ("read", "artifact", f"d-{artifact}", "task", task),
        ("read", "artifact", f"w-{artifact}", "task", task),
    }
    assert {edge.cause_source for edge in edges} == {"/zeroflow/functions/pipeline"}


def test_delivered_twice_is_registered_once_and_answered_the_same(
    registry: Any, request: pytest.FixtureRequest
) -> None:
    name = name_for(request)
    data = produced(name)
    first = registry.deliver(data, "twice " + name, reply=True)
    second = registry.deliver(data, "twice " + name, reply=True)
    assert (first.status, first.body, first.headers["ce-id"]) == (second.status, second.body, second.headers["ce-id"])
    assert len(versions_of(registry, name)) == 1


def test_same_artifact_under_another_event_id_is_registered_once(registry: Any, request: pytest.FixtureRequest) -> None:
    name = name_for(request)
    data = produced(name)
    registry.deliver(data, "a " + name)
    assert registry.deliver(data, "b " + name, reply=True).status == 204
    assert len(versions_of(registry, name)) == 1


def test_versions_count_on_past_what_clients_made(registry: Any, request: pytest.FixtureRequest) -> None:
    name = name_for(request)
    registry.deliver(produced(name), "1 " + name)
    model = registry.ok("GET", "registered_model", query={"name": name})
    registry.version(model, name="7")
    registry.version(model, name="not a number")
    stated = produced(name)
    stated["metadata"]["version"] = "2024-blue"
    registry.deliver(stated, "2 " + name)
    registry.deliver(produced(name), "3 " + name)
    assert [version["name"] for version in versions_of(registry, name)] == ["1", "7", "not a number", "2024-blue", "8"]


def test_without_reply_the_broker_gets_the_event(registry: Any, request: pytest.FixtureRequest) -> None:
    name = name_for(request)
    assert registry.deliver(produced(name), "broker " + name).status == 204
    sent = [event for event in registry.broker.received if event["data"].get("registered_model") == name]
    assert [event["ce-type"] for event in sent] == ["dev.zeroflow.modelversion.registered"]
    assert sent[0]["ce-subject"] == f"models/{name}/versions/1"


def test_many_at_once_for_one_new_name_make_as_many_versions(registry: Any, request: pytest.FixtureRequest) -> None:
    name, count = name_for(request), 12
    events = [produced(name) for _ in range(count)]
    statuses: list[int] = []

    def deliver(index: int) -> None:
        # every event comes twice, from two threads
        statuses.append(registry.deliver(events[index % count], f"{name} {index % count}").status)

    threads = [threading.Thread(target=deliver, args=(index,)) for index in range(2 * count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [204] * (2 * count)
    versions = versions_of(registry, name)
    assert [version["name"] for version in versions] == [str(number) for number in range(1, count + 1)]
    assert len({plain(version["customProperties"])["artifact_id"] for version in versions}) == count


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"register_as": None}, "register_as"),
        ({"register_as": ""}, "register_as"),
        ({"register_as": "n" * 256}, "register_as"),
        ({"artifact_id": 5}, "artifact_id"),
        ({"uri": ""}, "uri"),
        ({"uri": "s3://" + "x" * 2000}, "uri"),
        ({"run_id": None}, "run_id"),
        ({"namespace": []}, "namespace"),
        ({"size_bytes": -1}, "size_bytes"),
        ({"size_bytes": "1"}, "size_bytes"),
        ({"sha256": 5}, "sha256"),
        ({"metrics": [1]}, "metrics"),
        ({"metrics": {"auc": "high"}}, "metrics.auc"),
        ({"metrics": {"auc": float("nan")}}, "metrics.auc"),
        ({"metrics": {"": 1}}, "metrics"),
        ({"metadata": "x"}, "metadata"),
        ({"inputs": {}}, "inputs"),
        ({"inputs": ["x"]}, "inputs[0]"),
        ({"inputs": [{"artifact_id": "a", "name": "n"}]}, "inputs[0].uri"),
        ({"metadata": {"version": "v" * 255}}, "name"),
        ({"name": "a\0b"}, "NUL"),
    ],
    ids=repr,
)
def test_malformed_event_is_refused_naming_the_field(
    registry: Any, request: pytest.FixtureRequest, changes: dict[str, Any], field: str
) -> None:
    name = f"malformed-{uuid.uuid4()}"
    answer = registry.deliver(produced(name, **changes), "malformed " + name)
    assert answer.status == 400, answer
    assert field in answer.body.decode()
    assert registry.call("GET", "registered_model", query={"name": name}).status == 404, "nothing is half-written"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"register_as": "cut', b"\xff", b'"x"'], ids=["empty", "array", "cut", "bytes", "string"]
)
def test_event_without_an_object_is_refused(registry: Any, body: bytes) -> None:
    assert registry.deliver(body, f"bad {body!r}").status == 400


def test_version_that_is_taken_by_another_artifact_is_refused(registry: Any, request: pytest.FixtureRequest) -> None:
    name = name_for(request)
    registry.deliver(produced(name), "1 " + name)
    again = produced(name)
    again["metadata"]["version"] = "1"
    answer = registry.deliver(again, "2 " + name)
    assert answer.status == 400
    assert b"metadata.version" in answer.body


def test_model_of_another_namespace_is_refused(registry: Any, request: pytest.FixtureRequest) -> None:
    name = name_for(request)
    registry.deliver(produced(name), "1 " + name)
    answer = registry.deliver(produced(name, namespace="other"), "2 " + name)
    assert answer.status == 400
    assert b"belongs to namespace 'default'" in answer.body
    assert len(versions_of(registry, name)) == 1


def records(registry: Any, artifact: dict[str, Any]) -> list[tuple[str, str | None]]:
    database = Database(registry.database_url)
    by = f"registration/model_artifacts/{artifact['id']}"
    with database.reading() as session:
        rows = session.scalars(select(Artifact).where(Artifact.recorded_by == by).order_by(Artifact.created_ms)).all()
    database.close()
    return [(row.uri, row.sha256) for row in rows]


def sha_property(value: str) -> dict[str, Any]:
    return {"sha256": {"metadataType": "MetadataStringValue", "string_value": value}}


@pytest.mark.parametrize(
    ("given", "kept"), [(SHA, SHA), (SHA.upper(), SHA), ("sha256:" + SHA, None), ("ab", None)], ids=repr
)
def test_registration_from_outside_vouches_for_the_hash_it_states(registry: Any, given: str, kept: str | None) -> None:
    made = registry.ok("POST", "model_artifacts", {"uri": "s3://b/m.pkl", "customProperties": sha_property(given)})
    assert records(registry, made) == [("s3://b/m.pkl", kept)]


def test_new_bytes_are_a_new_record(registry: Any) -> None:
    made = registry.artifact(uri="s3://b/1")
    registry.ok("PATCH", f"model_artifacts/{made['id']}", {"description": "no change of bytes"})
    registry.ok("PATCH", f"model_artifacts/{made['id']}", {"customProperties": sha_property(SHA)})
    registry.ok("PATCH", f"model_artifacts/{made['id']}", {"uri": "s3://b/2", "customProperties": {}})
    assert records(registry, made) == [("s3://b/1", None), ("s3://b/1", SHA), ("s3://b/2", None)]


def test_registration_from_outside_is_announced_once(registry: Any) -> None:
    model = registry.model()
    made = registry.artifact(registry.version(model), modelFormatName="onnx")
    registry.ok("PATCH", f"model_artifacts/{made['id']}", {"description": "d"})
    sent = [event for event in registry.broker.received if event["data"].get("registered_model") == model["name"]]
    assert [event["data"]["model_artifact_id"] for event in sent] == [made["id"]]
    assert sent[0]["data"]["model_format_name"] == "onnx"
    assert sent[0]["data"]["run_id"] is None
    assert json.dumps(sent[0]["data"])
