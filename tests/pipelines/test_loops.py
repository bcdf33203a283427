"""ParallelFor and Collected: iterations as scopes, their order, their limits and their failures."""

from typing import Any

import pytest

from pipelines.harness import Event, Platform, component, constant, fails, gives, pipeline, task

LISTS = {"datasets": {"artifactType": {"schemaTitle": "system.Dataset"}, "isArtifactList": True}}


def _body(kind: str = "NUMBER_INTEGER", **loop: Any) -> dict[str, Any]:
    """Describe what a loop repeats: one step that takes the item, and what is collected of it."""
    parameter = {"valueFromParameter": {"producerSubtask": "each", "outputParameterKey": "Output"}}
    artifact = {"artifactSelectors": [{"producerSubtask": "each", "outputArtifactKey": "data"}]}
    return {
        "dag": {
            "tasks": {"each": task("each", n="pipeline.item")},
            "outputs": {"parameters": {"all": parameter}, "artifacts": {"datasets": artifact}},
        },
        "inputDefinitions": {"parameters": {"item": {"parameterType": kind}, **loop}},
        "outputDefinitions": {"parameters": {"all": {"parameterType": "LIST"}}, "artifacts": LISTS},
    }


def _loop(over: dict[str, Any], kind: str = "NUMBER_INTEGER", limit: int = 0, **inputs: Any) -> dict[str, Any]:
    """Describe a pipeline whose step `use` takes what the iterations of `loop` gave."""
    loop = task("body", **inputs)
    loop |= {"parameterIterator": {"itemInput": "item", "items": over}, "iteratorPolicy": {"parallelismLimit": limit}}
    use = component("use", takes={"numbers": "LIST"})
    use["inputDefinitions"]["artifacts"] = LISTS
    return pipeline(
        {"make": task("make"), "loop": loop, "use": task("use", numbers="loop/all", datasets="loop//datasets")},
        {
            "make": component("make", returns={"Output": "LIST"}),
            "body": _body(kind, **{key: {"parameterType": "LIST"} for key in inputs}),
            "each": component("each", takes={"n": kind}, returns={"Output": kind}, writes={"data": "system.Dataset"}),
            "use": use,
        },
        takes={"given": {"parameterType": "LIST", "isOptional": True, "defaultValue": [1.0]}},
    )  # fmt: skip


def _item(request: Event) -> Any:
    return request["data"]["executor_input"]["inputs"]["parameterValues"]["n"]


def _doubles(platform: Platform, count: int) -> None:
    for at in range(count):
        platform.steps[f"loop.{at}.each"] = lambda request: gives(
            {"Output": _item(request) * 2},
            {"data": [{"name": "data", "uri": f"store://b/{_item(request)}", "sha256": "0", "metadata": {}}]},
        )


def _used(platform: Platform) -> dict[str, Any]:
    (request,) = [event for event in platform.requested if event["data"]["task_name"] == "use"]
    return request["data"]["executor_input"]["inputs"]


def test_items_run_and_are_collected_in_their_order_with_their_types(platform: Platform) -> None:
    _doubles(platform, 3)
    run = platform.run(_loop({"raw": "[3, 1, 2]"}))
    assert run["state"] == "SUCCEEDED"
    numbers = _used(platform)["parameterValues"]["numbers"]
    assert numbers == [6, 2, 4]
    assert all(type(number) is int for number in numbers)
    uris = [artifact["uri"] for artifact in _used(platform)["artifacts"]["datasets"]["artifacts"]]
    assert uris == ["store://b/3", "store://b/1", "store://b/2"]


@pytest.mark.parametrize(
    ("items", "inputs"),
    [
        pytest.param({"inputParameter": "items"}, {"items": "make/Output"}, id="from-a-task"),
        pytest.param({"inputParameter": "items"}, {"items": "pipeline.given"}, id="from-the-pipeline"),
    ],
)
def test_items_come_from_outputs_and_inputs(local: Platform, items: dict[str, Any], inputs: dict[str, str]) -> None:
    _doubles(local, 2)
    local.steps["make"] = lambda _: gives({"Output": [7, 8]})
    assert local.run(_loop(items, **inputs), given=[7, 8])["state"] == "SUCCEEDED"
    assert _used(local)["parameterValues"]["numbers"] == [14, 16]


def test_a_loop_over_nothing_gives_empty_lists(local: Platform) -> None:
    assert local.run(_loop({"raw": "[]"}))["state"] == "SUCCEEDED"
    assert _used(local)["parameterValues"]["numbers"] == []


def test_what_is_no_list_fails_the_loop_with_its_reason(local: Platform) -> None:
    spec = _loop({"inputParameter": "items"}, items=constant("not a list"))
    spec["components"]["comp-body"]["inputDefinitions"]["parameters"]["items"]["parameterType"] = "STRING"
    run = local.run(spec)
    assert run["state"] == "FAILED"
    assert "the loop needs a list in input 'items', found a text 'not a list'" in run["error"]["message"]


def test_no_more_iterations_run_side_by_side_than_the_limit_says(local: Platform) -> None:
    _doubles(local, 5)
    local.submit(_loop({"raw": "[1, 2, 3, 4, 5]"}, limit=2))
    waiting: list[int] = []

    def asked() -> list[Event]:
        return [event for event in local.broker.events if event["data"].get("task_name", "").startswith("loop.")]

    while local.broker.events:
        waiting.append(len(asked()))
        step = len(local.log)
        local.drain(until=lambda step=step: len(local.log) > step)
    assert max(waiting) == 2
    assert _used(local)["parameterValues"]["numbers"] == [2, 4, 6, 8, 10]


def test_a_failed_iteration_fails_the_loop_and_a_retry_keeps_the_others(platform: Platform) -> None:
    _doubles(platform, 3)
    doubles = dict(platform.steps)
    platform.steps["loop.1.each"] = lambda _: fails("E: no")
    run = platform.run(_loop({"raw": "[1, 2, 3]"}))
    assert run["state"] == "FAILED"
    assert "task loop.1.each failed: E: no" in run["error"]["message"]
    states = platform.states(run["run_id"])
    assert (states["loop"], states["loop.0"], states["loop.1"]) == ("FAILED", "SUCCEEDED", "FAILED")
    assert states["use"] == "SKIPPED"
    ran = len(platform.requested)
    platform.steps |= doubles
    assert platform.post(f"/runs/{run['run_id']}:retry").status_code == 200
    platform.drain()
    assert platform.get(f"/runs/{run['run_id']}")["state"] == "SUCCEEDED"
    assert [event["data"]["task_name"] for event in platform.requested[ran:]] == ["loop.1.each", "use"]
    assert _used(platform)["parameterValues"]["numbers"] == [2, 4, 6]


def test_iterations_beyond_the_limit_do_not_begin_after_a_failure_and_a_retry_begins_them(local: Platform) -> None:
    _doubles(local, 4)
    doubles = dict(local.steps)
    local.steps["loop.0.each"] = lambda _: fails("E: no")
    run = local.run(_loop({"raw": "[1, 2, 3, 4]"}, limit=1))
    assert run["state"] == "FAILED"
    assert "loop.1" not in local.states(run["run_id"])
    local.steps |= doubles
    local.post(f"/runs/{run['run_id']}:retry")
    local.drain()
    assert _used(local)["parameterValues"]["numbers"] == [2, 4, 6, 8]


def test_a_member_of_an_item_is_taken_from_the_object_or_its_text(local: Platform) -> None:
    spec = _loop({"raw": '[{"a": {"b": "x"}}, {"a": {"b": "y"}}]'}, kind="STRING")
    selector = 'parseJson(string_value)["a"]["b"]'
    each = spec["components"]["comp-body"]["dag"]["tasks"]["each"]["inputs"]["parameters"]["n"]
    each["parameterExpressionSelector"] = selector
    _doubles(local, 2)
    assert local.run(spec)["state"] == "SUCCEEDED"
    assert _used(local)["parameterValues"]["numbers"] == ["xx", "yy"]


def test_loops_nest_and_collect_lists_of_lists(platform: Platform) -> None:
    spec = _loop({"raw": "[1, 2]"})
    body = spec["components"]["comp-body"]
    inner = task("inner")
    inner["parameterIterator"] = {"itemInput": "item", "items": {"raw": "[10, 20, 30]"}}
    spec["components"]["comp-inner"] = _body()
    body["dag"]["tasks"] = {"inner": inner}
    for selector in (body["dag"]["outputs"]["parameters"]["all"]["valueFromParameter"],):
        selector.update(producerSubtask="inner", outputParameterKey="all")
    body["dag"]["outputs"]["artifacts"]["datasets"]["artifactSelectors"] = [
        {"producerSubtask": "inner", "outputArtifactKey": "datasets"}
    ]
    for outer in range(2):
        for at in range(3):
            platform.steps[f"loop.{outer}.inner.{at}.each"] = lambda request: gives(
                {"Output": _item(request) + 1},
                {"data": [{"name": "data", "uri": "store://b/x", "sha256": "0", "metadata": {}}]},
            )
    assert platform.run(spec)["state"] == "SUCCEEDED"
    assert _used(platform)["parameterValues"]["numbers"] == [[11, 21, 31], [11, 21, 31]]
    assert len(_used(platform)["artifacts"]["datasets"]["artifacts"]) == 6


def test_a_loop_may_have_far_more_items_than_run_side_by_side(local: Platform) -> None:
    count = 300
    _doubles(local, count)
    items = str(list(range(count)))
    run = local.run(_loop({"raw": items}))
    assert run["state"] == "SUCCEEDED"
    assert _used(local)["parameterValues"]["numbers"] == [2 * at for at in range(count)]


def test_terminating_a_run_ends_its_loop(local: Platform) -> None:
    run_id = local.submit(_loop({"raw": "[1, 2, 3]"}, limit=1))
    local.drain(until=lambda: any(e["data"].get("task_name") == "loop.0.each" for e in local.broker.events))
    assert local.post(f"/runs/{run_id}:terminate").status_code == 200
    local.drain()
    assert local.get(f"/runs/{run_id}")["state"] == "CANCELED"
    states = local.states(run_id)
    assert states["loop"] == states["loop.0"] == states["loop.0.each"] == "CANCELED"
    assert "loop.1" not in states
