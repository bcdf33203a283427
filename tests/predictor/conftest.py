"""Real predictors: a model written by its own library, served by gunicorn in a process of its own."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import pytest

from environments import python_of

DEADLINE_S = 60.0
MODEL = "iris"


@dataclass
class Answer:
    """What a predictor answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        document = self.json()
        assert set(document) == {"error"}, document
        return str(document["error"])


@dataclass
class Predictor:
    """A running predictor and one kept connection to it."""

    port: int
    process: "subprocess.Popen[bytes]"
    log: Path
    connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def send(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """Send on the kept connection; a connection that the server dropped fails here."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        self.connection.request(method, path, data, headers or {})
        response = self.connection.getresponse()
        answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        if answer.headers.get("connection") != "close":
            assert self.connection.sock is not None, "the server closed the connection without saying so"
        return answer

    def get(self, path: str) -> Answer:
        return self.send("GET", path)

    def predict(self, body: Any, headers: dict[str, str] | None = None, model: str = MODEL) -> Answer:
        return self.send("POST", f"/v1/models/{model}:predict", body, headers)

    def infer(self, body: Any, headers: dict[str, str] | None = None, model: str = MODEL) -> Answer:
        return self.send("POST", f"/v2/models/{model}/infer", body, headers)


Starter = Callable[..., Predictor]


class Launcher:
    """Writes models to a store and starts predictors on them."""

    def __init__(self, root: Path) -> None:
        self.root, self.store = root, root / "store"
        self.running: list[Predictor] = []

    def write(self, model: Any, key: str = "iris/model.joblib") -> str:
        """Store a model as joblib writes it; return its location."""
        path = self.store / "models" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        joblib.dump(model, path)
        return f"store://models/{key}"

    def start(self, uri: str, **env: str) -> Predictor:
        """Start gunicorn; return at once, without waiting for the model."""
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # before the first connection inherits it
        log = self.root / f"predictor-{len(self.running)}.log"
        variables = {
            "MODEL_NAME": MODEL,
            "STORAGE_URI": uri,
            "ZEROFLOW_STORE": str(self.store),
            "ZEROFLOW_MODEL_VOUCHED_BY": "run/test/train",
            "K_REVISION": "iris-predictor-00001",
            **env,
        }
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "gunicorn", "--bind", f"fd://{listener.fileno()}"),
                    *("--worker-class", "zeroflow.functions.predictor.worker.QuickWorker", "--threads", "4"),
                    *("--timeout", "0", "--keep-alive", "60"),
                    *("--log-level", "warning", "--no-control-socket"),
                    "zeroflow.functions.predictor.handler:create_app()",
                ],
                env={"PATH": os.environ["PATH"], "HOME": str(self.root)} | {k: v for k, v in variables.items() if v},
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(listener.fileno(),),
            )
        port = listener.getsockname()[1]
        listener.close()
        predictor = Predictor(port, process, log)
        self.running.append(predictor)
        return predictor

    def serve(self, model: Any, key: str = "iris/model.joblib", **env: str) -> Predictor:
        """Store a model, start its predictor, and wait until it answers."""
        return self.serve_at(self.write(model, key), **env)

    def serve_at(self, uri: str, **env: str) -> Predictor:
        """Start the predictor of what lies at a location, and wait until it answers."""
        predictor = self.start(uri, **env)
        wait_ready(predictor)
        return predictor

    def close(self) -> None:
        for predictor in self.running:
            predictor.connection.close()
            predictor.process.terminate()
        for predictor in self.running:
            predictor.process.wait(DEADLINE_S)


def wait_ready(predictor: Predictor) -> None:
    """Wait for the first answer; the listener queues the request until the worker has loaded the model."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            answer = predictor.get("/v2/health/ready")
            assert answer.status == 200, answer
            return
        except (OSError, http.client.HTTPException):
            predictor.connection.close()
            if predictor.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the predictor is gone:\n{predictor.log.read_text()}")


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    launched = Launcher(tmp_path_factory.mktemp("predictor"))
    yield launched
    launched.close()


@pytest.fixture(scope="module")
def iris_model() -> Any:
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, classes = load_iris(return_X_y=True)
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, classes)


@pytest.fixture(scope="module")
def iris(launcher: Launcher, iris_model: Any) -> Predictor:
    return launcher.serve(iris_model)


@pytest.fixture(scope="session")
def wait() -> Callable[[Predictor], None]:
    return wait_ready


@pytest.fixture
def slow_model(launcher: Launcher) -> str:
    """Where a model lies that, by a module of its own (in launcher.root), takes a second for each request."""
    (launcher.root / "slowly.py").write_text(
        "import time\n\nclass Slow:\n    def predict(self, rows):\n        time.sleep(1.0)\n        return rows[:, 0]\n"
    )
    sys.path.insert(0, str(launcher.root))
    try:
        model = __import__("slowly").Slow()
        return launcher.write(model, "slow/model.joblib")
    finally:
        sys.path.remove(str(launcher.root))


@pytest.fixture
def slow(launcher: Launcher, slow_model: str) -> Predictor:
    """A predictor of that model."""
    return launcher.serve_at(slow_model, PYTHONPATH=str(launcher.root))


CLIENTS = ("kserve==0.21.0", "tritonclient[grpc,http]==2.73.0", "openai==3.57.0", "open-inference-openapi==2.0.0.1")


@pytest.fixture(scope="session")
def clients_python() -> str:
    """Return the Python of an environment with the official clients, made once and kept; skip aloud without it."""
    return python_of(*CLIENTS)
