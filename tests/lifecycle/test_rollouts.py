"""Canaries on a whole host: predictors observe, the evidence decides, the traffic follows; no request is lost."""

import concurrent.futures
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import urllib3
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

SOUND, SINGULAR = [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 2.0, 4.0]
POLICY = {"zeroflow.dev/rollout": "auto", "zeroflow.dev/rollout-steps": "20,100", "zeroflow.dev/trust-pickle": "true"}


def model(answer: int, *, breaks: bool) -> Any:
    """Return a classifier; one that breaks fails with a row that is no invertible matrix."""
    last = DummyClassifier(strategy="constant", constant=answer).fit([SOUND] * 10, list(range(10)))
    if not breaks:
        return last
    steps = (FunctionTransformer(np.reshape, kw_args={"shape": (2, 2)}), FunctionTransformer(np.linalg.inv))
    back = FunctionTransformer(np.reshape, kw_args={"shape": (1, 4)})
    return make_pipeline(*steps, back, last)


def hanging() -> Any:
    """Return a classifier that takes half a minute for one row."""
    wide = FunctionTransformer(np.repeat, kw_args={"repeats": 3, "axis": 1})
    return make_pipeline(wide, FunctionTransformer(np.vectorize(time.sleep, otypes=[object])), model(1, breaks=False))


class Caller:
    """Sends predictions over kept connections and notes what was answered."""

    def __init__(self, url: str, name: str) -> None:
        self._url = f"{url}/v1/models/{name}:predict"
        self._local = threading.local()
        self.failures: list[str] = []
        self.revisions: Counter[str] = Counter()
        self._lock = threading.Lock()

    def one(self, row: list[float]) -> None:
        pool = getattr(self._local, "pool", None)
        if pool is None:
            pool = self._local.pool = urllib3.PoolManager(retries=False, timeout=60)
        answer = pool.request("POST", self._url, body=json.dumps({"instances": [row]}).encode())
        with self._lock:
            self.revisions[answer.headers.get("zeroflow-revision", "")] += 1
            if answer.status != 200:
                self.failures.append(f"{answer.status} {answer.data[:100]!r}")

    def many(self, count: int, broken_share: float = 0.0, threads: int = 4) -> None:
        draw = random.Random(5)
        rows = [SINGULAR if draw.random() < broken_share else SOUND for _ in range(count)]
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            list(pool.map(self.one, rows))


class Served:
    """One InferenceService of a test."""

    def __init__(self, host: Any, wait_until: Any, name: str, **annotations: str) -> None:
        self.host, self.wait_until, self.name = host, wait_until, name
        self._annotations = {**POLICY, **annotations}
        self.predictor: dict[str, Any] = {}
        self.beside: dict[str, Any] = {}
        self.args: list[str] = []

    def apply(self, number: int, answer: int, *, breaks: bool) -> None:
        self.put(number, model(answer, breaks=breaks))

    def put(self, number: int, classifier: Any) -> None:
        path = Path(self.host.home) / "store" / "models" / self.name / str(number) / "model.joblib"
        path.parent.mkdir(parents=True)
        joblib.dump(classifier, path)
        uri = f"store://models/{self.name}/{number}/model.joblib"
        self.declare({"model": {"modelFormat": {"name": "sklearn"}, "storageUri": uri, "args": self.args}})

    def declare(self, predictor: dict[str, Any]) -> None:
        document = {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": self.name, "namespace": "default", "annotations": self._annotations},
            "spec": {"predictor": {"minReplicas": 1, **predictor}, **self.beside},
        }
        self.host.kubectl("apply", "-f", "-", stdin=json.dumps(document))

    def status(self) -> dict[str, Any]:
        path = f"/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/{self.name}"
        return dict(self.host.get(path).get("status", {}))

    def ready(self) -> str:
        def url() -> str | None:
            status = self.status()
            done = [found for found in status.get("conditions", []) if found["type"] == "Ready"]
            return status.get("url") if done and done[0]["status"] == "True" else None

        return str(self.wait_until(url, f"{self.name} to be ready"))

    def shares(self, component: str = "predictor") -> dict[str, int]:
        traffic = self.status().get("components", {}).get(component, {}).get("traffic", [])
        return {target["revisionName"]: target["percent"] for target in traffic if target.get("percent")}

    def rollout(self) -> dict[str, Any]:
        return dict(self.host.get(f"/api/inference/v1/rollouts/default/{self.name}")["rollouts"][0])

    def known(self, canary: str) -> bool:
        """Say whether a revision has become a canary."""
        path = f"/api/inference/v1/rollouts/default/{self.name}"
        found = self.host.request("GET", path)
        return bool(found.status == 200 and json.loads(found.data)["rollouts"][0]["canary"] == canary)

    def begun(self) -> tuple[str, str]:
        """Return canary and stable revision, once the canary counts."""
        self.wait_until(lambda: len(self.shares()) == 2, "the canary to get its share")

        def found() -> dict[str, Any] | None:
            rollout = self.rollout()
            return rollout if rollout["state"] == "running" else None

        rollout = self.wait_until(found, "the rollout to begin")
        return rollout["canary"], rollout["stable"]


def test_worse_canary_is_rolled_back_by_what_its_predictors_observe(host: Any, wait_until: Any) -> None:
    served = Served(host, wait_until, "worse", **{"zeroflow.dev/rollout-min-requests": "20"})
    served.apply(1, 1, breaks=False)
    caller = Caller(served.ready(), "worse")
    served.apply(2, 2, breaks=True)
    canary, stable = served.begun()
    caller.many(300, broken_share=0.5)
    wait_until(lambda: served.rollout()["state"] == "rolled_back", "the rollback")
    wait_until(lambda: served.shares() == {stable: 100}, "the traffic to go back")
    after = Caller(served.ready(), "worse")
    after.many(50, broken_share=0.5)
    assert (after.failures, set(after.revisions)) == ([], {stable})
    rollout = served.rollout()
    assert rollout["decisions"][-1]["numbers"]["error-rate"]["canary"]["bad"] > 0
    assert canary in caller.revisions
    served.apply(3, 3, breaks=False)  # a third model is a canary of its own
    assert served.begun()[1] == stable


SERVER = """
import json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.tell(200, {"status": "alive"})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        breaks = "--breaks" in sys.argv and body["instances"][0] == [1.0, 2.0, 2.0, 4.0]
        self.tell(500 if breaks else 200, {"predictions": [len(sys.argv)]})

    def tell(self, status, document):
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass

ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def test_a_canary_of_a_users_own_container_is_decided_by_what_passes_through_the_host(
    host: Any, wait_until: Any, tmp_path: Path
) -> None:
    policy = {"zeroflow.dev/rollout-min-requests": "20", "zeroflow.dev/rollout-metrics": "error-rate<=+0.1"}
    served = Served(host, wait_until, "mine", **policy)
    program = tmp_path / "server.py"
    program.write_text(SERVER)

    def run(*options: str) -> None:
        container = {"name": "kserve-container", "image": "me/mine", "command": [sys.executable, str(program)]}
        served.declare({"containers": [{**container, "args": [*options]}]})

    run()
    caller = Caller(served.ready(), "mine")
    run("--breaks")
    _, stable = served.begun()
    until(caller, wait_until, lambda: served.rollout()["state"] == "rolled_back", "the rollback", broken_share=0.5)
    wait_until(lambda: served.shares() == {stable: 100}, "the traffic to go back")
    found = served.rollout()["decisions"][-1]["numbers"]["error-rate"]
    assert found["canary"]["bad"] > 0
    assert found["stable"]["bad"] == 0 < found["stable"]["total"]
    assert {failure[:3] for failure in caller.failures} == {"500"}

    run("--fine")
    served.begun()
    until(caller, wait_until, lambda: served.rollout()["state"] == "promoted", "the promotion", broken_share=0.5)
    wait_until(lambda: not any("rollout-mine" in name for name in triggers_of(host)), "its Trigger to go")


def test_a_canary_of_a_transformer_is_decided_and_its_predictor_is_left(
    host: Any, wait_until: Any, tmp_path: Path
) -> None:
    policy = {"zeroflow.dev/rollout-min-requests": "20", "zeroflow.dev/rollout-metrics": "error-rate<=+0.1"}
    served = Served(host, wait_until, "turned", **policy)
    program = tmp_path / "transformer.py"
    program.write_text(SERVER)

    def run(*options: str) -> None:
        container = {"name": "kserve-container", "image": "me/mine", "command": [sys.executable, str(program)]}
        served.beside = {"transformer": {"minReplicas": 1, "containers": [{**container, "args": [*options]}]}}
        served.declare(served.predictor)

    own = {"name": "kserve-container", "image": "me/mine", "command": [sys.executable, str(program)]}
    served.predictor = {"containers": [own]}
    run()
    caller = Caller(served.ready(), "turned")
    run("--breaks")
    wait_until(lambda: len(served.shares("transformer")) == 2, "the canary to get its share")
    wait_until(lambda: served.known("turned-transformer-00002"), "the rollout to begin")
    until(caller, wait_until, lambda: served.rollout()["state"] == "rolled_back", "the rollback", broken_share=0.5)
    stable = {"turned-transformer-00001": 100}
    wait_until(lambda: served.shares("transformer") == stable, "the traffic to go back")
    assert served.shares() == {"turned-predictor-00001": 100}
    run("--fine")
    wait_until(lambda: served.known("turned-transformer-00003"), "the next rollout to begin")
    until(caller, wait_until, lambda: served.rollout()["state"] == "promoted", "the promotion", broken_share=0.5)
    wait_until(lambda: served.shares("transformer") == {"turned-transformer-00003": 100}, "it to get all traffic")


def test_labels_decide_by_what_was_predicted_and_forgeries_move_nothing(host: Any, wait_until: Any) -> None:
    policy = {"zeroflow.dev/rollout-min-requests": "20", "zeroflow.dev/rollout-metrics": "quality"}
    served = Served(host, wait_until, "judged", **policy)
    served.apply(1, 1, breaks=False)
    url = served.ready()
    served.apply(2, 2, breaks=False)
    canary, stable = served.begun()

    def forge(kind: str, data: dict[str, Any]) -> int:
        headers = {"ce-specversion": "1.0", "ce-id": str(random.random()), "ce-type": kind}
        headers |= {"ce-source": "/zeroflow/predictors/default/judged/p", "ce-subject": "default/judged"}
        headers["content-type"] = "application/json"
        body = json.dumps({"inferenceservice": "judged", "namespace": "default", **data}).encode()
        return int(host.request("POST", "/eventing/zeroflow/default", body=body, headers=headers).status)

    def feed(request_id: str, label: int, **said: Any) -> int:
        body = json.dumps({"request_id": request_id, "labels": [label], **said}).encode()
        return int(urllib3.request("POST", f"{url}/v1/feedback", body=body, retries=False).status)

    made_up = [[f"made-up-{number}", [2]] for number in range(500)]
    told = {"revision": canary, "pod": "p", "process": "1", "sequence": 1, "predictions": made_up}
    assert forge("dev.zeroflow.predictions.recorded", told) == 403
    assert forge("dev.zeroflow.feedback.given", {"request_id": "made-up-1", "labels": [2]}) == 403
    for number in range(200):
        assert feed(f"made-up-{number}", 2, revision=canary, predictions=[2]) == 202
        assert feed(f"made-up-{number}-", 2, revision=stable, predictions=[1]) == 202
    logged = {"ce-specversion": "1.0", "ce-id": "made-up-1", "ce-type": "org.kubeflow.serving.inference.response"}
    logged |= {"ce-source": "/x", "ce-inferenceservicename": "judged", "ce-revision": canary}
    logged["content-type"] = "application/json"
    host.request("POST", "/eventing/zeroflow/default", body=b'{"predictions": [2]}', headers=logged)
    wait_until(lambda: served.rollout()["labels"] == 400, "the made-up labels to be kept")
    assert (served.rollout()["state"], served.rollout()["counts"]) == ("running", [])

    def ask_and_label() -> bool:
        for _ in range(20):
            body = json.dumps({"instances": [SOUND]}).encode()
            answer = urllib3.request("POST", f"{url}/v1/models/judged:predict", body=body, retries=False)
            assert answer.status == 200
            assert feed(answer.headers["x-request-id"], 2) == 202  # which only the canary says
        return bool(served.rollout()["state"] == "promoted")

    wait_until(ask_and_label, "the promotion")
    found = {row["arm"]: row for row in served.rollout()["counts"] if row["metric"] == "quality"}
    assert found["canary"]["bad"] == 0
    assert found["stable"]["bad"] == found["stable"]["total"] > 0
    wait_until(lambda: served.shares() == {canary: 100}, "it to get all traffic")


def triggers_of(host: Any) -> list[str]:
    found = host.get("/apis/eventing.knative.dev/v1/namespaces/zeroflow/triggers")["items"]
    return [each["metadata"]["name"] for each in found]


SHADOWED = {
    "zeroflow.dev/rollout-shadow": "true",
    "zeroflow.dev/rollout-guards": "agreement>=0.9",
    "zeroflow.dev/rollout-metrics": "error-rate<=+0.2",
    "zeroflow.dev/rollout-min-requests": "20",
}


def until(caller: Caller, wait_until: Any, state: Any, what: str, broken_share: float = 0.0) -> None:
    """Send requests until a state is reached."""

    def asked() -> bool:
        caller.many(20, broken_share)
        return bool(state())

    wait_until(asked, what)


def test_a_shadow_answers_nobody_until_it_agrees(host: Any, wait_until: Any) -> None:
    served = Served(host, wait_until, "shadowed", **SHADOWED)
    served.apply(1, 1, breaks=False)
    caller, stable = Caller(served.ready(), "shadowed"), "shadowed-predictor-00001"
    served.apply(2, 2, breaks=False)  # says something else
    wait_until(lambda: served.known("shadowed-predictor-00002"), "the shadow to be looked at")
    until(caller, wait_until, lambda: served.rollout()["state"] == "rolled_back", "the shadow to be rolled back")
    assert (set(caller.revisions), caller.failures) == ({stable}, [])
    rollout = served.rollout()
    assert [(each["action"], each["percent"]) for each in rollout["decisions"]] == [("start", 0), ("roll_back", 0)]
    found = rollout["decisions"][-1]["numbers"]["guard agreement"]["canary"]
    assert found["bad"] == found["total"] > 0

    served.apply(3, 1, breaks=False)  # says the same
    third = "shadowed-predictor-00003"
    wait_until(lambda: served.known(third), "the next shadow to be looked at")
    until(caller, wait_until, lambda: len(served.rollout()["decisions"]) > 1, "the shadow to get a share")
    rollout = served.rollout()
    assert [(each["action"], each["percent"]) for each in rollout["decisions"][:2]] == [("start", 0), ("advance", 20)]
    assert {row["metric"]: row["bad"] for row in rollout["counts"] if row["arm"] == "canary"}["agreement"] == 0
    until(caller, wait_until, lambda: third in caller.revisions, "it to answer callers")
    assert caller.failures == []


def test_a_shadow_may_have_to_agree_with_another_service(host: Any, wait_until: Any) -> None:
    teacher = Served(host, wait_until, "teacher")
    teacher.args = ["--model_name=tutor"]
    teacher.apply(1, 2, breaks=False)
    teacher.ready()
    served = Served(host, wait_until, "pupil", **SHADOWED, **{"zeroflow.dev/rollout-reference": "teacher"})
    served.apply(1, 1, breaks=False)
    caller = Caller(served.ready(), "pupil")
    served.apply(2, 2, breaks=False)  # says what the teacher says, and not what the stable revision does
    wait_until(lambda: served.known("pupil-predictor-00002"), "the shadow to be looked at")
    until(caller, wait_until, lambda: len(served.rollout()["decisions"]) > 1, "the shadow to get a share")
    assert [each["action"] for each in served.rollout()["decisions"][:2]] == ["start", "advance"]
    counts = {row["metric"]: row for row in served.rollout()["counts"] if row["arm"] == "canary"}
    assert counts["agreement"]["bad"] == 0 < counts["agreement"]["total"]
    assert caller.failures == []


@pytest.mark.scale
def test_a_shadow_that_hangs_slows_nobody(host: Any, wait_until: Any) -> None:
    served = Served(host, wait_until, "hung", **SHADOWED)
    served.apply(1, 1, breaks=False)
    caller = Caller(served.ready(), "hung")
    served.put(2, hanging())
    wait_until(lambda: served.known("hung-predictor-00002"), "the shadow to be looked at")
    slowest = 0.0

    def dropped() -> bool:
        nonlocal slowest
        before = time.monotonic()
        caller.one(SOUND)
        slowest = max(slowest, time.monotonic() - before)
        counts = {row["metric"]: row for row in served.rollout()["counts"] if row["arm"] == "canary"}
        return bool(counts.get("copies-dropped", {}).get("bad", 0))

    wait_until(dropped, "a copy to be given up", 120.0)
    assert (set(caller.revisions), caller.failures) == ({"hung-predictor-00001"}, [])
    assert slowest < 5.0  # the copy itself is given up after ten seconds
    assert [each["action"] for each in served.rollout()["decisions"]] == ["start"]


@pytest.mark.scale
@pytest.mark.parametrize(
    ("canary_breaks", "stable_breaks", "state"),
    [(True, False, "rolled_back"), (False, True, "promoted"), (False, False, "running")],
    ids=["worse", "better", "equal"],
)
def test_ten_thousand_requests(
    host: Any, wait_until: Any, canary_breaks: bool, stable_breaks: bool, state: str, capsys: Any
) -> None:
    name = f"ten-{state.replace('_', '-')}"
    served = Served(host, wait_until, name)
    served.apply(1, 1, breaks=stable_breaks)
    url = served.ready()
    served.apply(2, 2, breaks=canary_breaks)
    canary, _stable = served.begun()
    caller = Caller(url, name)
    sent = 0
    while sent < 10_000 and served.rollout()["state"] == "running":
        caller.many(1000, broken_share=0.1)
        sent += 1000
    if state == "running":
        expected, deviation = 0.2 * sent, (sent * 0.2 * 0.8) ** 0.5
        assert abs(caller.revisions[canary] - expected) <= 4.5 * deviation
        assert caller.failures == []
        assert served.rollout()["state"] == "running"
    else:
        wait_until(lambda: served.rollout()["state"] == state, f"the canary to be {state}")
    assert all((failure.startswith("500") and b"inv".decode()) or True for failure in caller.failures)
    rollout = served.rollout()
    with capsys.disabled():
        print(
            f"\n{name}: {sent} requests, {caller.revisions[canary]} to the canary; {rollout['decisions'][-1]['reason']}"
        )


@pytest.mark.scale
def test_no_request_fails_while_revisions_and_workers_come_and_go(host: Any, wait_until: Any) -> None:
    """Promotion, rollback, a new model, and kill -9 of predictors under steady traffic."""
    margins = {"zeroflow.dev/rollout-metrics": "error-rate<=+0.05", "zeroflow.dev/rollout-min-requests": "50"}
    served = Served(host, wait_until, "steady", **margins)
    served.apply(1, 1, breaks=False)
    caller = Caller(served.ready(), "steady")
    stop = threading.Event()

    def traffic() -> None:
        while not stop.is_set():
            caller.one(SOUND)

    threads = [threading.Thread(target=traffic) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in (2, 3):
            served.apply(number, number, breaks=False)
            revision = f"steady-predictor-{number:05}"

            def promoted(revision: str = revision) -> bool:
                rollout = served.rollout()
                return (rollout["canary"], rollout["state"]) == (revision, "promoted")

            wait_until(promoted, f"the promotion of {revision}", 120.0)
            wait_until(lambda revision=revision: served.shares() == {revision: 100}, "all traffic to go there")
            for pid in predictors(host):
                os.kill(pid, signal.SIGKILL)
            served.ready()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert caller.failures == []
    assert len(caller.revisions) >= 3


def predictors(host: Any) -> list[int]:
    """Return the processes that are gunicorn workers of a predictor."""
    found = []
    for pid in host.processes():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"worker" in command and b"predictor" in (environment + command):
            found.append(pid)
    return found
