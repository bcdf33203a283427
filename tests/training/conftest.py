"""A host for the TrainJobs of this topic."""

from collections.abc import Iterator

import pytest

from lifecycle.conftest import Host, running


@pytest.fixture(scope="session")
def training_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host shared by the tests of this topic."""
    with running(tmp_path_factory.mktemp("home")) as started:
        yield started
