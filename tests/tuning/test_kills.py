"""kill -9 in the middle of an Experiment: no trial is lost, and none that has ended runs again."""

import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from lifecycle.conftest import descendants
from tuning.experiments import Tuning, experiment, outcome

TRIALS = 12
SCRIPT = """
import time
x = "${trialParameters.x}"
time.sleep(0.15)
with open("NOTES", "a") as notes:
    notes.write(x + "\\n")
print(f"loss={float(x) ** 2}")
"""


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


def begun(host, wait_until, notes: Path, algorithm: str, trials: int = TRIALS) -> Tuning:
    tuning = Tuning(host, wait_until)
    tuning.apply(
        experiment(
            "killed",
            SCRIPT.replace("NOTES", str(notes)),
            maxTrialCount=trials,
            parallelTrialCount=3,
            algorithm={"algorithmName": algorithm, "algorithmSettings": [{"name": "random_state", "value": "7"}]},
        )
    )
    return tuning


def noted(notes: Path) -> list[str]:
    return notes.read_text().split() if notes.exists() else []


def check(tuning: Tuning, notes: Path, ended_before: Counter[str], kills: int = 1) -> None:
    ended = tuning.ended("killed")
    assert [outcome(each) for each in tuning.trials("killed") if outcome(each)["type"] != "Succeeded"] == []
    assert ended["status"]["trials"] == ended["status"]["trialsSucceeded"] == TRIALS
    counts = Counter(noted(notes))
    assert len(counts) == TRIALS
    assert {value: counts[value] for value in ended_before} == ended_before
    assert sum(counts.values()) <= TRIALS + 3 * kills  # those that ran when the host was killed run again
    assert tuning.jobs("killed") == []


def runs_of_ended(tuning: Tuning, notes: Path) -> Counter[str]:
    """Return how often each trial that has ended has run."""
    ended = [trial for trial in tuning.trials("killed") if outcome(trial)]
    counts = Counter(noted(notes))
    values = (trial["spec"]["parameterAssignments"][0]["value"] for trial in ended)
    return Counter({value: counts[value] for value in values})


def test_kill_9_of_the_host(own_host, wait_until, notes):
    tuning = begun(own_host, wait_until, notes, "random")
    for at in (3, 7):
        wait_until(lambda at=at: len(noted(notes)) >= at, f"{at} trials")
        ended = runs_of_ended(tuning, notes)
        own_host.kill()
        own_host.start()
    check(tuning, notes, ended, kills=2)


@pytest.mark.scale
@pytest.mark.parametrize("seed", [1, 2])
def test_kill_9_of_anything(own_host, wait_until, notes, seed):
    """The host, its fork servers, the functions and the trials, one of them every second, while 50 trials run."""
    chance = random.Random(seed)
    tuning = begun(own_host, wait_until, notes, "tpe", 50)
    killed: Counter[str] = Counter()
    while len(noted(notes)) < 45:
        time.sleep(chance.uniform(0.5, 1.5))  # not to wait for something: to let something happen
        if chance.random() < 0.25:
            own_host.kill()
            own_host.start()
            killed["host"] += 1
        elif below := own_host.processes():
            with suppress(ProcessLookupError):
                os.kill(chance.choice(below), signal.SIGKILL)
                killed["processes"] += 1
    status = tuning.ended("killed")["status"]
    print(f"\nkilled: {dict(killed)}; runs of 50 trials: {len(noted(notes))}")
    assert status["trials"] == status["trialsSucceeded"] == len(tuning.trials("killed")) == 50
    assert len(set(noted(notes))) == 50
    assert tuning.get("suggestions", "killed")["status"]["suggestionCount"] == 50
    assert tuning.jobs("killed") == []


def test_kill_9_of_the_function(own_host, wait_until, notes):
    tuning = begun(own_host, wait_until, notes, "random")
    killed = 0
    for at in (3, 7):
        wait_until(lambda at=at: len(noted(notes)) >= at, f"{at} trials")
        for pid in function_processes(own_host):
            os.kill(pid, signal.SIGKILL)
            killed += 1
    assert killed >= 2
    check(tuning, notes, Counter())
    assert max(Counter(noted(notes)).values()) == 1  # the trials themselves were not killed


def test_a_log_outlives_the_host_until_it_is_collected(own_host, wait_until, notes):
    """The host dies between the end of a Job and the function's look at its log."""
    tuning = begun(own_host, wait_until, notes, "random")
    wait_until(lambda: len(noted(notes)) >= 3, "the first trials")
    for pid in function_processes(own_host):
        os.kill(pid, signal.SIGSTOP)
    done = {"Complete"}

    def complete() -> bool:
        jobs = tuning.jobs("killed")
        return bool(jobs) and all(
            done & {each["type"] for each in job.get("status", {}).get("conditions", ())} for job in jobs
        )

    wait_until(complete, "Jobs to complete unseen")
    own_host.kill()
    own_host.start()
    check(tuning, notes, Counter(noted(notes)))


def function_processes(host) -> list[int]:
    """Return the gunicorn processes of the trial function, by the logs that they write."""
    found = []
    for pid in descendants(host.process.pid):
        try:
            target = os.readlink(f"/proc/{pid}/fd/1")
        except OSError:
            continue
        if "/zeroflow/trial-" in target:
            found.append(pid)
    return found
