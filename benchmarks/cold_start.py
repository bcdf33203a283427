"""From zero: the first answers of a sleeping function and of a sleeping predictor, with and without preloaded parents.

Beside them: the same function and the same model, each in a new gunicorn process. A hundred clients at once wake the
predictor in the end; all of them are answered. Each round begins when no instance runs any more; from deep idle, which
a host is in after it was restarted, the parent has to load its libraries first.
"""

import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import urllib3

ROUNDS = 8
CLIENTS = 100
http = urllib3.PoolManager(maxsize=CLIENTS, retries=False, timeout=60.0)
IRIS = json.dumps({"instances": [[6.8, 2.8, 4.8, 1.4]]}).encode()
V1 = "/v1/models/iris:predict"


def asleep(url: str) -> bool:
    """Say whether no pod runs."""
    items = http.request("GET", f"{url}/api/v1/pods").json()["items"]
    return not any(pod["status"].get("phase") == "Running" for pod in items)


def from_zero(url: str, method: str, path: str, body: bytes | None = None) -> float:
    """Wait until nothing runs, then time one request in milliseconds."""
    while not asleep(url):
        time.sleep(0.05)
    return timed(method, url + path, body)


def timed(method: str, url: str, body: bytes | None = None) -> float:
    """Time one request in milliseconds; it has to be answered with 200."""
    began = time.monotonic()
    answer = http.request(method, url, body=body)
    if answer.status != 200:
        raise RuntimeError(f"{url}: {answer.status} {answer.data.decode()}")
    return (time.monotonic() - began) * 1000


def iris() -> bytes:
    """Return a small scikit-learn model as a file."""
    import joblib
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    file = io.BytesIO()
    joblib.dump(LogisticRegression(max_iter=500).fit(*load_iris(return_X_y=True)), file)
    return file.getvalue()


def deploy(url: str, model: bytes) -> str:
    """Serve the model by an InferenceService; return the path at which it predicts."""
    kept = http.request("PUT", f"{url}/objects/models/iris/model.joblib", body=model)
    if kept.status >= 300:
        raise RuntimeError(kept.data.decode())
    service = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": "iris",
            "namespace": "default",
            "annotations": {"zeroflow.dev/trust-pickle": "true", "autoscaling.knative.dev/window": "6s"},
        },
        "spec": {
            "predictor": {
                "model": {"modelFormat": {"name": "sklearn"}, "storageUri": "store://models/iris/model.joblib"}
            }
        },
    }
    place = f"{url}/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices"
    made = http.request("POST", place, json=service)
    if made.status != 201:
        raise RuntimeError(made.data.decode())
    while not _ready(http.request("GET", f"{place}/iris").json()):
        time.sleep(0.05)
    return f"/serving/default/iris-predictor{V1}"


def _ready(service: dict[str, object]) -> bool:
    conditions = service.get("status", {}).get("conditions", [])  # type: ignore[attr-defined]
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def crowd(url: str, path: str) -> list[float]:
    """Wake the predictor by many first requests at once; return how long each has waited, in milliseconds."""
    while not asleep(url):
        time.sleep(0.05)
    with ThreadPoolExecutor(CLIENTS) as clients:
        return list(clients.map(lambda _: timed("POST", url + path, IRIS), range(CLIENTS)))


@contextmanager
def gunicorn(application: str, *options: str, **env: str) -> Iterator[str]:
    """Run gunicorn in a new process; yield its URL at once."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).parent / "gunicorn"), application, f"--bind=127.0.0.1:{port}", *options]
    process = subprocess.Popen(command, env={**os.environ, **env, "PORT": str(port)}, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def first_answer(url: str, method: str, path: str, body: bytes | None = None) -> None:
    """Ask until there is an answer."""
    while True:
        try:
            if http.request(method, url + path, body=body).status == 200:
                return
        except urllib3.exceptions.HTTPError:
            time.sleep(0.005)


def fresh_function() -> float:
    """Time the function in a new gunicorn process, until its first answer, in milliseconds."""
    with tempfile.TemporaryDirectory() as scratch:
        url = f"sqlite:///{scratch}/metadata.sqlite"
        subprocess.run([sys.executable, "-m", "zeroflow.metadata.migrate", url], check=True)
        began = time.monotonic()
        env = {"ZEROFLOW_DATABASE_URL": url, "ZEROFLOW_STORE": scratch}
        application = "zeroflow.functions.pipeline.handler:create_app()"
        with gunicorn(application, "--worker-class=gthread", **env) as where:
            first_answer(where, "GET", "/apis/v2beta1/healthz")
            return (time.monotonic() - began) * 1000


def fresh_predictor(model: bytes) -> float:
    """Time the same for the predictor."""
    from zeroflow.functions.inference.containers import WORKER_OPTIONS

    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "models" / "iris" / "model.joblib"
        file.parent.mkdir(parents=True)
        file.write_bytes(model)
        env = {
            "MODEL_NAME": "iris",
            "STORAGE_URI": "store://models/iris",
            "ZEROFLOW_STORE": scratch,
            "ZEROFLOW_MODEL_VOUCHED_BY": "run/bench/train",
        }
        began = time.monotonic()
        with gunicorn("zeroflow.functions.predictor.handler:create_app()", *WORKER_OPTIONS, **env) as where:
            first_answer(where, "POST", V1, IRIS)
            return (time.monotonic() - began) * 1000


def main() -> None:
    """Print milliseconds and ratios."""
    from benchmarks.host import host_process
    from benchmarks.report import line, ratio

    model = iris()
    with tempfile.TemporaryDirectory() as home:
        with host_process("--stable-window", "1", home=home) as (url, _):
            health = ("GET", "/apis/v2beta1/healthz")
            deep = from_zero(url, *health)
            warm = [from_zero(url, *health) for _ in range(ROUNDS)]
            path = deploy(url, model)
            warm_predictor = [from_zero(url, "POST", path, IRIS) for _ in range(ROUNDS)]
            waited = crowd(url, path)
        with host_process("--stable-window", "1", home=home) as (url, _):
            deep_predictor = from_zero(url, "POST", path, IRIS)
    fresh = [fresh_function() for _ in range(3)]
    fresh_models = [fresh_predictor(model) for _ in range(3)]
    line("function, parent kept", warm, "ms")
    line("function, deep idle", [deep], "ms")
    line("fresh gunicorn process", fresh, "ms")
    ratio(fresh, warm)
    line("predictor, parent kept", warm_predictor, "ms")
    line("predictor, deep idle", [deep_predictor], "ms")
    line("fresh predictor process", fresh_models, "ms")
    ratio(fresh_models, warm_predictor)
    line(f"{CLIENTS} first requests", waited, "ms")


if __name__ == "__main__":
    main()
