"""The unmodified kubeflow-katib client, in an environment of its own."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent / "client.py"
# kubeflow-katib pins neither; newer releases of kubernetes refuse or misread its models.
CLIENT = ("kubeflow-katib==0.19.0", "kubernetes==35.0.0", "kubeflow-training==1.9.0")


@pytest.fixture(scope="module")
def client_python() -> str:
    """Return the Python of an environment that has the official client, cached between sessions; skip aloud."""
    key = hashlib.sha256(" ".join(CLIENT).encode()).hexdigest()[:16]
    folder = Path.home() / ".cache" / "zeroflow-tests" / key
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return str(python)
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if uv is None:
        pytest.skip("uv is not installed; it makes the environment of the official client")
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(folder)],
        [uv, "pip", "install", "--quiet", "--python", str(python), *CLIENT],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=150)
        if done.returncode:
            pytest.skip(f"the official client cannot be installed: {done.stderr.strip()[-300:]}")
    (folder / "complete").touch()
    return str(python)


@pytest.fixture(scope="module")
def seen(client_python: str, tuned_host: Any) -> dict[str, Any]:
    """Return what the script saw."""
    done = subprocess.run(
        [client_python, str(SCRIPT), str(tuned_host.home / "kubeconfig")], capture_output=True, text=True, timeout=150
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
    assert seen["listed"] == ["tutorial", "unimported"]
    assert seen["budget"] == 5
    assert seen["left"] == []
