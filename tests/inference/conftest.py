"""The inference function against a real resource API, with and without Knative Services that really run.

`Cluster.settle` does what ApiServerSource and broker do: it tells the function of changes until a condition holds.
"""

import http.client
import json
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import joblib
import pytest
import yaml

from environments import python_of
from zeroflow.artifacts import content
from zeroflow.functions.inference.handler import create_app
from zeroflow.metadata import Database
from zeroflow.metadata.artifacts import Artifact
from zeroflow.metadata.migrate import upgrade
from zeroflow.resources.client import Resources, connect
from zeroflow.settings import Settings

MANIFESTS = Path(__file__).parents[2] / "knative" / "manifests"
SERVER = Path(__file__).parents[1] / "resources" / "server.py"
KSERVE, ISVC = "serving.kserve.io/v1beta1", "InferenceService"
KNATIVE, SERVICE = "serving.knative.dev/v1", "Service"
LABEL = "serving.kserve.io/inferenceservice"
DEADLINE_S = 60.0
SETOSA = [5.1, 3.5, 1.4, 0.2]

Object = dict[str, Any]


class Cluster:
    """A resource API, a store, a metadata database, and the inference function on them."""

    def __init__(self, home: Path, url: str) -> None:
        self.home, self.url, self.store = home, url, home / "store"
        self.resources = connect("user", {"KUBECONFIG": str(home / "kubeconfig")})
        database_url = f"sqlite:///{home / 'db' / 'metadata.sqlite'}"
        upgrade(database_url)
        self.database = Database(database_url)
        self.writes: list[str] = []
        function = Recording(connect("zeroflow-inference", {"KUBECONFIG": str(home / "kubeconfig")}), self.writes)
        settings = Settings(database_url=database_url, store=self.store, service="inference")
        self.client = create_app(settings, lambda: function).test_client()

    def send(self, event_type: str, data: Object) -> Any:
        """Deliver an event; return the function's answer."""
        headers = {
            "ce-specversion": "1.0",
            "ce-type": event_type,
            "ce-source": "/test",
            "ce-id": str(uuid.uuid4()),
            "content-type": "application/json",
        }
        return self.client.post("/", data=json.dumps(data), headers=headers)

    def tell(self, obj: Object) -> None:
        """Tell the function that an object changed."""
        answer = self.send("dev.knative.apiserver.resource.update", obj)
        assert answer.status_code == 204, answer.text

    def apply(
        self,
        name: str,
        predictor: Object,
        annotations: dict[str, str] | None = None,
        spec: Object | None = None,
        labels: dict[str, str] | None = None,
    ) -> Object:
        """Declare an InferenceService as a user would, and tell the function."""
        metadata = {"name": name, "namespace": "default", "annotations": annotations or {}, "labels": labels or {}}
        declared = {"predictor": predictor, **(spec or {})}
        self.resources.apply({"apiVersion": KSERVE, "kind": ISVC, "metadata": metadata, "spec": declared})
        isvc = self.get(name)
        self.tell(isvc)
        return self.get(name)

    def get(self, name: str) -> Object:
        return self.resources.get(KSERVE, ISVC, "default", name)

    def service(self, name: str) -> Object:
        return self.resources.get(KNATIVE, SERVICE, "default", f"{name}-predictor")

    def settle(self, name: str, condition: Callable[[Object], Any]) -> Object:
        """Tell the function of the Knative Services' changes until the InferenceService meets the condition."""
        deadline, seen = time.monotonic() + DEADLINE_S, dict[str, str]()
        while not condition(isvc := self.get(name)):
            changed = None
            for service in self.resources.list(KNATIVE, SERVICE, "default", {LABEL: name}):
                version, own = service["metadata"]["resourceVersion"], service["metadata"]["name"]
                if seen.get(own) != version:
                    seen[own], changed = version, service
            if changed is not None:
                self.tell(changed)
                continue
            if time.monotonic() > deadline:
                pytest.fail(f"not settled: {json.dumps(isvc.get('status'), indent=1)}")
            time.sleep(0.02)
        return isvc

    def put(self, key: str, model: Any, recorded_by: str | None = "run/1/train") -> str:
        """Store a model and record it as a pipeline run would; return its location."""
        path = self.store / key
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(model, bytes):
            path.write_bytes(model)
        else:
            joblib.dump(model, path)
        uri = f"store://{key}"
        if recorded_by is not None:
            described = content.of(path)
            artifact = Artifact(
                id=str(uuid.uuid4()),
                namespace="default",
                name="model",
                type="system.Model",
                uri=uri,
                sha256=described.sha256,
                size_bytes=described.size_bytes,
                meta={},
                recorded_by=recorded_by,
            )
            with self.database.transaction() as session:
                session.add(artifact)
        return uri

    def predict(self, url: str, name: str, count: int = 1) -> Counter[tuple[Any, str]]:
        """Ask for predictions at a URL; return how often each answer came from each revision."""
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=DEADLINE_S)
        seen: Counter[tuple[Any, str]] = Counter()
        for _ in range(count):
            connection.request(
                "POST", f"{parts.path}/v1/models/{name}:predict", json.dumps({"instances": [SETOSA]}).encode()
            )
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, (answer.status, body)
            seen[json.loads(body)["predictions"][0], str(answer.getheader("zeroflow-revision"))] += 1
        connection.close()
        return seen


class Recording:
    """The function's client, noting what it writes."""

    def __init__(self, resources: Resources, writes: list[str]) -> None:
        self._resources, self._writes = resources, writes

    def __getattr__(self, name: str) -> Any:
        if name in ("create", "apply", "merge", "write_status", "delete"):
            self._writes.append(name)
        return getattr(self._resources, name)


def started(home: Path, *options: str) -> Iterator[Cluster]:
    with subprocess.Popen(
        [sys.executable, str(SERVER), str(home), *options], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            assert url.startswith("http://")
            cluster = Cluster(home, url)
            for runtime in yaml.load_all((MANIFESTS / "config" / "runtimes.yaml").read_text(), yaml.CSafeLoader):
                cluster.resources.apply(runtime)
            yield cluster
            cluster.database.close()
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster on which nothing runs: Knative Services are declared and stay so."""
    yield from started(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose Knative Services run."""
    yield from started(tmp_path_factory.mktemp("home"), "--serving")


@pytest.fixture(scope="session")
def constant() -> Callable[[int], Any]:
    """Return classifiers that always answer the same class, to tell versions apart by what they say."""
    from sklearn.dummy import DummyClassifier

    return lambda answer: DummyClassifier(strategy="constant", constant=answer).fit([SETOSA] * 10, list(range(10)))


@pytest.fixture(scope="session")
def clients_python() -> str:
    """Return the Python of an environment with the official KServe SDK."""
    return python_of("kserve==0.21.0")
