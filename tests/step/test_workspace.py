"""Whom an attempt's folder may have killed."""

import fcntl
import subprocess

import pytest

from zeroflow.functions.step import workspace
from zeroflow.functions.step.errors import Interrupted


@pytest.fixture
def bystander():
    """A process with a group of its own, as a step has one."""
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def began(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[19])


@pytest.mark.parametrize(("later", "dies"), [(0, True), (-1, False)], ids=["the step", "a stranger with its number"])
def test_only_the_process_that_wrote_its_number_is_ended(tmp_path, monkeypatch, bystander, later, dies):
    monkeypatch.setattr(workspace, "GONE_S", 0.05)
    attempt = workspace.Workspace(tmp_path / "attempt")
    attempt.control.mkdir(parents=True)
    with (attempt.control / "pid").open("w+") as pid_file:
        fcntl.flock(pid_file, fcntl.LOCK_EX)  # something of the step lives on
        print(bystander.pid, began(bystander.pid) + later, file=pid_file, flush=True)
        with pytest.raises(Interrupted):
            attempt.end_child(grace_s=0.05)
    if dies:
        assert bystander.wait(10) == -15
    else:
        assert bystander.poll() is None
