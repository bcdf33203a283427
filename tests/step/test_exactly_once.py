"""Deliveries repeat and processes are killed; the user's code runs once per attempt as far as that can be."""

import concurrent.futures
import json
import os
import signal

import pytest


def ran(counter):
    """Return how often the step's code ran."""
    return counter.read_text().count("ran") if counter.exists() else 0


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        yield threads


def test_a_redelivery_after_success_gets_the_same_answer_without_a_second_run(function, task, components, tmp_path):
    wanted = task(components.count_and_wait, {"counter": str(tmp_path / "count"), "gate": ""})
    first, second = function.request(wanted), function.request(wanted)
    assert first["state"] == "SUCCEEDED"
    assert second == first
    assert ran(tmp_path / "count") == 1


def test_a_redelivery_while_the_step_runs_waits_for_it(function, task, components, tmp_path, until, pool):
    counter, gate = tmp_path / "count", tmp_path / "gate"
    wanted = task(components.count_and_wait, {"counter": str(counter), "gate": str(gate)})
    answers = [pool.submit(function.request, wanted) for _ in range(3)]
    until(lambda: ran(counter), "the step")
    gate.touch()
    first, *others = [answer.result(30) for answer in answers]
    assert first["state"] == "SUCCEEDED"
    assert others == [first, first]
    assert ran(counter) == 1


@pytest.mark.parametrize("victim", ["worker", "gunicorn"])
def test_a_step_dies_with_its_function_and_runs_again_when_it_is_delivered_again(
    own_function, task, components, tmp_path, until, lives, pool, victim
):
    function, counter, gate = own_function(), tmp_path / "count", tmp_path / "gate"
    wanted = task(components.count_and_wait, {"counter": str(counter), "gate": str(gate)})
    lost = pool.submit(function.request, wanted)
    until(lambda: ran(counter), "the step")
    step = int((function.folder(wanted) / "control" / "pid").read_text().split()[0])
    below = function.descendants()
    assert step in below
    if victim == "worker":
        function.kill_worker()
        until(function.ready, "the next worker")
    else:
        function.kill()
    assert lost.exception(30) is not None
    until(lambda: not any(lives(pid) for pid in below), "the end of all that belonged to it")
    if victim == "gunicorn":
        function.start()
    again = pool.submit(function.request, wanted)
    until(lambda: ran(counter) == 2, "the second run")
    gate.touch()
    assert again.result(30)["state"] == "SUCCEEDED"
    assert "begins anew" in function.log_of(wanted)
    assert not function.folder(wanted).exists()


def test_code_that_ended_before_a_crash_does_not_run_again(own_function, task, components, tmp_path, until, pool):
    """The function is stopped between the end of the user's code and its answer."""
    function, counter, gate = own_function(), tmp_path / "count", tmp_path / "gate"
    wanted = task(components.count_and_wait, {"counter": str(counter), "gate": str(gate)})
    lost = pool.submit(function.request, wanted)
    until(lambda: ran(counter), "the step")
    worker = function.descendants()[0]
    os.kill(worker, signal.SIGSTOP)
    gate.touch()
    note = function.folder(wanted) / "control" / "ended.json"
    until(note.exists, "the note of the end")
    os.kill(worker, signal.SIGKILL)
    assert lost.exception(30) is not None
    until(function.ready, "the next worker")
    answer = function.request(wanted)
    assert (answer["state"], answer["outputs"]["parameterValues"]) == ("SUCCEEDED", {"Output": "done"})
    assert ran(counter) == 1
    assert not function.folder(wanted).exists()


def test_a_note_from_before_a_restart_of_the_machine_is_not_trusted(function, task, components, tmp_path):
    counter = tmp_path / "count"
    wanted = task(components.count_and_wait, {"counter": str(counter), "gate": ""})
    control = function.folder(wanted) / "control"
    control.mkdir(parents=True)
    note = {"boot": "another", "exit_code": 0, "started_ms": 1, "finished_ms": 2, "run_ms": 1.0, "error": None}
    (control / "ended.json").write_text(json.dumps({**note, "reason": None}))
    assert function.request(wanted)["state"] == "SUCCEEDED"
    assert ran(counter) == 1


def test_two_attempts_at_a_task_are_two_runs(function, task, components, tmp_path):
    wanted = task(components.count_and_wait, {"counter": str(tmp_path / "count"), "gate": ""})
    function.request(wanted)
    function.request({**wanted, "attempt": 2})
    assert ran(tmp_path / "count") == 2


def test_steps_run_side_by_side(function, task, components, tmp_path, until, pool):
    """Each of eight steps waits until all eight have begun."""
    gate, counters = tmp_path / "gate", [tmp_path / f"count{i}" for i in range(8)]
    wanted = [task(components.count_and_wait, {"counter": str(counter), "gate": str(gate)}) for counter in counters]
    answers = [pool.submit(function.request, each) for each in wanted]
    until(lambda: all(map(ran, counters)), "eight steps at once")
    gate.touch()
    assert [answer.result(30)["state"] for answer in answers] == ["SUCCEEDED"] * 8


def test_the_fork_server_is_replaced_when_it_dies(own_function, task, components, tmp_path, until, pool):
    function, counter, gate = own_function(), tmp_path / "count", tmp_path / "gate"
    wanted = task(components.count_and_wait, {"counter": str(counter), "gate": str(gate)})
    running = pool.submit(function.send, "dev.zeroflow.task.requested", f"{wanted['task_id']}.1.requested", wanted)
    until(lambda: ran(counter), "the step")
    _worker, zygote, *_ = function.descendants()
    os.kill(zygote, signal.SIGKILL)
    assert running.result(30).status == 503  # the broker delivers it again
    gate.touch()
    assert function.request(wanted)["state"] == "SUCCEEDED"
    assert ran(counter) == 2


@pytest.mark.parametrize("stubborn", [False, True], ids=["plain", "ignores-sigterm"])
def test_a_cancelation_ends_the_process_group_within_two_seconds(
    function, task, components, tmp_path, until, lives, pool, stubborn
):
    wanted = task(components.start_a_family, {"pids": str(tmp_path / "pids"), "stubborn": stubborn})
    answer = pool.submit(function.request, wanted)
    until((tmp_path / "pids").exists, "the step")
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    function.cancel(wanted)
    answer = answer.result(2)
    assert (answer["state"], answer["error"]) == ("FAILED", {"message": "canceled", "reason": "Canceled"})
    until(lambda: not any(lives(pid) for pid in pids), "the end of the process group", 1)


def test_another_instance_of_the_function_can_cancel(own_function, task, components, tmp_path, until, pool):
    function = own_function()
    other = own_function(ZEROFLOW_SCRATCH=str(function.home / "run"))
    wanted = task(components.start_a_family, {"pids": str(tmp_path / "pids"), "stubborn": False})
    answer = pool.submit(function.request, wanted)
    until((tmp_path / "pids").exists, "the step")
    other.cancel(wanted)
    assert answer.result(2)["error"]["reason"] == "Canceled"


def test_an_attempt_that_was_canceled_before_it_began_does_not_begin(function, task, components, tmp_path):
    wanted = task(components.count_and_wait, {"counter": str(tmp_path / "count"), "gate": ""})
    function.cancel(wanted)
    answer = function.request(wanted)
    assert (answer["state"], answer["error"]["reason"]) == ("FAILED", "Canceled")
    assert ran(tmp_path / "count") == 0
    assert not function.folder(wanted).exists()
