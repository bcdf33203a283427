"""A host for the Experiments of a module."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lifecycle.conftest import Host, eventually, running
from tuning.experiments import Tuning


@pytest.fixture(scope="session")
def tuned_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host shared by the tests of this topic."""
    with running(tmp_path_factory.mktemp("home")) as started:
        yield started


@pytest.fixture(scope="session")
def tuning(tuned_host: Host) -> Tuning:
    """Experiments on the shared host."""
    return Tuning(tuned_host, eventually)


@pytest.fixture
def own_host(tmp_path: Path) -> Iterator[Host]:
    """A host of the test's own, to be killed."""
    with running(tmp_path / "home") as started:
        yield started


@pytest.fixture
def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., Any]:
    """Return `eventually`."""
    return eventually
