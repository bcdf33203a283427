"""The unmodified kubeflow-katib client, in an environment of its own."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from environments import python_of

SCRIPT = Path(__file__).parent / "client.py"
# kubeflow-katib pins neither; newer releases of kubernetes refuse or misread its models.
CLIENT = ("kubeflow-katib==0.19.0", "kubernetes==35.0.0", "kubeflow-training==1.9.0")


@pytest.fixture(scope="module")
def client_python() -> str:
    """Return the Python of an environment that has the official client; skip aloud without it."""
    return python_of(*CLIENT)


@pytest.fixture(scope="module")
def seen(client_python: str, tuned_host: Any, tuning: Any) -> dict[str, Any]:
    """Return what the script saw."""
    tuning.map_image("katib-client", Path(client_python).parents[1])
    done = subprocess.run(
        [client_python, str(SCRIPT), str(tuned_host.home / "kubeconfig"), f"localhost:{tuned_host.port}"],
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_the_tutorial_finds_its_best_parameters(seen):
    assert seen["state"] == "Succeeded"
    assert len(seen["assigned"]) == seen["details"] == seen["suggested"] == 12
    best = max(4 * int(each["a"]) - float(each["b"]) ** 2 for each in seen["assigned"])
    found = 4 * int(seen["best"]["a"]) - float(seen["best"]["b"]) ** 2
    assert found == best == pytest.approx(float(seen["observed"]))


def test_assignments_lie_in_the_space_and_are_typed(seen):
    for each in seen["assigned"]:
        assert each["a"] in map(str, range(10, 21))
        assert 0.1 <= float(each["b"]) <= 0.2


def test_a_trial_and_its_log_can_be_read(seen):
    assert seen["trial"] == "Succeeded"
    assert seen["log"] == seen["followed"] == [f"result={seen['observed']}"]


def test_a_name_from_outside_the_objective_is_named_with_its_cure(seen):
    assert "NameError: name 'time' is not defined" in seen["unimported"]
    assert "write `import time` inside the objective function" in seen["unimported"]


def test_experiments_are_listed_edited_and_deleted(seen):
    assert seen["listed"] == ["pushing", "tutorial", "unimported"]
    assert seen["budget"] == 5
    assert seen["left"] == []


def test_every_method_of_the_client_was_called(seen):
    assert seen["unused"] == []
    assert seen["running"] == [True, False]
    assert seen["declared"] == "declared"
    assert seen["told"] == 5  # it lists Experiments where it says suggestions


def test_what_a_trial_has_measured_is_read_by_grpc(seen):
    assert seen["metrics"] == [["result", seen["observed"]]]
    assert "NOT_FOUND" in seen["nobody"]
    assert "there is no trial 'nobody'" in seen["nobody"]


def test_a_trial_pushes_its_metrics_by_grpc(seen):
    """`katib.report_metrics` as it is in a pod: by the manager's name, with its namespace in a file."""
    pushed = seen["pushed"]
    assert pushed["state"] == "All 2 trials have ended"
    a = float(pushed["best"]["a"])
    assert float(pushed["observed"]["result"]) == a + 2
    assert [float(value) for name, value in pushed["log"] if name == "result"] == [a, a + 1, a + 2]
    assert [value for name, value in pushed["log"] if name == "other"] == ["0", "1", "2"]
