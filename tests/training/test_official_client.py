"""kubeflow's SDK, unmodified and in an environment of its own: TrainerClient and OptimizerClient."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from environments import python_of

pytestmark = pytest.mark.timeout(300)  # the first test waits for the whole script

SCRIPT = Path(__file__).parent / "client.py"


@pytest.fixture(scope="module")
def seen(training_host: Any) -> dict[str, Any]:
    """Return what the script saw."""
    python = python_of("kubeflow==0.5.0")
    environment = os.environ | {"KUBECONFIG": str(training_host.home / "kubeconfig")}
    done = subprocess.run(
        [python, str(SCRIPT), "plain-python"], capture_output=True, text=True, timeout=280, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_the_runtimes_are_found(seen):
    assert seen["runtimes"] == {"torch-distributed": "torch", "plain-python": "python"}


def test_a_function_is_trained_on_two_nodes(seen):
    assert seen["state"] == "Complete"
    assert sorted(seen["steps"]) == [["node-0", "Succeeded"], ["node-1", "Succeeded"]]
    loss = f"loss={(0.5 - 0.03) ** 2 + 3}"
    assert seen["logs"] == [["index=0 client.py", loss], ["index=1 client.py", loss]]
    assert "Started" in seen["events"]


def test_a_function_that_raises_fails_its_job_at_once(seen):
    assert seen["failed"] == "Failed"
    assert seen["why"] == "ValueError: no data"


def test_an_optimizer_runs_train_jobs_and_finds_the_best(seen):
    assert seen["search"] == "Complete"
    assert seen["listed"]
    assert len(seen["trials"]) == 4
    losses = []
    for state, parameters, loss in seen["trials"]:
        assert state == "Complete"
        assert float(loss) == pytest.approx((float(parameters["lr"]) - 0.03) ** 2 + int(parameters["depth"]))
        losses.append(float(loss))
    assert float(seen["best"][1]) == min(losses)
    assert seen["best_log"][-1] == f"loss={seen['best'][1]}"
    assert seen["jobs"] == 6


def test_deleting_leaves_nothing(seen):
    assert seen["left"] == []
