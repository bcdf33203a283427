"""Exit handlers, ignore_upstream_failure and the final status that they are given."""

from typing import Any

from pipelines.harness import Platform, component, fails, pipeline, task

STATUS = {"status": {"parameterType": "TASK_FINAL_STATUS", "isOptional": True}}


def _guarded(*, ends: str = "work") -> dict[str, Any]:
    """Describe a scope, an exit task with its status, a step after that, and one that waits for the scope alone."""
    work = {"dag": {"tasks": {"a": task("a"), "b": task("b", ("a",))}}}
    leave = task("leave", (ends,))
    leave["inputs"]["parameters"]["status"] = {"taskFinalStatus": {"producerTask": ends}}
    leave["triggerPolicy"] = {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    tasks = {"work": task("work"), "leave": leave, "last": task("last", ("leave",)), "then": task("then", ("work",))}
    names = ("a", "b", "last", "then")
    return pipeline(
        tasks,
        {"work": work, "leave": component("leave", takes=STATUS), **{name: component(name) for name in names}},
    )


def _status(platform: Platform) -> dict[str, Any]:
    (request,) = [event for event in platform.requested if event["data"]["task_name"] == "leave"]
    status: dict[str, Any] = request["data"]["executor_input"]["inputs"]["parameterValues"]["status"]
    return status


def test_an_exit_task_runs_after_a_failure_and_is_told_of_it(platform: Platform) -> None:
    platform.steps["work.a"] = lambda _: fails("ValueError: bad")
    run = platform.run(_guarded())
    assert run["state"] == "FAILED"
    assert "task work.a failed: ValueError: bad" in run["error"]["message"]
    states = platform.states(run["run_id"])
    assert states == {
        "work": "FAILED", "work.a": "FAILED", "work.b": "SKIPPED", "leave": "SUCCEEDED", "last": "SUCCEEDED",
        "then": "SKIPPED",
    }  # fmt: skip
    status = _status(platform)
    assert (status["state"], status["pipelineTaskName"]) == ("FAILED", "work")
    assert status["pipelineJobResourceName"].startswith("test-pipeline-")
    assert "ValueError: bad" in status["error"]["message"]


def test_an_exit_task_runs_after_a_success_too(platform: Platform) -> None:
    assert platform.run(_guarded())["state"] == "SUCCEEDED"
    assert _status(platform)["state"] == "COMPLETE"
    assert _status(platform)["error"] == {}


def test_an_exit_task_waits_for_what_still_runs(local: Platform) -> None:
    spec = pipeline({"a": task("a"), "b": task("b"), "leave": task("leave", ("a", "b"))})
    spec["root"]["dag"]["tasks"]["leave"]["triggerPolicy"] = {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    local.steps["a"] = lambda _: fails("E: no")
    run_id = local.submit(spec)
    local.drain(until=lambda: local.states(run_id)["a"] == "FAILED")
    assert local.states(run_id)["leave"] == "PENDING"
    local.drain()
    assert local.states(run_id) == {"a": "FAILED", "b": "SUCCEEDED", "leave": "SUCCEEDED"}
    assert local.get(f"/runs/{run_id}")["state"] == "FAILED"


def test_what_a_failure_skips_does_not_hold_up_an_exit_task(local: Platform) -> None:
    spec = pipeline({"a": task("a"), "b": task("b", ("a",)), "leave": task("leave", ("b",))})
    spec["root"]["dag"]["tasks"]["leave"]["triggerPolicy"] = {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    local.steps["a"] = lambda _: fails("E: no")
    run = local.run(spec)
    assert local.states(run["run_id"]) == {"a": "FAILED", "b": "SKIPPED", "leave": "SUCCEEDED"}


def test_a_task_that_ignores_a_failure_takes_its_default_for_the_missing_output(local: Platform) -> None:
    spec = pipeline(
        {"a": task("a"), "b": task("b", text="a/Output")},
        {
            "a": component("a", returns={"Output": "STRING"}),
            "b": component(
                "b", takes={"text": {"parameterType": "STRING", "defaultValue": "none", "isOptional": True}}
            ),
        },
    )
    spec["root"]["dag"]["tasks"]["b"]["triggerPolicy"] = {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    local.steps["a"] = lambda _: fails("E: no")
    run = local.run(spec)
    assert local.states(run["run_id"])["b"] == "SUCCEEDED"
    (request,) = [event for event in local.requested if event["data"]["task_name"] == "b"]
    assert request["data"]["executor_input"]["inputs"]["parameterValues"] == {"text": "none"}


def test_a_retry_policy_of_a_scope_is_that_of_its_steps(local: Platform) -> None:
    spec = _guarded()
    spec["root"]["dag"]["tasks"]["work"]["retryPolicy"] = {"maxRetryCount": 2, "backoffDuration": "0s"}
    local.steps["work.a"] = lambda request: fails("E: no") if request["data"]["attempt"] < 3 else {}
    assert local.run(spec)["state"] == "SUCCEEDED"
