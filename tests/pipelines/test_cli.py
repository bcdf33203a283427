"""`zeroflow runs` and `zeroflow why` against the function in gunicorn, with steps that really run."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def zeroflow(url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what runs a command in this process: its exit code, stdout and stderr."""
    from typer.testing import CliRunner

    from zeroflow.cli.main import app

    monkeypatch.setenv("ZEROFLOW_URL", url)

    def call(*args: str) -> Any:
        return CliRunner().invoke(app, list(args))

    return call


@pytest.fixture(scope="module")
def runs(client: Any) -> list[str]:
    """Two runs of the tutorial in a namespace of this module's own: one that succeeds, one that fails."""
    from pipelines.tutorial import tutorial

    made = []
    for name, parameters in (("good", {"rows": 3}), ("bad", {"rows": 3, "least": 100})):
        made.append(client.create_run_from_pipeline_func(tutorial, parameters, name, "cli", "cli").run_id)
        client.wait_for_run_completion(made[-1], 60, sleep_duration=0.05)
    return made


def test_runs_are_listed_and_shown(zeroflow: Any, runs: list[str]) -> None:
    listed = zeroflow("runs", "list", "-n", "cli")
    assert listed.exit_code == 0, listed.output
    heading, newest, oldest = listed.stdout.splitlines()
    assert heading.split() == ["RUN", "NAME", "STATE", "CREATED_AT", "TIME"]
    assert newest.split()[:3] == [runs[1], "bad", "FAILED"]
    assert oldest.split()[:3] == [runs[0], "good", "SUCCEEDED"]
    failed = json.loads(zeroflow("runs", "list", "-n", "cli", "--state", "failed", "-o", "json").stdout)
    assert [run["run_id"] for run in failed] == [runs[1]]
    shown = zeroflow("runs", "show", "good", "-n", "cli")
    assert "Output = ab: /data/ab/processed (6)" in shown.stdout
    assert "(all)" in shown.stdout
    whole = json.loads(zeroflow("runs", "show", runs[0], "-o", "json").stdout)
    assert whole["cost"]["total"]["attempts"] == 3
    assert {task["name"] for task in whole["tasks"]} == {"", "create", "process", "report"}
    assert json.loads(zeroflow("runs", "show", "last", "-n", "cli", "-o", "json").stdout)["run_id"] == runs[1]


def test_logs_events_and_differences(zeroflow: Any, runs: list[str]) -> None:
    assert zeroflow("runs", "logs", runs[1], "report").stdout.startswith("Traceback")
    every = zeroflow("runs", "logs", runs[1], "-f").stdout
    assert "report | ValueError: no rows: 6 < 100" in every
    silent = zeroflow("runs", "logs", runs[1], "create")
    assert (silent.exit_code, "its outputs were reused" in silent.stderr) == (1, True)
    events = json.loads(zeroflow("runs", "events", runs[0], "-o", "json").stdout)
    assert events[0]["type"] == "dev.zeroflow.run.requested"
    assert "run.finished" in zeroflow("runs", "events", runs[0]).stdout
    parted = zeroflow("runs", "diff", *runs)
    assert (parted.exit_code, parted.stdout.splitlines()[0]) == (1, "first difference: parameter least: 1 -> 100")
    assert zeroflow("runs", "diff", runs[0], runs[0]).stdout == "nothing differs\n"


def test_why(zeroflow: Any, runs: list[str]) -> None:
    table = zeroflow("why", runs[1]).stdout.splitlines()
    assert [line.split()[:2] for line in table[1:]] == [["create", "yes"], ["process", "yes"], ["report", "no"]]
    one = zeroflow("why", runs[1], "report").stdout
    assert "nearest earlier execution: report of run good" in one
    assert "parameter least differs\n    then: 1\n    now:  100" in one
    assert json.loads(zeroflow("why", runs[1], "create", "-o", "json").stdout)["hit"] is True


def test_retry_fork_and_cancel(zeroflow: Any, runs: list[str]) -> None:
    retried = zeroflow("runs", "retry", runs[1])
    assert (retried.exit_code, "no rows: 6 < 100" in retried.stderr) == (1, True)
    forked = zeroflow("runs", "fork", "bad", "-n", "cli", "-p", "least=2", "--name", "mended", "-o", "json")
    assert forked.exit_code == 0, forked.output
    made = json.loads(forked.stdout)
    assert (made["display_name"], made["state"], made["forked_from"]) == ("mended", "SUCCEEDED", runs[1])
    started = zeroflow("runs", "fork", runs[0], "--from", "process", "--no-wait")
    assert f"is a fork of {runs[0]}" in started.stdout
    for args, code, message in (
        (("runs", "cancel", runs[0]), 1, "only a run that is not finished can be terminated"),
        (("runs", "retry", runs[0]), 1, "only a failed or canceled run can be retried"),
        (("runs", "fork", runs[0], "--from", "ghost"), 1, "has no task 'ghost'"),
        (("runs", "fork", runs[0], "-p", "ghost=1"), 2, "the pipeline has no such parameter"),
        (("runs", "show", "nobody"), 1, "there is no run 'nobody' in namespace default"),
        (("runs", "show", runs[0], "-o", "xml"), 2, "expected table or json"),
        (("runs", "logs", runs[0], "ghost"), 1, "has no task 'ghost'"),
        (("why", runs[0], "ghost"), 1, "has no task 'ghost'"),
    ):
        refused = zeroflow(*args)
        assert (refused.exit_code, len(refused.stderr.strip().splitlines())) == (code, 1), refused.output
        assert message in refused.stderr


def test_a_command_is_found_by_the_program(url: str, runs: list[str], tmp_path: Path) -> None:
    environment = {**os.environ, "ZEROFLOW_URL": url, "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "zeroflow", "runs", "show", runs[0], "-o", "json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout)["state"] == "SUCCEEDED"
