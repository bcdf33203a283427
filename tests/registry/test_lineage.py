"""The lineage graph from data to deployment, by API and by command."""

import json
import time
import uuid
from typing import Any

import pytest
from typer.testing import CliRunner

from zeroflow.cli.main import app
from zeroflow.metadata import Database
from zeroflow.metadata.artifacts import Artifact, ArtifactUse
from zeroflow.metadata.pipelines import Run, Task

LINEAGE = "/api/model_registry/zeroflow/lineage"
SOURCE = "/apis/v1/namespaces/zeroflow/apiserversources/resources"


class Chain:
    """data -> prepare -> rows -> train -> model, as the pipeline function records it."""

    def __init__(self, registry: Any) -> None:
        self.registry, self.run = registry, str(uuid.uuid4())
        self.name = f"lineage-{self.run[:8]}"
        self.ids = {name: f"{name}-{self.run}" for name in ("data", "rows", "model")}
        self.tasks = {name: f"{name}-{self.run}" for name in ("prepare", "train")}
        uses = [("prepare", "input", "data"), ("prepare", "output", "rows")]
        uses += [("train", "input", "rows"), ("train", "output", "model")]
        database = Database(registry.database_url)
        with database.transaction() as session:
            for name, artifact in self.ids.items():
                kind = "system.Model" if name == "model" else "system.Dataset"
                session.add(
                    Artifact(
                        id=artifact,
                        namespace="default",
                        name=name,
                        type=kind,
                        uri=self.uri(name),
                        sha256="ab" * 32,
                        recorded_by=f"run/{self.run}/x",
                    )
                )
            for name, task in self.tasks.items():
                session.add(
                    Task(id=task, run_id=self.run, name=name, display_name=name, kind="step", state="SUCCEEDED")
                )
            for task, direction, artifact in uses:
                used = self.ids[artifact]
                session.add(ArtifactUse(task_id=self.tasks[task], direction=direction, key=artifact, artifact_id=used))
        database.close()

    def uri(self, name: str) -> str:
        return f"store://artifacts/{self.run}/{name}"

    def register(self) -> "Chain":
        data = {
            "artifact_id": self.ids["model"],
            "name": "model",
            "uri": self.uri("model"),
            "sha256": "ab" * 32,
            "size_bytes": 1,
            "namespace": "default",
            "register_as": self.name,
            "metadata": {},
            "run_id": self.run,
            "run_name": "r",
            "pipeline_name": "p",
            "task_name": "train",
            "metrics": {},
            "inputs": [],
        }
        assert self.registry.deliver(data, f"{self.run}.produced").status == 204
        return self

    def serve(self, ready: str = "True", verb: str = "update", location: str = "", **predictor: str) -> None:
        isvc = {
            "kind": "InferenceService",
            "metadata": {"namespace": "default", "name": self.name},
            "spec": {"predictor": {"minReplicas": 0, "model": {"storageUri": location or self.uri("model")}}},
            "status": {
                "conditions": [{"type": "Ready", "status": ready}],
                "components": {"predictor": predictor},
            },
        }
        kind = f"dev.knative.apiserver.resource.{verb}"
        assert self.registry.deliver(isvc, str(uuid.uuid4()), event_type=kind).status == 204

    def graph(self, of: str, **query: str) -> dict[str, Any]:
        answer = self.registry.raw("GET", LINEAGE, query={"of": of, **query})
        assert answer.status == 200, answer
        found: dict[str, Any] = answer.body
        return found

    def types(self, of: str, **query: str) -> list[str]:
        return sorted(node["type"] for node in self.graph(of, **query)["nodes"])

    def deployments(self) -> list[str]:
        raw = self.registry.raw(
            "GET", "/api/model_registry/zeroflow/audit", query={"entity": f"inference_service/default/{self.name}"}
        ).body
        lines = [raw] if isinstance(raw, dict) else [json.loads(line) for line in raw.decode().splitlines()]
        return [line["verb"] for line in lines]


def run_row(run_id: str, cause: dict[str, Any]) -> Run:
    return Run(
        id=run_id,
        namespace="default",
        experiment_id="e",
        name="retraining",
        description="",
        pipeline_name="p",
        spec_sha256="ab" * 32,
        parameters={},
        artifact_root="store://artifacts/x",
        pipeline_root="",
        service_account="",
        state="SUCCEEDED",
        state_history=[],
        cause=cause,
    )


WHOLE = ["artifact"] * 3 + ["inference_service", "model_version", "run"] + ["task"] * 2


@pytest.fixture
def chain(registry: Any) -> Chain:
    return Chain(registry).register()


def test_graph_leads_both_ways_from_either_end(chain: Chain) -> None:
    chain.serve()
    ends = (chain.uri("data"), f"default/{chain.name}", chain.name, f"{chain.name}/1", chain.uri("model"))
    for of in ends:
        assert chain.types(of) == WHOLE, of
    assert chain.types(chain.uri("data"), direction="upstream") == ["artifact"]
    assert chain.types(f"default/{chain.name}", direction="downstream") == ["inference_service"]
    assert chain.types(chain.name, direction="upstream") == ["artifact"] * 3 + ["model_version", "run"] + ["task"] * 2
    edges = chain.graph(chain.name)["edges"]
    assert [edge["kind"] for edge in edges] == [
        *("contains", "contains", "deployed_as", "read", "read", "registered_as", "wrote", "wrote")
    ]
    assert len(chain.graph(chain.run)["start"]) == 2, "a run stands for its tasks"


@pytest.mark.parametrize("version", ["", "/1"], ids=["the newest", "by name"])
def test_a_deployment_that_names_the_version_is_one_of_it(chain: Chain, version: str) -> None:
    model = chain.registry.ok("GET", "registered_model", query={"name": chain.name})
    chain.registry.version(model, name="without bytes")
    chain.serve(location=f"model-registry://{chain.name}{version}")
    assert chain.types(chain.uri("data")) == WHOLE
    names = [node["name"] for node in chain.graph(f"default/{chain.name}")["nodes"] if node["type"] == "model_version"]
    assert names == [f"{chain.name}/1"]


def test_deployment_is_noted_once_until_it_changes(chain: Chain) -> None:
    chain.serve(ready="Unknown")
    assert chain.deployments() == []
    chain.serve()
    chain.serve()
    assert chain.deployments() == ["deploy"]
    chain.serve(verb="delete")
    assert chain.deployments() == ["deploy", "undeploy"]


def test_the_graph_goes_on_to_revision_drift_and_retraining(chain: Chain) -> None:
    revision = f"{chain.name}-predictor-00001"
    chain.serve(latestCreatedRevision=revision, latestReadyRevision=revision)
    drift = {"namespace": "default", "inferenceservice": chain.name, "revision": revision}
    event = str(uuid.uuid4())
    answer = chain.registry.deliver(drift, event, event_type="dev.zeroflow.drift.detected")
    assert answer.status == 204
    retraining = str(uuid.uuid4())
    database = Database(chain.registry.database_url)
    with database.transaction() as session:
        session.add(run_row(retraining, {"source": "/monitor", "id": event}))
    database.close()
    whole = sorted([*WHOLE, "drift_event", "revision", "run"])
    for of in (chain.uri("data"), f"drift_event:{event}", f"default/{revision}", f"{chain.name}/1"):
        expected = [one for one in whole if one != "inference_service"] if of == f"drift_event:{event}" else whole
        assert chain.types(of) == expected, of
    edges = {(one["kind"], one["from"], one["to"]) for one in chain.graph(chain.uri("data"))["edges"]}
    assert ("drifted", f"revision:default/{revision}", f"drift_event:{event}") in edges
    assert ("triggered", f"drift_event:{event}", f"run:{retraining}") in edges
    upstream = chain.types(f"run:{retraining}", direction="upstream")
    assert upstream == [one for one in whole if one != "inference_service"]


def test_a_newest_revision_that_is_not_ready_serves_nothing_yet(chain: Chain) -> None:
    chain.serve(latestCreatedRevision="r-2", latestReadyRevision="r-1")
    assert "revision" not in chain.types(chain.name)


def test_data_sets_under_a_version_are_where_it_came_from(registry: Any) -> None:
    version = registry.version()
    uri = f"store://data/{uuid.uuid4()}"
    body = {"artifactType": "dataset-artifact", "name": "train", "uri": uri, "digest": "sha256:" + "cd" * 32}
    registry.ok("POST", f"model_versions/{version['id']}/artifacts", body)
    answer = registry.raw("GET", LINEAGE, query={"of": uri}).body
    (edge,) = answer["edges"]
    assert (edge["kind"], edge["to"]) == ("trained_on", f"model_version:{version['id']}")
    (data,) = [node for node in answer["nodes"] if node["type"] == "artifact"]
    assert (data["uri"], data["sha256"]) == (uri, "cd" * 32)


def test_model_registered_from_outside_is_part_of_the_graph(registry: Any) -> None:
    chain = Chain(registry)
    version = registry.version()
    registry.artifact(version, uri=chain.uri("model"))
    found = chain.graph(f"model_version:{version['id']}", direction="upstream")
    assert {node["id"] for node in found["nodes"]} >= {*chain.ids.values(), *chain.tasks.values()}


def test_unknown_and_malformed_names_are_refused(registry: Any) -> None:
    for query, status in (
        ({}, 400),
        ({"of": "no such thing"}, 404),
        ({"of": "s3://no/such"}, 404),
        ({"of": "x", "direction": "sideways"}, 400),
    ):
        answer = registry.raw("GET", LINEAGE, query=query)
        assert (answer.status, set(answer.body)) == (status, {"code", "message"})


def test_command_prints_trees(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    chain.serve()
    monkeypatch.setenv("ZEROFLOW_URL", chain.registry.url)
    ran = CliRunner().invoke(app, ["lineage", f"{chain.name}/1"])
    assert ran.exit_code == 0, ran.output
    lines = [line.strip() for line in ran.stdout.splitlines()]
    hint = "  sha256 abababababab"
    assert lines == [
        f"model version {chain.name}/1",
        "made from:",
        f"registered from system.Model {chain.uri('model')}{hint}",
        f"written by task train of run {chain.run}",
        f"read system.Dataset {chain.uri('rows')}{hint}",
        f"written by task prepare of run {chain.run}",
        f"read system.Dataset {chain.uri('data')}{hint}",
        "came of it:",
        f"deployed as InferenceService default/{chain.name}",
    ]
    assert CliRunner().invoke(app, ["lineage", "no such thing"]).exit_code == 1


@pytest.mark.scale
def test_ten_hops_among_a_hundred_thousand_edges(registry: Any) -> None:
    mark = str(uuid.uuid4())
    database = Database(registry.database_url)
    uses = [
        {"task_id": f"{mark} {row} {hop}", "direction": way, "key": "k", "position": 0, "artifact_id": artifact}
        for row in range(5_000)
        for hop in range(10)
        for way, artifact in (("input", f"{mark} {row} {hop}"), ("output", f"{mark} {row} {hop + 1}"))
    ]
    with database.transaction() as session:
        session.execute(ArtifactUse.__table__.insert(), uses)
    database.close()
    path = {"of": f"artifact:{mark} 77 10", "direction": "upstream"}
    took = []
    for _ in range(5):
        began = time.perf_counter()
        found = registry.raw("GET", LINEAGE, query=path).body
        took.append(time.perf_counter() - began)
        assert len(found["edges"]) == 20
    print(f"{registry.database_url.split(':')[0]}: 10 hops among 100,000 edges: {sorted(took)[2] * 1000:.1f} ms")
