"""A share of the soak that continuous integration can bear: mixed load, kills, nothing lost."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.scale


@pytest.mark.timeout(420)
def test_nothing_is_lost_under_mixed_load_and_kills() -> None:
    command = [sys.executable, "-m", "benchmarks.soak", "--minutes", "1", "--seed", "7"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=400)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
