"""Fixtures: the pipeline function on each supported database."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml

from pipelines.harness import Broker, Platform
from pipelines.serving import served


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
def local(new_database: Any, tmp_path: Path, broker: Broker) -> Iterator[Platform]:
    """The pipeline function on SQLite alone, for what does not depend on the database."""
    with new_database("sqlite", tmp_path) as url:
        made = Platform(url, tmp_path, broker)
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


http = urllib3.PoolManager(retries=False, timeout=60.0)


@pytest.fixture(scope="session")
def official_host(contracts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A host with the Secrets, ConfigMaps, claims and objects that pipelines expect; yields its URL and home."""
    home = tmp_path_factory.mktemp("official")
    command = [sys.executable, "-m", "zeroflow", "up", "--home", str(home), "--port", "0"]
    with (home / "host.log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("zeroflow is up"), (home / "host.log").read_text()
    url = str(json.loads((home / "host.json").read_text())["url"])
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "my-cm"}, "data": {"foo": "bar"}}
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "given-claim"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    for name in ("a", "b"):
        assert http.request("PUT", f"{url}/objects/given/{name}.txt", body=name.encode()).status == 201
    secrets = yaml.safe_load_all((contracts / "kfp/test-secrets.yaml").read_text())
    for obj in (config_map, claim, *(found for found in secrets if found["kind"] == "Secret")):
        path = f"{url}/api/v1/namespaces/default/{obj['kind'].lower()}s"
        assert http.request("POST", path, json=obj).status == 201
    yield url, home
    process.terminate()
    process.communicate(timeout=60)
