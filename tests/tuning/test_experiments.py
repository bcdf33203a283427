"""Experiments on a running host, by kubectl and HTTP."""

import json
import os
import subprocess
import sys

import pytest

from tuning.experiments import experiment, outcome


def test_an_experiment_runs_its_trials_and_names_the_best(tuning):
    tuning.apply(experiment("square"))
    ended = tuning.ended("square")
    status = ended["status"]
    assert (status["trials"], status["trialsSucceeded"]) == (4, 4)
    assert outcome(ended)["reason"] == "ExperimentMaxTrialsReached"
    tried = {
        trial["metadata"]["name"]: float(trial["spec"]["parameterAssignments"][0]["value"])
        for trial in tuning.trials("square")
    }
    best = min(tried, key=lambda name: tried[name] ** 2)
    optimal = status["currentOptimalTrial"]
    assert optimal["bestTrialName"] == best
    assert float(optimal["observation"]["metrics"][0]["min"]) == pytest.approx(tried[best] ** 2)
    assert tuning.jobs("square") == []  # retain is not set
    suggestion = tuning.get("suggestions", "square")
    assert {each["name"] for each in suggestion["status"]["suggestions"]} == set(tried)
    assert "Succeeded" in tuning.host.kubectl("get", "experiment", "square")


def test_defaults_are_written_out(tuning):
    obj = experiment("defaults", maxTrialCount=4)
    del obj["spec"]["parallelTrialCount"]
    tuning.apply(obj)
    spec = tuning.get("experiments", "defaults")["spec"]
    assert spec["parallelTrialCount"] == 3
    assert spec["resumePolicy"] == "Never"
    assert spec["metricsCollectorSpec"] == {"collector": {"kind": "StdOut"}}
    assert spec["objective"]["metricStrategies"] == [{"name": "loss", "value": "min"}]
    tuning.ended("defaults")


def test_the_goal_ends_an_experiment_and_what_still_runs(tuning):
    script = "import time; x = float('${trialParameters.x}'); time.sleep(60 if x > 0 else 0); print(f'loss={x}')"
    points = {"name": "x", "parameterType": "discrete", "feasibleSpace": {"list": ["1", "-2"]}}
    tuning.apply(
        experiment(
            "goal",
            script,
            parameters=[points],
            algorithm={"algorithmName": "grid"},
            maxTrialCount=2,
            objective={"type": "minimize", "objectiveMetricName": "loss", "goal": -1.5},
        )
    )
    ended = tuning.ended("goal")
    assert outcome(ended)["reason"] == "ExperimentGoalReached"
    assert ended["status"]["trialsKilled"] == 1
    assert tuning.jobs("goal") == []


def test_failed_trials_fail_the_experiment_with_their_last_words(tuning):
    script = "import sys; print('loss=1'); sys.exit('no data at ${trialParameters.x}')"
    tuning.apply(experiment("broken", script, maxTrialCount=6, maxFailedTrialCount=2))
    ended = tuning.ended("broken")
    condition = outcome(ended)
    assert (condition["type"], condition["reason"]) == ("Failed", "ExperimentMaxFailedTrialsReached")
    assert "no data at" in condition["message"]
    assert "currentOptimalTrial" not in ended["status"]


def test_an_undefined_name_is_named_with_its_cure(tuning):
    tuning.apply(experiment("unimported", "time.sleep(${trialParameters.x})", maxTrialCount=2))
    condition = outcome(tuning.ended("unimported"))
    assert condition["reason"] == "ExperimentAllTrialsFailed"
    assert "name 'time' is not defined" in condition["message"]
    assert "write `import time` inside the objective function" in condition["message"]


def test_a_trial_without_a_number_says_what_it_printed(tuning):
    tuning.apply(experiment("nan", "print('loss=nan', '${trialParameters.x}')", maxTrialCount=1))
    condition = outcome(tuning.ended("nan"))
    assert condition["type"] == "Failed"
    assert "no finite number for the objective metric 'loss': loss=nan" in condition["message"]
    assert outcome(tuning.trials("nan")[0])["type"] == "MetricsUnavailable"


def test_an_image_that_cannot_run_here_says_so(tuning):
    obj = experiment("image", maxTrialCount=1)
    container = obj["spec"]["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"]["containers"][0]
    container.update(args=container.pop("command"), image="ghcr.io/someone/model")
    tuning.apply(obj)
    message = outcome(tuning.ended("image"))["message"]
    assert "this host runs processes and no images" in message


def test_deleting_an_experiment_ends_its_jobs(tuning, wait_until):
    tuning.apply(experiment("deleted", "import time; time.sleep(600); '${trialParameters.x}'"))

    def pods():
        return [pod for pod in tuning.host.running_pods() if pod.startswith("deleted-")]

    wait_until(lambda: len(pods()) == 2, "two trials to run")
    tuning.host.kubectl("delete", "experiment", "deleted")
    wait_until(lambda: not pods(), "the trials' processes to end")
    assert tuning.jobs("deleted") == []
    assert tuning.trials("deleted") == []


def test_a_finished_experiment_resumes_when_its_budget_is_raised(tuning):
    tuning.apply(experiment("resumed", resumePolicy="LongRunning", maxTrialCount=2))
    tuning.ended("resumed")
    tuning.apply(experiment("resumed", resumePolicy="LongRunning", maxTrialCount=5))
    assert tuning.ended("resumed", "ExperimentMaxTrialsReached")
    path = "{.status.trialsSucceeded}"
    tuning.host.kubectl("wait", "experiment/resumed", f"--for=jsonpath={path}=5", "--timeout=30s")
    tuning.host.kubectl("wait", "experiment/resumed", "--for=condition=Succeeded", "--timeout=30s")


def test_a_finished_experiment_that_is_not_to_be_resumed_refuses_a_larger_budget(tuning):
    tuning.apply(experiment("final", maxTrialCount=1))
    tuning.ended("final")
    said = tuning.apply(experiment("final", maxTrialCount=3), check=False)
    assert 'spec.resumePolicy: Invalid value: "Never": Experiment can be restarted if' in said


def test_a_wrong_experiment_is_refused_with_the_path_of_the_field(tuning):
    said = tuning.apply(experiment("wrong", algorithm={"algorithmName": "hyperbend"}), check=False)
    assert "spec.algorithm.algorithmName" in said
    assert "hyperband" in said


def test_a_retained_trial_keeps_its_job_and_its_log(tuning):
    tuning.apply(experiment("retained", maxTrialCount=1, template={"retain": True}))
    tuning.ended("retained")
    [job] = tuning.jobs("retained")
    assert "loss=" in tuning.host.kubectl("logs", f"job/{job['metadata']['name']}")


def test_metrics_are_kept_as_a_series(tuning, tuned_host):
    import sqlite3

    script = "print('loss=3'); print('loss=1 accuracy=0.5'); print('loss=2'); '${trialParameters.x}'"
    objective = {"type": "minimize", "objectiveMetricName": "loss", "additionalMetricNames": ["accuracy"]}
    tuning.apply(experiment("series", script, maxTrialCount=1, objective=objective))
    tuning.ended("series")
    metrics = tuning.trials("series")[0]["status"]["observation"]["metrics"]
    assert metrics == [
        {"name": "loss", "latest": "2", "min": "1", "max": "3"},
        {"name": "accuracy", "latest": "0.5", "min": "0.5", "max": "0.5"},
    ]
    with sqlite3.connect(tuned_host.home / "db" / "metadata.sqlite") as database:
        rows = database.execute(
            "SELECT value FROM trial_metrics WHERE experiment = 'series' AND metric = 'loss' ORDER BY step"
        ).fetchall()
    assert [row[0] for row in rows] == ["3", "1", "2"]


def tune(host, folder, *arguments):
    command = [sys.executable, "-m", "zeroflow", "tune", "--home", str(host.home), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=60)


def test_tune_finds_the_best_parameters_of_a_function(tuned_host, tmp_path):
    (tmp_path / "objective.py").write_text("def parabola(x, kind):\n    return (x - 2) ** 2 + (kind != 'good')\n")
    done = tune(
        tuned_host,
        tmp_path,
        "objective.py:parabola",
        "--space",
        "x=0..4",
        "--space",
        "kind=good,bad",
        "--algorithm",
        "grid",
        "--trials",
        "10",
        "-o",
        "json",
    )
    assert done.returncode == 0, done.stderr
    optimal = json.loads(done.stdout)["optimal"]
    assert optimal["observation"]["metrics"][0]["latest"] == "0.0"
    assert {each["name"]: each["value"] for each in optimal["parameterAssignments"]} == {"x": "2", "kind": "good"}


def test_tune_says_in_one_line_why_every_trial_failed(tuned_host, tmp_path):
    (tmp_path / "objective.py").write_text("def broken(x):\n    raise ValueError(f'no model for {x}')\n")
    done = tune(tuned_host, tmp_path, "objective.py:broken", "--space", "x=0..4", "--trials", "2")
    assert done.returncode == 1
    assert "none succeeded" in done.stderr.splitlines()[-1]
    assert "ValueError: no model for" in done.stderr.splitlines()[-1]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")
def test_trials_with_a_limit_have_processors_of_their_own(tuning):
    script = "import os, time; time.sleep(0.6); [cpu] = os.sched_getaffinity(0); print('loss=%d' % cpu)"
    obj = experiment("pinned", script)
    container = obj["spec"]["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"]["containers"][0]
    container |= {"resources": {"limits": {"cpu": "500m"}}, "env": [{"name": "X", "value": "${trialParameters.x}"}]}
    tuning.apply(obj)
    assert tuning.ended("pinned")["status"]["trialsSucceeded"] == 4
    assert len({each["status"]["observation"]["metrics"][0]["latest"] for each in tuning.trials("pinned")}) == 2


def test_a_silent_failure_is_told_by_its_exit_code(tuning):
    tuning.apply(experiment("silent", "import sys; '${trialParameters.x}'; sys.exit(3)", maxTrialCount=1))
    assert "exit code 3" in outcome(tuning.ended("silent"))["message"]


def test_conditions_that_never_come_true_fail_a_job_that_is_over(tuning):
    unmet = {"successCondition": "status.succeeded", "failureCondition": "status.failed"}  # numbers are no conditions
    tuning.apply(experiment("unmet", maxTrialCount=1, template=unmet))
    said = outcome(tuning.ended("unmet"))["message"]
    assert "the Job is Complete, and neither successCondition 'status.succeeded' nor" in said


def test_what_came_of_short_trials_is_told_while_a_long_one_runs(tuning, wait_until):
    script = "import time; x = float('${trialParameters.x}'); time.sleep(600 if x > 1 else 0); print(f'loss={x}')"
    points = {"name": "x", "parameterType": "discrete", "feasibleSpace": {"list": ["0.1", "0.2", "0.3", "9"]}}
    tuning.apply(
        experiment("hurry", script, parameters=[points], algorithm={"algorithmName": "grid"}, parallelTrialCount=1)
    )

    def told() -> bool:
        status = tuning.get("experiments", "hurry").get("status", {})
        return (status.get("trialsSucceeded"), status.get("trialsRunning")) == (3, 1)

    wait_until(told, "the Experiment to tell of all four")
    assert tuning.get("suggestions", "hurry")["status"]["suggestionCount"] == 4
    assert tuning.get("experiments", "hurry")["status"]["currentOptimalTrial"]["parameterAssignments"] == [
        {"name": "x", "value": "0.1"}
    ]
    tuning.host.kubectl("delete", "experiment", "hurry")
