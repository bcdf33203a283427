"""Every fault ends as FAILED with one line that names it, and the rest is in the log."""

import errno
import os
import signal
import time

import pytest

from zeroflow.artifacts import Stores
from zeroflow.functions.step import execution
from zeroflow.functions.step.request import Attempt
from zeroflow.functions.step.settings import StepSettings
from zeroflow.functions.step.workspace import Workspace
from zeroflow.settings import Settings


@pytest.fixture
def steps(tmp_path):
    """What attempts share, in this process."""
    environment = {
        "ZEROFLOW_HOME": str(tmp_path),
        "ZEROFLOW_STORE": str(tmp_path / "store"),
        "ZEROFLOW_SCRATCH": str(tmp_path / "run"),
        "ZEROFLOW_DATABASE_URL": f"sqlite:///{tmp_path}/unused.sqlite",
    }
    settings = Settings.from_environment(environment)
    made = execution.Steps(
        StepSettings.from_environment(settings, environment), Stores.from_settings(settings), os.environ
    )
    yield made
    made.close()


def run(steps, wanted):
    workspace = steps.workspace(Attempt.parse(wanted))
    with workspace.held():
        return execution.run(steps, workspace, wanted, time.monotonic() + 30)


def failed(function, wanted):
    answer = function.request(wanted)
    assert answer["state"] == "FAILED", answer
    assert "\n" not in answer["error"]["message"]
    return answer["error"]["message"], answer["error"]["reason"], answer["exit_code"]


def test_an_exception_is_the_cause_and_its_traceback_is_in_the_log(function, task, components):
    wanted = task(components.fail, {"rows": 0})
    assert failed(function, wanted) == ("ValueError: no rows", "Failed", 1)
    log = function.log_of(wanted)
    assert "Traceback (most recent call last)" in log
    assert 'raise ValueError("no rows\\nin the whole file")' in log
    assert "in the whole file" in log
    assert "executor.py" not in log
    assert "child.py" not in log


@pytest.mark.parametrize(
    ("name", "parameters", "message", "reason", "code"),
    [
        pytest.param("leave", {"code": 3}, "exit code 3", "Exited", 3, id="sys-exit"),
        pytest.param("leave_with_words", {}, "exit code 1: the table is empty", "Exited", 1, id="sys-exit-words"),
        pytest.param("leave_at_once", {"code": 4}, "exit code 4 before the component's end", "Exited", 4, id="os-exit"),
        pytest.param(
            "kill_self", {"number": int(signal.SIGKILL)}, "killed by signal 9 (out of memory?)", "Killed", -9, id="kill"
        ),
        pytest.param(
            "kill_self", {"number": int(signal.SIGSEGV)}, "killed by signal 11 (Segmentation fault)", "Killed", -11,
            id="segv",
        ),
        pytest.param(
            "broken_source", {}, "ModuleNotFoundError: No module named 'no_such_module'", "Failed", 1, id="import"
        ),
        pytest.param(
            "return_nothing", {}, "the step ended without writing its output parameter 'Output' (STRING)",
            "MissingOutput", 0, id="missing-output",
        ),
        pytest.param(
            "write_wrong_type", {}, "output parameter 'count' is declared NUMBER_INTEGER, the step wrote \"seven\"",
            "InvalidOutput", 0, id="wrong-type-in-file",
        ),
        pytest.param(
            "return_nan", {}, "output parameter 'Output' holds NaN or an infinity, which JSON does not have",
            "InvalidOutput", 0, id="nan",
        ),
    ],
)  # fmt: skip
def test_the_cause_says_how_the_step_ended(function, task, components, name, parameters, message, reason, code):
    wanted = task(getattr(components, name), parameters)
    assert failed(function, wanted) == (message, reason, code)
    assert message.partition(":")[0] in function.log_of(wanted) or reason == "Exited"


def test_exit_code_zero_without_outputs_is_a_success(function, task, components):
    assert function.request(task(components.leave_quietly))["state"] == "SUCCEEDED"


def test_a_wrong_return_type_is_named(function, task, components):
    message, _, _ = failed(function, task(components.return_wrong_type))
    assert message.startswith("ValueError: Function `return_wrong_type` returned value of type")


def test_a_time_out_ends_the_whole_process_group(function, task, components, tmp_path, until, lives):
    wanted = task(components.start_a_family, {"pids": str(tmp_path / "pids"), "stubborn": False}, timeout_s=0.8)
    assert failed(function, wanted)[:2] == ("timed out after 0.8 s", "TimedOut")
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    until(lambda: not any(map(lives, pids)), "the end of the process group")


def test_what_a_step_leaves_running_ends_with_it(function, task, components, tmp_path, until, lives):
    assert (
        function.request(task(components.leave_a_process_behind, {"pids": str(tmp_path / "pid")}))["state"]
        == "SUCCEEDED"
    )
    left = int((tmp_path / "pid").read_text())
    until(lambda: not lives(left), "the end of the process left behind")


def test_a_process_that_leaves_the_steps_session_ends_with_it_too(function, task, components, tmp_path, until, lives):
    wanted = task(components.leave_a_daemon_behind, {"pids": str(tmp_path / "pid")})
    assert function.request(wanted)["state"] == "SUCCEEDED"
    left = int((tmp_path / "pid").read_text())
    until(lambda: not lives(left), "the end of the daemon")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        pytest.param("link_as_output", "'data' is a symbolic link", id="link"),
        pytest.param("link_inside_output", "'data' holds etc, which is a symbolic link", id="link-in-directory"),
        pytest.param("pipe_as_output", "'data' is neither a file nor a directory", id="fifo"),
    ],
)
def test_outputs_that_are_no_files_are_refused(function, task, components, name, part):
    wanted = task(getattr(components, name))
    message, reason, _ = failed(function, wanted)
    assert part in message
    assert reason == "InvalidOutput"
    assert not (function.store / "artifacts" / "default" / "pipe" / wanted["run_id"]).exists()


def test_a_link_in_the_place_of_the_outputs_folder_is_refused(function, task, components, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    message, reason, _ = failed(function, task(components.link_above_output, {"outside": str(outside)}))
    assert reason == "InvalidOutput"
    assert "symbolic link" in message


@pytest.mark.parametrize(
    ("uri", "part"),
    [
        pytest.param(
            "store://artifacts/default/pipe/other-run/task/data", "outside of this task's own location", id="other-run"
        ),
        pytest.param("store://artifacts/../../../etc/passwd", "climbs out", id="climbing"),
    ],
)
def test_outputs_that_climb_out_of_the_tasks_location_are_refused(function, task, components, uri, part):
    message, reason, _ = failed(function, task(components.climb_out, {"uri": uri}))
    assert part in message
    assert "'data'" in message
    assert reason == "InvalidOutput"
    assert not (function.store / "artifacts/default/pipe/other-run").exists()


def test_an_output_parameter_whose_name_climbs_is_refused(function, task, components):
    wanted = task(components.return_nothing)
    wanted["executor_input"]["outputs"]["parameters"] = {"../../x": {}}
    message, _, _ = failed(function, wanted)
    assert "'../../x'" in message


def test_a_component_whose_code_is_in_an_image_is_refused_by_name(function, task, components):
    wanted = task(components.add, {"a": 1, "b": 1.0})
    args = ["--executor_input", "{{$}}", "--function_to_execute", "add"]
    wanted["executor"] = {"image": "own", "command": ["python3", "-m", "kfp.dsl.executor_main"], "args": args}
    message, reason, code = failed(function, wanted)
    assert message.startswith("the component's code is in image own alone; say what stands for it: zeroflow images map")
    assert (reason, code) == ("Unsupported", None)
    assert message in function.log_of(wanted)


@pytest.mark.parametrize(
    ("field", "value"),
    [("executor", "echo"), ("component", None), ("log_uri", "store://logs/../x.log"), ("timeout_s", "soon")],
)
def test_a_malformed_task_is_a_failed_one(function, task, components, field, value):
    wanted = {**task(components.add, {"a": 1, "b": 1.0}), field: value}
    message, reason, _ = failed(function, wanted)
    assert reason == "InvalidInput"
    assert field in message or str(value) in message


@pytest.mark.parametrize(("field", "value"), [("task_id", "../x"), ("attempt", "1"), ("run_id", None)])
def test_an_event_that_names_no_attempt_is_refused(function, task, components, field, value):
    wanted = {**task(components.add), field: value}
    answer = function.send("dev.zeroflow.task.requested", f"malformed-{field}", wanted)
    assert (answer.status, field in answer.data.decode()) == (400, True)


def test_without_kfp_a_step_fails_at_once_and_says_what_to_install(steps, task, components):
    steps.has_kfp = False
    error = run(steps, task(components.fail, {"rows": 0})).error
    assert error == {
        "message": "steps need kfp, which is not installed here: pip install 'zeroflow[step]'",
        "reason": "PackagesNotInstalled",
    }


def test_a_full_disk_is_the_cause_and_the_attempts_files_make_room(steps, task, components, monkeypatch):
    def full(workspace, ended):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Workspace, "note_end", full)  # as when the component has filled the disk
    wanted = task(components.leave_at_once, {"code": 4})
    outcome = run(steps, wanted)
    assert outcome.state == "FAILED"
    assert outcome.error == {"message": "the disk is full: No space left on device", "reason": "DiskFull"}
    left = steps.workspace(Attempt.parse(wanted)).path.rglob("*")
    assert [path.name for path in left if path.is_file() and path.stat().st_size] == []


def test_characters_that_no_database_holds_do_not_hide_the_cause(function, task, components):
    message, *_ = failed(function, task(components.fail_with_strange_characters))
    assert message == r"ValueError: no \x00 rows \udc80"


@pytest.mark.parametrize("code", ["0", "dc80"])
def test_an_output_with_characters_that_no_database_holds_is_refused(function, task, components, code):
    message, reason, _ = failed(function, task(components.return_strange_characters, {"text": code}))
    assert "U+0000 or half of a surrogate pair" in message
    assert reason == "InvalidOutput"


def test_metadata_lose_characters_that_no_database_holds(function, task, components):
    answer = function.request(task(components.describe_with_strange_characters))
    (artifact,) = answer["outputs"]["artifacts"]["data"]
    assert artifact["metadata"]["found"] == ["a\ufffdb?"]


def test_a_step_that_removes_its_own_folder_fails(function, task, components):
    assert failed(function, task(components.remove_its_folder))[1] == "Exited"
