"""Why a step was reused or ran again, forks of runs, differences between runs."""

import copy
from typing import Any

import pytest

from pipelines.harness import Platform, component, fails, gives, pipeline, task, writes
from zeroflow.artifacts import Stores

COMPONENTS = {
    "load": component("load", takes={"rows": "NUMBER_INTEGER"}, writes={"data": "system.Dataset"}),
    "train": component(
        "train", takes={"rate": "NUMBER_DOUBLE"}, reads={"data": "system.Dataset"}, writes={"model": "system.Model"}
    ),
    "report": component("report", reads={"model": "system.Model"}, returns={"Output": "STRING"}),
}
TAKES = {"rows": {"parameterType": "NUMBER_INTEGER", "defaultValue": 2.0}, "rate": "NUMBER_DOUBLE"}


def spec(cached: bool = True, **tasks: Any) -> dict[str, Any]:
    """A pipeline of three steps: load, train, report; beside them `other`, on which nothing depends."""
    made = pipeline(
        {
            "load": task("load", rows="pipeline.rows"),
            "train": task("train", data="load//data", rate="pipeline.rate"),
            "report": task("report", model="train//model"),
            "other": task("other"),
            **tasks,
        },
        COMPONENTS,
        takes=TAKES,
    )
    for one in made["root"]["dag"]["tasks"].values():
        one["cachingOptions"] = {"enableCache": cached}
    return made


@pytest.fixture
def ready(platform: Platform) -> Platform:
    """A platform whose steps write files."""
    platform.steps |= {
        "load": writes(platform, "data", "1,2"),
        "train": writes(platform, "model", "m"),
        "report": lambda _: gives({"Output": "good"}),
    }
    return platform


def ran(platform: Platform) -> list[str]:
    names = [event["data"]["task_name"] for event in platform.requested]
    platform.requested.clear()
    return names


def why(platform: Platform, run: dict[str, Any], name: str) -> dict[str, Any]:
    told: dict[str, Any] = platform.get(f"/runs/{run['run_id']}/tasks/{name}/reuse")
    return told


def test_a_hit_names_its_source_and_a_miss_what_differs(ready: Platform) -> None:
    first = ready.run(spec(), rate=0.1)
    assert "no earlier execution" in why(ready, first, "train")["reason"]
    second = ready.run(spec(), rate=0.1)
    hit = why(ready, second, "train")
    assert hit["hit"]
    assert hit["nearest"]["run_id"] == first["run_id"]
    ready.run(spec(), rate=0.5)
    third = ready.run(spec(), rate=0.2)
    miss = why(ready, third, "train")
    assert (miss["hit"], [one["kind"] for one in miss["differences"]]) == (False, ["parameter"])
    assert miss["differences"][0] == {"kind": "parameter", "name": "rate", "before": 0.5, "after": 0.2}
    assert miss["reason"] == "parameter rate: 0.5 -> 0.2"
    assert why(ready, third, "load")["hit"]
    changed = spec()
    changed["deploymentSpec"]["executors"]["exec-train"]["container"]["command"][-1] = "def train():\n    return 2"
    changed["deploymentSpec"]["executors"]["exec-train"]["container"]["image"] = "python:3.12"
    kinds = {one["kind"]: one for one in why(ready, ready.run(changed, rate=0.2), "train")["differences"]}
    assert (kinds["image"]["before"], kinds["image"]["after"]) == ("python:3.11", "python:3.12")
    assert (kinds["code"]["name"], kinds["code"]["after"]) == ("train", "def train():")
    ready.steps["load"] = writes(ready, "data", "1,2,3,4")
    data = why(ready, ready.run(spec(), rate=0.2, rows=4), "train")["differences"]
    assert [one["name"] for one in data] == ["data.sha256"]
    steps = ready.get(f"/runs/{third['run_id']}/reuse")["steps"]
    assert {step["name"]: step["hit"] for step in steps} == {
        "load": True, "train": False, "report": True, "other": True,
    }  # fmt: skip


def test_why_tells_of_bytes_that_are_gone_or_cut_and_of_what_is_never_reused(ready: Platform) -> None:
    first = ready.run(spec(), rate=0.1)
    uri = ready.tasks(first["run_id"])["train"]["outputs"]["artifacts"]["model"][0]["uri"]
    path = Stores(ready.store).local_path(uri)
    assert path is not None
    path.write_text("cut")
    second = ready.run(spec(), rate=0.1)
    assert why(ready, second, "train")["reason"] == (
        f"the bytes of output 'model' of an equal execution are gone from {uri}"
    )
    third = ready.run(spec(cached=False), rate=0.1)
    assert why(ready, third, "train")["reason"] == "caching is off for this task"
    ready.steps["load"] = lambda _: fails("E: no")
    skipped = ready.run(spec(), rate=0.1, rows=9)
    assert why(ready, skipped, "train")["reason"] == "it has not run: its state is SKIPPED"
    answer = ready.client.get(f"/apis/v2beta1/runs/{first['run_id']}/tasks/ghost/reuse")
    assert (answer.status_code, answer.json["code"]) == (404, 5)


def test_a_key_that_the_author_chose_stands_for_all_but_the_component(ready: Platform) -> None:
    keyed = spec()
    keyed["root"]["dag"]["tasks"]["train"]["cachingOptions"] = {"enableCache": True, "cacheKey": "mine"}
    ready.run(keyed, rate=0.1)
    ran(ready)
    second = ready.run(keyed, rate=0.9)
    assert "train" not in ran(ready)
    assert why(ready, second, "train")["hit"]
    wider = copy.deepcopy(keyed)
    wider["components"]["comp-train"]["outputDefinitions"]["parameters"] = {"Output": {"parameterType": "STRING"}}
    ready.steps["train"] = lambda request: {
        **(made := writes(ready, "model", "m")(request)),
        "outputs": {**made["outputs"], "parameterValues": {"Output": "x"}},
    }
    ready.run(wider, rate=0.9)
    assert "train" in ran(ready)


def fork(platform: Platform, run: dict[str, Any], **body: Any) -> dict[str, Any]:
    answer = platform.post(f"/runs/{run['run_id']}:fork", body)
    assert answer.status_code == 200, answer.data
    platform.drain()
    forked: dict[str, Any] = platform.get(f"/runs/{answer.json['run_id']}")
    return forked


def test_a_fork_reuses_what_is_unchanged_even_without_a_cache(ready: Platform) -> None:
    first = ready.run(spec(cached=False), rate=0.1)
    ran(ready)
    same = fork(ready, first)
    assert (same["state"], ran(ready)) == ("SUCCEEDED", [])
    assert same["runtime_config"]["parameters"] == {"rate": 0.1}
    assert (same["experiment_id"], same["forked_from"]) == (first["experiment_id"], first["run_id"])
    assert why(ready, same, "train")["reason"].startswith("taken over from the run that was forked: code, image")
    ready.steps["train"] = writes(ready, "model", "another")
    changed = fork(ready, first, runtime_config={"parameters": {"rate": 0.2}}, display_name="faster")
    assert ran(ready) == ["train", "report"]
    assert changed["display_name"] == "faster"
    tasks = ready.tasks(changed["run_id"])
    assert tasks["load"]["cached_from_task_id"] == ready.tasks(first["run_id"])["load"]["task_id"]
    again = fork(ready, changed, runtime_config={"parameters": {"rows": 7}})  # a fork of a fork
    assert ran(ready) == ["load"]  # the same bytes came out of it
    assert again["runtime_config"]["parameters"] == {"rate": 0.2, "rows": 7}


def test_a_fork_from_a_step_runs_it_and_what_depends_on_it(ready: Platform) -> None:
    first = ready.run(spec(), rate=0.1)
    ran(ready)
    forked = fork(ready, first, **{"from": "train"})
    assert ran(ready) == ["train", "report"]
    assert "forked from 'train' on" in why(ready, forked, "report")["reason"]
    fixed = spec()
    fixed["deploymentSpec"]["executors"]["exec-report"]["container"]["command"][-1] = "def report(): return 2"
    fork(ready, first, pipeline_spec=fixed)
    assert ran(ready) == ["report"]


def test_a_failed_run_is_forked_with_other_code(ready: Platform) -> None:
    ready.steps["report"] = lambda _: fails("E: no")
    first = ready.run(spec(cached=False), rate=0.1)
    assert first["state"] == "FAILED"
    ran(ready)
    ready.steps["report"] = lambda _: gives({"Output": "good"})
    forked = fork(ready, first)
    assert (forked["state"], ran(ready)) == ("SUCCEEDED", ["report"])
    told = why(ready, forked, "report")
    assert told["reason"] == "caching is off for this task"
    broken = spec(cached=True)
    broken["deploymentSpec"]["executors"]["exec-report"]["container"]["command"][-1] = "def report(): return 3"
    ready.steps["report"] = lambda _: fails("E: no")
    first = ready.run(broken, rate=0.3)
    broken["deploymentSpec"]["executors"]["exec-report"]["container"]["command"][-1] = "def report(): return 4"
    ready.steps["report"] = lambda _: gives({"Output": "good"})
    told = why(ready, fork(ready, first, pipeline_spec=broken), "report")
    assert told["differences"][0]["kind"] == "code"


def test_forks_inside_loops_and_groups(local: Platform) -> None:
    inner = pipeline({"a": task("a"), "b": task("b", ("a",))})["root"]["dag"]
    group = {"dag": inner, "inputDefinitions": {"parameters": {"item": {"parameterType": "NUMBER_INTEGER"}}}}
    loop = {
        **task("group"),
        "parameterIterator": {"itemInput": "item", "items": {"raw": "[1, 2]"}},
    }
    made = pipeline(
        {"before": task("before"), "loop": {**loop, "dependentTasks": ["before"]}, "after": task("after", ("loop",))},
        {"group": group, "a": component("a"), "b": component("b"), "before": component("before"),
         "after": component("after")},
    )  # fmt: skip
    first = local.run(made)
    assert first["state"] == "SUCCEEDED", first.get("error")
    ran(local)
    for point, expected in (
        ("loop.1.a", ["loop.1.a", "loop.1.b", "after"]),
        ("loop.0.b", ["loop.0.b", "after"]),
        ("loop.1", ["loop.1.a", "loop.1.b", "after"]),
        ("loop", ["loop.0.a", "loop.0.b", "loop.1.a", "loop.1.b", "after"]),
        ("after", ["after"]),
    ):
        assert fork(local, first, **{"from": point})["state"] == "SUCCEEDED"
        assert sorted(ran(local)) == sorted(expected), point
    refused = local.post(f"/runs/{first['run_id']}:fork", {"from": "a"})
    assert refused.status_code == 404
    assert "did you mean loop.0.a, loop.1.a?" in refused.json["message"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"from": "ghost"}, "has no task 'ghost'"),
        ({"runtime_config": {"parameters": {"ghost": 1}}}, "has no parameter 'ghost'"),
        ({"form": "train"}, "unknown field 'form'"),
        ({"pipeline_spec": {}}, "schemaVersion is required"),
    ],
)
def test_what_cannot_be_forked_is_refused(ready: Platform, body: dict[str, Any], message: str) -> None:
    first = ready.run(spec(), rate=0.1)
    answer = ready.post(f"/runs/{first['run_id']}:fork", body)
    assert answer.status_code in (400, 404)
    assert message in answer.json["message"]
    assert ready.get("/runs")["total_size"] == 1


def test_a_difference_is_named_in_the_order_in_which_it_came_about(ready: Platform) -> None:
    first, same = ready.run(spec(), rate=0.1), ready.run(spec(cached=False), rate=0.1)
    path = f"/runs/{first['run_id']}/diff"
    assert ready.get(f"{path}/{same['run_id']}")["differences"] == []
    ready.steps["train"] = writes(ready, "model", "another")
    other = ready.run(spec(), rate=0.2)
    told = ready.get(f"{path}/{other['run_id']}")
    assert told["first"] == {"task": "", "kind": "parameter", "name": "rate", "before": 0.1, "after": 0.2}
    named = [(one["task"], one["kind"], one["name"]) for one in told["differences"][1:]]
    assert named == [
        ("train", "parameter", "rate"), ("train", "output", "model.sha256"), ("report", "input", "model.sha256"),
    ]  # fmt: skip
    ready.steps["train"] = lambda _: fails("E: no")
    broken = ready.get(f"{path}/{ready.run(spec(), rate=0.3)['run_id']}")["differences"]
    assert {"task": "train", "kind": "error", "name": "", "before": None, "after": "E: no"} in broken
    assert ("report", "state", "SUCCEEDED", "SKIPPED") in [
        (one["task"], one["kind"], one["before"], one["after"]) for one in broken
    ]
    shorter = spec()
    del shorter["root"]["dag"]["tasks"]["other"]
    told = ready.get(f"{path}/{ready.run(shorter, rate=0.1)['run_id']}")
    assert {"task": "other", "kind": "task", "name": "", "before": "SUCCEEDED", "after": "(absent)"} in told[
        "differences"
    ]
    assert ready.client.get(f"/apis/v2beta1{path}/ghost").status_code == 404


def test_costs_add_up_over_attempts_and_steps(ready: Platform) -> None:
    answers = [fails("E: once"), {}]
    usage = {"cpu_ms": 5.5, "max_rss_bytes": 1000}
    stored = writes(ready, "model", "12345")

    def train(request: dict[str, Any]) -> dict[str, Any]:
        return {**(answers.pop(0) or stored(request)), "usage": usage, "started_ms": 1000, "finished_ms": 1020}

    ready.steps["train"] = train
    retried = spec()
    retried["root"]["dag"]["tasks"]["train"]["retryPolicy"] = {"maxRetryCount": 1}
    run = ready.run(retried, rate=0.1)
    cost = ready.get(f"/runs/{run['run_id']}/cost")
    (of_train,) = [step for step in cost["steps"] if step["name"] == "train"]
    assert {name: of_train[name] for name in ("attempts", "wall_ms", "cpu_ms", "max_rss_bytes")} == {
        "attempts": 2, "wall_ms": 40, "cpu_ms": 11.0, "max_rss_bytes": 1000,
    }  # fmt: skip
    assert (of_train["bytes_in"], of_train["bytes_out"]) == (2 * len("1,2"), len("12345"))
    assert cost["total"]["attempts"] == 5
    assert cost["total"]["bytes_out"] == len("1,2") + len("12345")
    again = ready.get(f"/runs/{ready.run(retried, rate=0.1)['run_id']}/cost")
    assert (again["reused"], again["steps"], again["total"]["wall_ms"]) == (4, [], 0)


def test_the_event_log_of_a_run_holds_all_of_it_and_nothing_else(ready: Platform) -> None:
    first, second = ready.run(spec(), rate=0.1), ready.run(spec(), rate=0.2)
    seen: list[dict[str, Any]] = []
    token = ""
    while True:
        page = ready.get(f"/runs/{first['run_id']}/events?page_size=3&page_token={token}")
        seen, token = seen + page["events"], page["next_page_token"]
        if not token:
            break
    types = [event["type"].removeprefix("dev.zeroflow.") for event in seen]
    assert (types[0], types[-1]) == ("run.requested", "run.finished")
    assert types.count("task.requested") == 4
    assert all(first["run_id"] in event["subject"] for event in seen)
    assert second["run_id"] not in str(seen)
    assert seen == sorted(seen, key=lambda event: event["time"])
    assert ready.client.get("/apis/v2beta1/runs/ghost/events").status_code == 404
    bad = ready.client.get(f"/apis/v2beta1/runs/{first['run_id']}/events?page_token=x")
    assert bad.status_code == 400
