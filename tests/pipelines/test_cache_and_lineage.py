"""Reuse of outputs by content, and the graph of what came from what."""

from typing import Any

from pipelines.harness import Platform, component, fails, pipeline, task, writes
from zeroflow.artifacts import Stores

SPEC_COMPONENTS = {
    "load": component("load", takes={"rows": "NUMBER_INTEGER"}, writes={"data": "system.Dataset"}),
    "train": component("train", reads={"data": "system.Dataset"}, writes={"model": "system.Model"}),
}


def _spec() -> dict[str, Any]:
    spec = pipeline(
        {"load": task("load", rows="pipeline.rows"), "train": task("train", data="load//data")},
        SPEC_COMPONENTS,
        takes={"rows": "NUMBER_INTEGER"},
    )
    for spec_task in spec["root"]["dag"]["tasks"].values():
        spec_task["cachingOptions"] = {"enableCache": True}
    return spec


def _ran(platform: Platform) -> list[str]:
    names = [event["data"]["task_name"] for event in platform.requested]
    platform.requested.clear()
    return names


def test_equal_content_is_reused_and_changed_content_is_not(platform: Platform) -> None:
    platform.steps |= {"load": writes(platform, "data", "1,2"), "train": writes(platform, "model", "m")}
    first = platform.run(_spec(), rows=2)
    assert _ran(platform) == ["load", "train"]
    second = platform.run(_spec(), rows=2)
    assert second["state"] == "SUCCEEDED"
    assert _ran(platform) == []
    tasks, before = platform.tasks(second["run_id"]), platform.tasks(first["run_id"])
    assert tasks["train"]["cache_hit"]
    assert tasks["train"]["cached_from_task_id"] == before["train"]["task_id"]
    assert tasks["train"]["outputs"] == before["train"]["outputs"]

    platform.run(_spec(), rows=3)  # another parameter, but the same bytes come out of `load`
    assert _ran(platform) == ["load"]
    platform.steps["load"] = writes(platform, "data", "1,2,3,4")
    platform.run(_spec(), rows=4)
    assert _ran(platform) == ["load", "train"]
    changed = _spec()
    changed["deploymentSpec"]["executors"]["exec-train"]["container"]["command"][-1] = "def train(): return 2"
    platform.run(changed, rows=4)
    assert _ran(platform) == ["train"]


def test_a_hit_whose_bytes_are_gone_is_a_miss(platform: Platform) -> None:
    platform.steps |= {"load": writes(platform, "data", "1,2"), "train": writes(platform, "model", "m")}
    first = platform.run(_spec(), rows=2)
    Stores(platform.store).delete(platform.tasks(first["run_id"])["train"]["outputs"]["artifacts"]["model"][0]["uri"])
    _ran(platform)
    second = platform.run(_spec(), rows=2)
    assert _ran(platform) == ["train"]
    assert second["state"] == "SUCCEEDED"


def test_the_cache_never_crosses_namespaces_and_keeps_no_failures(local: Platform) -> None:
    local.steps |= {"load": writes(local, "data", "1,2"), "train": lambda _: fails("E: no")}
    local.run(_spec(), rows=2)
    _ran(local)
    local.run(_spec(), rows=2)
    assert _ran(local) == ["train"]
    made = local.post("/experiments", {"display_name": "e", "namespace": "team"}).json
    body = {
        "experiment_id": made["experiment_id"],
        "pipeline_spec": _spec(),
        "runtime_config": {"parameters": {"rows": 2}},
    }
    local.post("/runs", body)
    local.drain()
    assert _ran(local) == ["load", "train"]
    asked = [event for event in local.log if event["type"].endswith("task.requested")][-1]["data"]["executor_input"]
    assert asked["outputs"]["artifacts"]["model"]["artifacts"][0]["uri"].startswith("store://artifacts/team/")


def test_lineage_leads_from_a_model_to_its_data_and_back(platform: Platform) -> None:
    platform.steps |= {"load": writes(platform, "data", "1,2"), "train": writes(platform, "model", "m")}
    run = platform.run(_spec(), rows=2)
    tasks = platform.tasks(run["run_id"])
    data, model = (tasks[name]["outputs"]["artifacts"][key][0] for name, key in (("load", "data"), ("train", "model")))
    for start in (data, model):
        graph = platform.get(f"/artifacts/{start['id']}/lineage")
        edges = {(edge["from"], edge["to"]) for edge in graph["edges"]}
        assert edges >= {(data["id"], tasks["train"]["task_id"]), (tasks["train"]["task_id"], model["id"])}
    assert (tasks["load"]["task_id"], data["id"]) in edges
    platform.run(_spec(), rows=2)
    graph = platform.get(f"/artifacts/{data['id']}/lineage")
    assert len([task for task in graph["tasks"] if task["cached_from_task_id"]]) == 2
    assert platform.get(f"/artifacts/{model['id']}")["recorded_by"] == f"run/{run['run_id']}/train"


def test_a_model_marked_for_registration_is_announced_once(platform: Platform) -> None:
    platform.steps |= {
        "load": writes(platform, "data", "1,2"),
        "train": writes(platform, "model", "m", register_as="flights", auc=0.71, note="x"),
    }
    run = platform.run(_spec(), rows=2)
    platform.run(_spec(), rows=2)
    produced = [event for event in platform.log if event["type"] == "dev.zeroflow.model.produced"]
    assert len(produced) == 1
    model = platform.tasks(run["run_id"])["train"]["outputs"]["artifacts"]["model"][0]
    told = produced[0]["data"]
    assert produced[0]["id"] == f"{model['id']}.produced"
    assert (told["register_as"], told["uri"], told["sha256"]) == ("flights", model["uri"], model["sha256"])
    assert told["metrics"] == {"auc": 0.71}
    assert [item["name"] for item in told["inputs"]] == ["data"]
    assert (told["run_id"], told["task_name"]) == (run["run_id"], "train")


def test_a_model_that_the_same_pass_makes_and_reuses_is_announced_once(platform: Platform) -> None:
    spec = pipeline(
        {"train": task("train"), "again": task("train", ("train",))},
        {"train": component("train", writes={"model": "system.Model"})},
    )
    for spec_task in spec["root"]["dag"]["tasks"].values():
        spec_task["cachingOptions"] = {"enableCache": True}
    platform.steps["train"] = writes(platform, "model", "m", register_as="flights")
    assert platform.run(spec)["state"] == "SUCCEEDED"
    assert _ran(platform) == ["train"]
    assert [event["type"] for event in platform.log].count("dev.zeroflow.model.produced") == 1


def test_a_log_is_readable_while_it_grows(local: Platform) -> None:
    run_id = local.submit(pipeline({"a": task("a"), "b": task("b", ("a",))}))
    path = local.store / "logs" / run_id / "a.1.log"
    where = f"/apis/v2beta1/runs/{run_id}/tasks/a/log"
    assert local.client.get(where).status_code == 404
    path.parent.mkdir(parents=True)
    path.write_text("first\n")
    assert local.client.get(where).text == "first\n"
    path.write_text("first\nsecond\n")
    assert local.client.get(f"{where}?offset=6").text == "second\n"
    assert local.client.get(where.replace("/a/", "/b/")).status_code == 404
    assert local.client.get(where.replace("/a/", "/..%2Fa/")).status_code == 404
