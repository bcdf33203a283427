"""Fixtures: the pipeline function on each supported database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.harness import Broker, Platform


@pytest.fixture
def database_url(empty_database_url: str) -> str:
    """Return the URL of an empty database; the platform makes its tables."""
    return empty_database_url


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A broker that keeps what it is given."""
    made = Broker()
    yield made
    made.close()


@pytest.fixture
def platform(database_url: str, tmp_path: Path, broker: Broker) -> Iterator[Platform]:
    """The pipeline function on each database."""
    made = Platform(database_url, tmp_path, broker)
    yield made
    made.close()


@pytest.fixture
def local(tmp_path: Path, broker: Broker) -> Iterator[Platform]:
    """The pipeline function on SQLite alone, for what does not depend on the database."""
    made = Platform(f"sqlite:///{tmp_path}/metadata.sqlite", tmp_path, broker)
    yield made
    made.close()
