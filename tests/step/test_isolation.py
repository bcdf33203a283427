"""What a step sees of the platform, and what steps share."""

import os
import time


def test_the_platforms_settings_and_secrets_are_not_in_a_steps_environment(function, task, components):
    wanted = task(components.say_environment)
    wanted["executor"]["env"] = [{"name": "MINE", "value": "a b"}]
    seen = function.request(wanted)["outputs"]["parameterValues"]
    variables = seen["environ"]
    assert variables["MINE"] == "a b"
    assert variables["PATH"] == os.environ["PATH"]
    forbidden = ("ZEROFLOW", "K_", "KUBECONFIG", "AWS_", "PORT", "GUNICORN")
    assert [name for name in variables if name.startswith(forbidden)] == []
    for text in ("platform-secret", "metadata.sqlite"):
        assert text not in str(variables)
        assert text not in seen["initial"]
    assert seen["cwd"] == str(function.folder(wanted) / "work")


def test_variables_that_python_reads_at_its_start_are_there_before_it_starts(function, task, components):
    wanted = task(components.say_environment)
    wanted["executor"]["env"] = [{"name": "PYTHONHASHSEED", "value": "7"}]
    seen = function.request(wanted)["outputs"]["parameterValues"]
    assert "PYTHONHASHSEED=7" in seen["initial"]
    assert "platform-secret" not in seen["initial"]


def test_steps_do_not_draw_the_same_random_numbers(function, task, components):
    draws = [function.request(task(components.draw))["outputs"]["parameterValues"]["Output"] for _ in range(2)]
    assert all(first != second for first, second in zip(*draws, strict=True))


def test_libraries_that_were_loaded_before_the_fork_compute_in_parallel_after_it(function, task, components):
    """OpenBLAS and OpenMP threads do not survive a fork; none may have been started before it."""
    for _ in range(3):
        answer = function.request(task(components.fit_in_parallel, timeout_s=60))
        assert answer["state"] == "SUCCEEDED", answer
        assert answer["outputs"]["parameterValues"]["Output"] > 0.9


def test_multiprocessing_works_in_a_step(function, task, components):
    answer = function.request(task(components.use_processes, timeout_s=60))
    assert answer["outputs"]["parameterValues"] == {"Output": [1, 2]}, answer


def test_what_a_process_ran_while_it_waited_for_its_step_has_left_no_trace(function, task, components):
    for _ in range(2):  # the second finds a process that was forked ahead
        wanted = task(components.look_for_another)
        seen = function.request(wanted)["outputs"]["parameterValues"]
        source = str(function.folder(wanted) / "control" / "ephemeral_component.py")
        assert seen["modules"] == []
        assert seen["path"][0] == os.path.dirname(source)
        assert "/functions/step" not in "".join(seen["path"])
        assert seen["argv"] == ["--component_module_path", source]
        log = function.log_of(wanted)
        assert log.count("said by 1 handler(s)") == 1
        assert log.count("Got executor_input") == 1


def test_abandoned_folders_are_removed_when_the_function_starts(own_function):
    function = own_function()
    function.stop()
    steps = function.home / "run" / "steps"
    for name, age_s in (("old.1", 25 * 3600), ("recent.1", 60), (".discarded-x.1.7", 60)):
        (steps / name / "work").mkdir(parents=True)
        os.utime(steps / name, (time.time() - age_s,) * 2)
    function.start()
    assert [path.name for path in steps.iterdir()] == ["recent.1"]


def test_the_folder_of_a_step_that_has_ended_serves_the_next_one_with_nothing_in_it(own_function, task, components):
    """Whatever a step leaves in its folders is gone before the next one begins there."""
    function = own_function()
    for _ in range(2):
        answer = function.request(task(components.litter))
        assert answer["state"] == "SUCCEEDED", answer["error"]
        assert answer["outputs"]["parameterValues"]["Output"] == []


def test_a_spare_folder_outlives_its_function(own_function, task, components, until):
    function = own_function()
    function.request(task(components.litter))
    steps = function.home / "run" / "steps"
    until(lambda: list(steps.glob(".spare-*")), "the folder of the step to be spare")
    (before,) = steps.glob(".spare-*")
    inode = before.stat().st_ino
    function.stop()
    function.start()
    answer = function.request(task(components.litter))
    assert answer["outputs"]["parameterValues"]["Output"] == []
    until(lambda: list(steps.glob(".spare-*")), "the folder to be spare again")
    (after,) = steps.glob(".spare-*")
    assert after.stat().st_ino == inode
