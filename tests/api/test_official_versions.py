"""The official client, old and new, doing what operators do (`official.py`)."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from environments import python_of

SCRIPT = Path(__file__).with_name("official.py")


@pytest.mark.parametrize("version", ["30.1.0", "35.0.0"])
def test_an_operator_of_the_official_client_works(own_server: Any, version: str) -> None:
    python = python_of(f"kubernetes=={version}", "setuptools<81")
    done = subprocess.run(
        [python, str(SCRIPT), str(own_server.kubeconfig)], capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-3000:]}"
