"""Fixtures: the pipeline function on each supported database."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.harness import Broker, Platform
from pipelines.serving import served


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


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The function in a gunicorn process, with steps that really run."""
    with served(tmp_path_factory.mktemp("served")) as address:
        yield address


@pytest.fixture(scope="session")
def client(url: str) -> Any:
    """The official client."""
    import kfp

    return kfp.Client(host=url)


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tutorial, compiled."""
    from kfp.compiler import Compiler

    from pipelines.tutorial import tutorial

    path = tmp_path_factory.mktemp("package") / "tutorial.yaml"
    Compiler().compile(tutorial, str(path))
    return path
