"""A real resource API in a process of its own, and this function's client of it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from zeroflow.resources.client import Resources, connect

SERVER = Path(__file__).parent / "server.py"


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    with subprocess.Popen([sys.executable, str(SERVER), str(home)], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline().startswith("http://")
            yield home / "kubeconfig"
        finally:
            server.terminate()


@pytest.fixture
def resources(kubeconfig: Path) -> Resources:
    return connect("zeroflow-test", {"KUBECONFIG": str(kubeconfig)})
