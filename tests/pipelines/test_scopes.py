"""Nested pipelines, conditions and OneOf: scopes of tasks within tasks."""

from typing import Any

from pipelines.harness import Platform, component, constant, fails, gives, pipeline, task


def _branches() -> dict[str, Any]:
    """If(flip == heads) / else, each with one step, and OneOf of their outputs for the run's own output."""
    said = {"text": "STRING"}
    say = component("say", takes=said, returns={"Output": "STRING"})

    def branch(text: str) -> dict[str, Any]:
        select = {"valueFromParameter": {"producerSubtask": "say", "outputParameterKey": "Output"}}
        return {
            "dag": {"tasks": {"say": task("say", text=constant(text))}, "outputs": {"parameters": {"said": select}}},
            "inputDefinitions": {"parameters": {"flip": {"parameterType": "STRING"}}},
            "outputDefinitions": {"parameters": {"said": {"parameterType": "STRING"}}},
        }

    heads, tails = task("heads", flip="flip/Output"), task("tails", flip="flip/Output")
    heads["triggerPolicy"] = {"condition": "inputs.parameter_values['flip'] == 'heads'"}
    tails["triggerPolicy"] = {"condition": "!(inputs.parameter_values['flip'] == 'heads')"}
    selectors = [{"producerSubtask": name, "outputParameterKey": "said"} for name in ("heads", "tails")]
    return pipeline(
        {
            "flip": task("flip"),
            "heads": heads,
            "tails": tails,
            "after-heads": task("done", ("heads",)),
        },
        {
            "flip": component("flip", returns={"Output": "STRING"}),
            "say": say,
            "heads": branch("it was heads"),
            "tails": branch("it was tails"),
            "done": component("done"),
        },
        outputs={"parameters": {"said": {"valueFromOneof": {"parameterSelectors": selectors}}}},
        returns={"said": "STRING"},
    )


def _echo(request: dict[str, Any]) -> dict[str, Any]:
    return gives({"Output": request["data"]["executor_input"]["inputs"]["parameterValues"]["text"]})


def test_only_the_branch_whose_condition_holds_runs(platform: Platform) -> None:
    platform.steps |= {"heads.say": _echo, "tails.say": _echo}
    for side, other in (("heads", "tails"), ("tails", "heads")):
        platform.steps["flip"] = lambda _, side=side: gives({"Output": side})
        run = platform.run(_branches())
        assert run["state"] == "SUCCEEDED"
        assert run["outputs"]["parameters"] == {"said": f"it was {side}"}
        states = platform.states(run["run_id"])
        assert states[side] == states[f"{side}.say"] == "SUCCEEDED"
        assert states[other] == "SKIPPED"
        assert f"{other}.say" not in states
        assert states["after-heads"] == ("SUCCEEDED" if side == "heads" else "SKIPPED")


def test_a_failure_deep_inside_fails_every_scope_around_it_and_can_be_retried(platform: Platform) -> None:
    platform.steps["flip"] = lambda _: gives({"Output": "heads"})
    platform.steps["heads.say"] = lambda _: fails("E: mute")
    run = platform.run(_branches())
    assert run["state"] == "FAILED"
    assert run["error"]["message"].startswith("task heads.say failed: E: mute (exit code 1); log: store://logs/")
    assert platform.states(run["run_id"])["after-heads"] == "SKIPPED"
    platform.steps["heads.say"] = _echo
    platform.post(f"/runs/{run['run_id']}:retry")
    platform.drain()
    again = platform.get(f"/runs/{run['run_id']}")
    assert again["state"] == "SUCCEEDED", again["error"]
    assert again["outputs"]["parameters"] == {"said": "it was heads"}
    assert platform.states(run["run_id"])["after-heads"] == "SUCCEEDED"


def test_a_condition_that_cannot_be_computed_fails_the_run_with_its_reason(platform: Platform) -> None:
    spec = _branches()
    spec["root"]["dag"]["tasks"]["heads"]["triggerPolicy"] = {"condition": "int(inputs.parameter_values['flip']) > 1"}
    platform.steps |= {"flip": lambda _: gives({"Output": "heads"})}
    run = platform.run(spec)
    assert run["state"] == "FAILED"
    assert "the condition cannot read 'heads' as a number" in run["error"]["message"]


def test_task_details_name_parents_and_children(platform: Platform) -> None:
    platform.steps |= {"flip": lambda _: gives({"Output": "heads"}), "heads.say": _echo}
    details = {detail["display_name"]: detail for detail in platform.run(_branches())["run_details"]["task_details"]}
    assert details["say"]["parent_task_id"] == details["heads"]["task_id"]
    assert details["heads"]["child_tasks"] == [{"task_id": details["say"]["task_id"]}]
    assert {child["task_id"] for child in details["flip"]["child_tasks"]} == {
        details["heads"]["task_id"], details["tails"]["task_id"],
    }  # fmt: skip
