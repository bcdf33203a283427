"""TrainedModels on a whole host: KServe's own example and client, sleep, exchange, kills."""

import contextlib
import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import joblib
import pytest
import urllib3
from sklearn.datasets import load_iris
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression

from artifacts.servers import google_storage
from environments import python_of
from lifecycle.conftest import DEADLINE_S, Host, eventually, running

SDK = Path(__file__).parents[1] / "inference" / "samples" / "kserve_models.py"
ROWS = [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]]
V1 = {"instances": ROWS}
V2 = {"inputs": [{"name": "x", "shape": [2, 4], "datatype": "FP64", "data": [each for row in ROWS for each in row]}]}
ALPHA, BETA = "/apis/serving.kserve.io/v1alpha1/namespaces", "/apis/serving.kserve.io/v1beta1/namespaces"
KEEP = {"autoscaling.knative.dev/window": "6s"}


def dumped(model: Any) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    iris = dumped(LogisticRegression(max_iter=500).fit(*load_iris(return_X_y=True)))
    bucket = {"kfserving-examples": {"models/sklearn/1.0/model/model.joblib": iris}}
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as environment:
        environment.setenv("STORAGE_EMULATOR_HOST", stack.enter_context(google_storage(bucket)))
        environment.setenv("ZEROFLOW_TRUSTED_MODELS", "gs://kfserving-examples/")
        yield stack.enter_context(running(tmp_path_factory.mktemp("home")))


def put(host: Host, key: str, answer: int) -> str:
    """Store a model that answers one class."""
    path = host.home / "store" / "models" / key / "model.joblib"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(dumped(DummyClassifier(strategy="constant", constant=answer).fit(ROWS * 5, list(range(10)))))
    return f"store://models/{key}"


def many(host: Host, name: str, annotations: dict[str, str] | None = None) -> None:
    document = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": "default", "annotations": annotations or {}},
        "spec": {"predictor": {"sklearn": {}}},
    }
    host.kubectl("apply", "-f", "-", stdin=json.dumps(document))


def model(host: Host, name: str, isvc: str, uri: str, trusted: bool = True) -> None:
    document = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "TrainedModel",
        "metadata": {
            "name": name,
            "namespace": "default",
            "annotations": {"zeroflow.dev/trust-pickle": "true"} if trusted else {},
        },
        "spec": {
            "inferenceService": isvc,
            "model": {"storageUri": uri, "framework": "sklearn", "memory": "64Mi"},
        },
    }
    host.kubectl("apply", "-f", "-", stdin=json.dumps(document))


def condition(host: Host, name: str, namespace: str = "default", kind: str = "Ready") -> tuple[str, str, str]:
    status = host.get(f"{ALPHA}/{namespace}/trainedmodels/{name}").get("status") or {}
    found: dict[str, str] = next((each for each in status.get("conditions") or [] if each["type"] == kind), {})
    return found.get("status", ""), found.get("reason", ""), found.get("message", "")


def wait_ready(host: Host, *names: str, namespace: str = "default") -> None:
    for name in names:
        end = time.monotonic() + DEADLINE_S
        while (found := condition(host, name, namespace))[0] != "True":
            assert time.monotonic() < end, (name, found)
            time.sleep(0.02)


def ask(host: Host, name: str, body: Any = V1, namespace: str = "default") -> Any:
    url = host.get(f"{ALPHA}/{namespace}/trainedmodels/{name}")["status"]["url"]
    assert url.endswith(f"/v1/models/{name}:predict")
    if "inputs" in body:
        url = url.replace(f"/v1/models/{name}:predict", f"/v2/models/{name}/infer")
    answer = urllib3.request("POST", url, json=body, timeout=60.0, retries=False)
    assert answer.status == 200, answer.data
    return answer.json()


def predicted(host: Host, name: str) -> str:
    """Return what `zeroflow predict` prints."""
    said = subprocess.run(
        [sys.executable, "-m", "zeroflow", "predict", name, "-d", json.dumps(V1)],
        env={"ZEROFLOW_HOME": str(host.home), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr
    return said.stdout


def pods(host: Host, isvc: str) -> list[str]:
    return [name for name in host.running_pods() if name.startswith(f"{isvc}-predictor")]


def test_official_example_is_ready_and_each_model_answers_by_both_protocols(host: Host, contracts: Path) -> None:
    examples = contracts / "kserve" / "examples"
    host.kubectl("create", "namespace", "mms")
    for name in ("inferenceservice", "trainedmodels"):
        host.kubectl("apply", "-n", "mms", "-f", str(examples / f"multimodelserving-sklearn-{name}.yaml"))
    wait_ready(host, "model1-sklearn", "model2-sklearn", namespace="mms")
    host.kubectl("wait", "-n", "mms", "--for=condition=Ready", "tm", "--all", "--timeout=5s")
    for name in ("model1-sklearn", "model2-sklearn"):
        assert ask(host, name, V1, "mms") == {"predictions": [1, 1]}
        assert ask(host, name, V2, "mms")["outputs"][0]["data"] == [1, 1]
        assert condition(host, name, "mms", "MemoryResourceAvailable")[0] == "True"
    assert condition(host, "model2-sklearn", "mms", "MemoryResourceAvailable")[2].endswith("512Mi of 512Mi")
    host.kubectl("delete", "-n", "mms", "isvc", "sklearn-iris-example")
    eventually(lambda: not host.get(f"{ALPHA}/mms/trainedmodels")["items"], "the models to go with their service")


def test_what_kserves_webhook_refuses_is_never_stored(host: Host) -> None:
    many(host, "admitted")
    model(host, "of-admitted", "admitted", put(host, "admitted", 1))
    changed = '{"spec": {"model": {"memory": "65Mi"}}}'
    said = host.kubectl("patch", "tm", "of-admitted", "--type=merge", "-p", changed, check=False)
    assert 'admission webhook "trainedmodel.kserve-webhook-server.validator" denied the request: ' in said
    assert 'memory field is immutable. The memory was "64Mi" but it is updated to "65Mi"' in said
    host.kubectl("patch", "tm", "of-admitted", "--type=merge", "-p", changed.replace("65Mi", "65536Ki"))  # the same
    with pytest.raises(AssertionError, match="storageUri field is invalid"):
        model(host, "elsewhere", "admitted", "hdfs://cluster/model")


def test_sleeping_predictor_is_woken_by_a_model_and_by_a_request(host: Host) -> None:
    many(host, "sleeper", KEEP)
    model(host, "dream", "sleeper", put(host, "dream", 3))
    wait_ready(host, "dream")
    eventually(lambda: not pods(host, "sleeper"), "the predictor to sleep")
    model(host, "nightmare", "sleeper", put(host, "nightmare", 4))
    wait_ready(host, "nightmare")  # by what a predictor says, which was woken for it
    eventually(lambda: not pods(host, "sleeper"), "the predictor to sleep again")
    assert ask(host, "dream") == {"predictions": [3, 3]}
    assert ask(host, "nightmare") == {"predictions": [4, 4]}
    assert predicted(host, "dream") == '{"predictions":[3,3]}\n'


def test_commands_ask_a_model_by_the_name_that_an_argument_gives_it(host: Host) -> None:
    document = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "renamed", "annotations": {"zeroflow.dev/trust-pickle": "true"}},
        "spec": {"predictor": {"sklearn": {"storageUri": put(host, "renamed", 6), "args": ["--model_name=other"]}}},
    }
    host.kubectl("apply", "-f", "-", stdin=json.dumps(document))
    host.kubectl("wait", "--for=condition=Ready", "isvc/renamed", "--timeout=60s")
    assert predicted(host, "renamed") == '{"predictions":[6,6]}\n'


def test_refused_model_says_why_and_the_others_are_served(host: Host) -> None:
    many(host, "mixed")
    model(host, "sound", "mixed", put(host, "sound", 5))
    model(host, "unvouched", "mixed", put(host, "unvouched", 6), trusted=False)
    wait_ready(host, "sound")
    status, reason, said = eventually(
        lambda: (found := condition(host, "unvouched"))[0] == "False" and found, "it to be refused"
    )
    assert (status, reason) == ("False", "PickleNotVouched")
    assert "TrainedModel with zeroflow.dev/trust-pickle" in said
    path = host.home / "store" / "models" / "broken" / "model.joblib"
    path.parent.mkdir()
    path.write_bytes(b"\\x80\\x05no pickle at all")  # it looks like one: only loading it tells
    model(host, "broken", "mixed", "store://models/broken")
    status, reason, said = eventually(
        lambda: (found := condition(host, "broken"))[0] == "False" and found, "a predictor to say so"
    )
    assert (status, reason) == ("False", "ModelLoadFailed"), said
    assert ask(host, "sound") == {"predictions": [5, 5]}


def test_changed_model_is_exchanged_in_the_running_predictor_and_no_request_fails(host: Host) -> None:
    many(host, "changing", {"autoscaling.knative.dev/min-scale": "1"})
    model(host, "m", "changing", put(host, "m/0", 0))
    wait_ready(host, "m")
    before, ended, found = pods(host, "changing"), threading.Event(), []
    url = host.get(f"{ALPHA}/default/trainedmodels/m")["status"]["url"]

    def load() -> None:
        pool = urllib3.PoolManager(retries=False, timeout=60.0)
        while not ended.is_set():
            answer = pool.request("POST", url, json=V1)
            found.append((answer.status, answer.json().get("predictions")))

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in (1, 2, 3):
            model(host, "m", "changing", put(host, f"m/{number}", number))
            eventually(lambda number=number: found[-1:] == [(200, [number, number])], f"version {number}")
        wait_ready(host, "m")
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert {status for status, _ in found} == {200}
    assert pods(host, "changing") == before  # no new revision, no new instance
    host.kubectl("delete", "tm", "m")
    assert urllib3.request("POST", url, json=V1).status in (200, 404)
    eventually(lambda: urllib3.request("POST", url, json=V1).status == 404, "the model to be gone")


def test_nothing_is_lost_when_all_is_killed_while_models_are_declared(tmp_path: Path) -> None:
    with running(tmp_path / "home") as host:
        many(host, "killed")
        names = [f"killed-{number}" for number in range(4)]
        for number, name in enumerate(names):
            model(host, name, "killed", put(host, name, number))
            if number % 2:
                host.kill()
                host.start()
        wait_ready(host, *names)
        for number, name in enumerate(names):
            assert ask(host, name) == {"predictions": [number, number]}
        host.kubectl("delete", "tm", "killed-0", "--wait=false")
        host.kill()
        host.start()
        eventually(lambda: len(host.get(f"{ALPHA}/default/trainedmodels")["items"]) == 3, "the finalizer to be done")


@pytest.mark.scale
def test_kserves_own_client_makes_waits_for_and_deletes_models(host: Host) -> None:
    path = host.home / "store" / "models" / "sdk-models" / "model.joblib"
    path.parent.mkdir(parents=True)
    path.write_bytes(dumped(LogisticRegression(max_iter=500).fit(*load_iris(return_X_y=True))))
    address = f"{urlsplit(host.url).netloc}/serving/default/sdk-many"
    done = subprocess.run(
        [
            python_of("kserve==0.21.0", "kubernetes<34"),
            *(str(SDK), str(host.home / "kubeconfig"), "sdk-many", "store://models/sdk-models", address),
        ],
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told == {"sdk-model1": {"predictions": [1, 1]}, "sdk-model2": {"predictions": [1, 1]}}
    eventually(lambda: [condition(host, "sdk-model2")[0]] == ["True"], "the other to be ready")
    names = [each["metadata"]["name"] for each in host.get(f"{ALPHA}/default/trainedmodels")["items"]]
    assert "sdk-model1" not in names
