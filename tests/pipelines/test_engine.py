"""What becomes of a run, driven by events, with a step that only pretends."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines.harness import Platform, chain, component, constant, fails, finished, gives, pipeline, task


def test_a_chain_hands_each_output_to_the_next_step_and_succeeds(platform: Platform) -> None:
    for at in range(5):
        platform.steps[f"t{at}"] = lambda request: gives(
            {"Output": request["data"]["executor_input"]["inputs"]["parameterValues"]["n"] + 1}
        )
    run = platform.run(chain(5))
    assert run["state"] == "SUCCEEDED"
    assert [event["data"]["task_name"] for event in platform.requested] == ["t0", "t1", "t2", "t3", "t4"]
    assert platform.tasks(run["run_id"])["t4"]["outputs"]["parameters"] == {"Output": 5}
    assert [entry["state"] for entry in run["state_history"]] == ["PENDING", "RUNNING", "SUCCEEDED"]
    assert platform.log[0]["type"] == "dev.zeroflow.run.requested"
    assert platform.log[-1]["type"] == "dev.zeroflow.run.finished"
    assert platform.log[-1]["data"] == {"run_id": run["run_id"], "state": "SUCCEEDED"}


def test_independent_steps_are_requested_at_once_and_the_step_after_them_waits_for_all(platform: Platform) -> None:
    spec = pipeline({**{f"leaf{n}": task("leaf") for n in range(3)}, "join": task("join", ("leaf0", "leaf1", "leaf2"))})
    platform.submit(spec)
    requested = [event for event in platform.broker.events if event["type"].endswith("task.requested")]
    assert [event["data"]["task_name"] for event in requested] == ["leaf0", "leaf1", "leaf2"]
    for request in requested[:2]:
        platform.deliver(finished(request))
    assert len(platform.broker.events) == 4
    platform.deliver(finished(requested[2]))
    assert platform.broker.events[-1]["data"]["task_name"] == "join"


def test_parameters_of_every_type_reach_a_step_as_the_types_that_they_are(platform: Platform) -> None:
    kinds = {
        "i": "NUMBER_INTEGER", "f": "NUMBER_DOUBLE", "s": "STRING", "b": "BOOLEAN", "l": "LIST", "d": "STRUCT",
    }  # fmt: skip
    defaulted = {
        "x": {"parameterType": "NUMBER_INTEGER", "defaultValue": 3.0, "isOptional": True},
        "o": {"parameterType": "STRING", "isOptional": True},
        "unset": {"parameterType": "STRING", "isOptional": True},
    }
    spec = pipeline(
        {"use": task("use", **{key: f"pipeline.{key}" for key in kinds}, o="pipeline.missing")},
        {"use": component("use", takes={**kinds, **defaulted})},
        takes={**kinds, "missing": {"parameterType": "STRING", "isOptional": True}},
    )
    run = platform.run(spec, i=7.0, f=2, s="7", b=False, l=[1, 2.5, "x"], d={"k": [1.0]})
    assert run["state"] == "SUCCEEDED", run
    values = platform.requested[0]["data"]["executor_input"]["inputs"]["parameterValues"]
    assert values == {"i": 7, "f": 2.0, "s": "7", "b": False, "l": [1, 2.5, "x"], "d": {"k": [1.0]}, "x": 3}
    assert type(values["i"]) is int
    assert type(values["f"]) is float


def test_placeholders_in_constants_are_filled_once(platform: Platform) -> None:
    name, count = "{{$.inputs.parameters['pipelinechannel--name']}}", '{{$.inputs.parameters["pipelinechannel--n"]}}'
    inputs = {"pipelinechannel--name": "pipeline.name", "pipelinechannel--n": "pipeline.n"}
    spec = pipeline(
        {"greet": task("greet", text=constant(f"hello {name}, {count}!"), items=constant([name, count]), **inputs)},
        {"greet": component("greet", takes={"text": "STRING", "items": "LIST"})},
        takes={"name": "STRING", "n": "NUMBER_INTEGER"},
    )
    hostile = "{{$.inputs.parameters['pipelinechannel--n']}}"
    platform.run(spec, name=hostile, n=3)
    values = platform.requested[0]["data"]["executor_input"]["inputs"]["parameterValues"]
    assert values["text"] == f"hello {hostile}, 3!"
    assert values["items"] == [hostile, 3]


def test_a_failed_step_fails_the_run_in_one_line_and_nothing_new_begins(platform: Platform) -> None:
    spec = pipeline({"train": task("train"), "other": task("other"), "after": task("after", ("other",))})
    run_id = platform.submit(spec)
    requests = {event["data"].get("task_name"): event for event in platform.broker.events}
    platform.deliver(finished(requests["train"], **fails("ValueError: no rows")))
    assert platform.get(f"/runs/{run_id}")["state"] == "RUNNING"  # `other` is let finish
    platform.deliver(finished(requests["other"]))
    run = platform.get(f"/runs/{run_id}")
    log = f"store://logs/{run_id}/train.1.log"
    assert run["state"] == "FAILED"
    assert run["error"]["message"] == f"task train failed: ValueError: no rows (exit code 1); log: {log}"
    assert platform.states(run_id) == {"train": "FAILED", "other": "SUCCEEDED", "after": "SKIPPED"}


@pytest.mark.parametrize(
    ("cause", "code"),
    [("exit code 3", 3), ("killed by signal 11 (Segmentation fault)", -11), ("an output is missing", 0)],
)
def test_the_exit_code_is_told_once_and_only_where_it_tells_something(
    platform: Platform, cause: str, code: int
) -> None:
    platform.steps["train"] = lambda _: fails(cause, code)
    message = platform.run(pipeline({"train": task("train")}))["error"]["message"]
    assert message.startswith(f"task train failed: {cause}; log: ")


def test_an_integer_that_a_double_cannot_hold_is_refused_with_the_limit(platform: Platform) -> None:
    spec = pipeline({"big": task("big")}, {"big": component("big", returns={"n": "NUMBER_INTEGER"})})
    platform.steps["big"] = lambda _: gives({"n": 2**53})
    message = platform.run(spec)["error"]["message"]
    assert f"must be an integer within ±{2**53 - 1}, found a number {2**53}; use a string instead" in message


def test_a_step_is_retried_as_often_as_its_policy_says(platform: Platform) -> None:
    spec = pipeline({"flaky": {**task("flaky"), "retryPolicy": {"maxRetryCount": 2, "backoffDuration": "0s"}}})
    platform.steps["flaky"] = lambda request: fails("E: no") if request["data"]["attempt"] < 3 else gives()
    run = platform.run(spec)
    assert run["state"] == "SUCCEEDED"
    assert [event["data"]["attempt"] for event in platform.requested] == [1, 2, 3]
    platform.steps["flaky"] = lambda _: fails("E: never")
    assert platform.run(spec)["state"] == "FAILED"
    assert [event["data"]["attempt"] for event in platform.requested[3:]] == [1, 2, 3]


def test_a_retry_with_backoff_waits_until_it_is_due(platform: Platform) -> None:
    policy = {"maxRetryCount": 1, "backoffDuration": "0.15s"}
    platform.steps["flaky"] = lambda request: fails("E: no") if request["data"]["attempt"] < 2 else gives()
    run = platform.run(pipeline({"flaky": {**task("flaky"), "retryPolicy": policy}}))
    assert run["state"] == "SUCCEEDED"
    delayed = next(event for event in platform.log if event["type"] == "dev.zeroflow.task.delayed")
    again = platform.requested[1]
    assert delayed["data"]["not_before_ms"] > 0
    assert again["data"]["attempt"] == 2
    assert platform.tasks(run["run_id"])["flaky"]["retry_at"] is None


@pytest.mark.parametrize("repeat", [1, 2])
def test_repeated_late_and_overtaken_outcomes_change_nothing(platform: Platform, repeat: int) -> None:
    spec = pipeline({"a": {**task("a"), "retryPolicy": {"maxRetryCount": 1}}, "b": task("b", ("a",))})
    run_id = platform.submit(spec)
    first = platform.broker.events.pop()
    for _ in range(repeat):
        platform.deliver(finished(first, **fails("E: no")))
    second = platform.broker.events[-1]
    assert second["data"]["attempt"] == 2
    late = {**finished(first), "id": "another-id"}
    assert platform.deliver(late).status_code == 204  # attempt 1 is over
    assert platform.states(run_id) == {"a": "RUNNING", "b": "PENDING"}
    early = finished({**second, "data": {**second["data"], "attempt": 3}})
    assert platform.deliver(early).status_code == 204
    assert platform.states(run_id) == {"a": "RUNNING", "b": "PENDING"}
    unknown = finished({**second, "data": {**second["data"], "run_id": "gone", "task_id": "gone"}})
    assert platform.deliver(unknown).status_code == 204
    platform.deliver(finished(second))
    assert platform.states(run_id) == {"a": "SUCCEEDED", "b": "RUNNING"}


def test_a_redelivered_outcome_gets_the_same_answer_and_does_the_work_once(platform: Platform) -> None:
    platform.submit(chain(2))
    request = platform.broker.events.pop()
    outcome = finished(request, **gives({"Output": 1}))
    first, second = platform.deliver(outcome), platform.deliver(outcome)
    # what follows comes as the reply or is published; either way it is one event
    assert (first.status_code, first.headers.get("ce-id")) == (second.status_code, second.headers.get("ce-id"))
    assert first.get_json(silent=True) == second.get_json(silent=True)
    asked = [event for event in platform.broker.events if event["data"].get("task_name") == "t1"]
    assert len({event["id"] for event in asked}) == 1


def test_outcomes_that_arrive_at_once_are_all_counted(platform: Platform) -> None:
    leaves = {f"leaf{n}": task("leaf") for n in range(24)}
    run_id = platform.submit(pipeline({**leaves, "join": task("join", tuple(leaves))}))
    outcomes = [finished(event) for event in platform.broker.events if "task_id" in event["data"]]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(platform.deliver, [*outcomes, *outcomes]))
    assert {answer.status_code for answer in answers} <= {200, 204}
    joins = [event for event in platform.broker.events if event["data"].get("task_name") == "join"]
    assert len({event["id"] for event in joins}) == 1
    assert set(platform.states(run_id).values()) == {"SUCCEEDED", "RUNNING"}


def test_termination_cancels_what_runs_and_ignores_its_answers(platform: Platform) -> None:
    run_id = platform.submit(pipeline({"a": task("a"), "b": task("b", ("a",))}))
    request = platform.broker.events[-1]
    assert platform.post(f"/runs/{run_id}:terminate").status_code == 200
    assert platform.broker.events[-1]["type"] == "dev.zeroflow.task.canceled"
    assert platform.broker.events[-1]["data"] == {
        "run_id": run_id, "task_id": request["data"]["task_id"], "attempt": 1,
    }  # fmt: skip
    platform.deliver(finished(request))
    assert platform.get(f"/runs/{run_id}")["state"] == "CANCELED"
    assert platform.states(run_id) == {"a": "CANCELED", "b": "CANCELED"}
    assert platform.post(f"/runs/{run_id}:terminate").status_code == 400


def test_retrying_a_run_keeps_what_succeeded(platform: Platform) -> None:
    spec = pipeline({"a": task("a"), "b": task("b", ("a",)), "c": task("c", ("b",)), "d": task("d", ("a",))})
    platform.steps["b"] = lambda _: fails("E: no")
    run = platform.run(spec)
    assert run["state"] == "FAILED"
    ran = len(platform.requested)
    platform.steps.clear()
    assert platform.post(f"/runs/{run['run_id']}:retry").status_code == 200
    assert platform.get(f"/runs/{run['run_id']}")["state"] == "RUNNING"
    platform.drain()
    assert platform.get(f"/runs/{run['run_id']}")["state"] == "SUCCEEDED"
    again = [(event["data"]["task_name"], event["data"]["attempt"]) for event in platform.requested[ran:]]
    assert ("b", 2) in again
    assert "a" not in {name for name, _ in again}
    assert set(platform.states(run["run_id"]).values()) == {"SUCCEEDED"}
    assert platform.log[-1]["id"] == f"{run['run_id']}.1.finished"
    assert platform.post(f"/runs/{run['run_id']}:retry").status_code == 400


def test_an_output_of_the_wrong_type_fails_the_step_that_gave_it(platform: Platform) -> None:
    platform.steps["t0"] = lambda _: gives({"Output": "many"})
    run = platform.run(chain(2))
    assert run["state"] == "FAILED"
    assert "task t0 failed: output 'Output' must be an integer, found a text 'many'" in run["error"]["message"]


def test_a_long_chain_of_cached_steps_is_one_pass(local: Platform) -> None:
    spec = chain(1200)
    for spec_task in spec["root"]["dag"]["tasks"].values():
        spec_task["cachingOptions"] = {"enableCache": True}
    for at in range(1200):
        local.steps[f"t{at}"] = lambda _: gives({"Output": 1})
    assert local.run(spec)["state"] == "SUCCEEDED"
    ran = len(local.requested)
    assert ran == 2  # every step after the second has the same content
    assert local.run(spec)["state"] == "SUCCEEDED"
    assert len(local.requested) == ran
