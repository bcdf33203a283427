"""A predictor whose models a file names: it follows it and tells what became of each; no request fails over it."""

import concurrent.futures
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from predictor.receiver import Receiver
from zeroflow.artifacts import content
from zeroflow.functions.predictor.models.repository import Repository
from zeroflow.functions.predictor.models.served import Served
from zeroflow.functions.predictor.models.wanted import Word
from zeroflow.inference.modelconfig import ConfiguredModel, written
from zeroflow.predictions import tokens
from zeroflow.predictions.outcome import FAILED, LOADED, Outcome
from zeroflow.predictions.refusal import REFUSED

ROW = [[5.1, 3.5, 1.4, 0.2]]
V2 = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": ROW[0]}]}
TOKEN = tokens.issue("platform", "team", "many")
DEADLINE_S = 30.0
SLOW = """
import time

time.sleep({delay_s})


class Slow:
    def predict(self, payload, headers=None):
        return {{"predictions": [{answer}]}}
"""


class Shelf:
    """A file of models, exchanged as kubelet does, and a store that they lie in."""

    def __init__(self, launcher: Any, root: Path) -> None:
        self.launcher, self.root = launcher, root
        self.models: dict[str, ConfiguredModel] = {}
        self.file = root / "models.json"

    def put(self, key: str, answer: float, delay_s: float = 0.0) -> str:
        """Store a model that answers one number; with a delay, one that takes that long to load."""
        place = self.launcher.store / "models" / self.root.name / key
        place.mkdir(parents=True, exist_ok=True)
        if delay_s:
            (place / "model.py").write_text(SLOW.format(delay_s=delay_s, answer=answer))
        else:
            from sklearn.dummy import DummyRegressor

            model = DummyRegressor(strategy="constant", constant=answer).fit(np.zeros((2, 4)), [0.0, 1.0])
            joblib.dump(model, place / "model.joblib")
        return f"store://models/{self.root.name}/{key}"

    def name(self, name: str, uri: str, framework: str = "sklearn", by: str | None = "me", **fields: Any) -> None:
        declared = f"{name}.{sum(model.name == name for model in self.models.values())}.{uri}"
        self.models[name] = ConfiguredModel(
            name, uri, framework, "1Mi", uri, fields.pop("declared", declared), vouched_by=by, **fields
        )

    def write(self) -> None:
        beside = self.root / "models.new"
        beside.write_text(written(self.models.values()))
        beside.replace(self.file)

    def start(self, receiver: Receiver | None = None, **env: str) -> Any:
        told = {"inferenceservice": "many", "namespace": "team", "token": TOKEN}
        if receiver is not None:
            env["ZEROFLOW_OBSERVED"] = json.dumps({**told, "sink": receiver.url})
        env = {"MODEL_NAME": "many", "ZEROFLOW_SCRATCH": str(self.root), "HOSTNAME": "pod-1", **env}
        return self.launcher.start("", ZEROFLOW_TRAINED_MODELS=str(self.file), ZEROFLOW_MODEL_VOUCHED_BY="", **env)


@pytest.fixture
def shelf(launcher: Any, tmp_path: Path) -> Shelf:
    return Shelf(launcher, tmp_path)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def asked(predictor: Any, model: str) -> tuple[int, Any]:
    answer = predictor.predict({"instances": ROW}, model=model)
    return answer.status, answer.json().get("predictions") or answer.error


def outcomes(receiver: Receiver) -> list[Outcome]:
    events = [event for event in list(receiver.events) if event.type in (LOADED, FAILED)]
    for event in events:
        assert tokens.allows("platform", TOKEN, event.type, event.headers["ce-source"])
    return [Outcome.from_data(event.data) for event in events]


def test_each_model_answers_by_its_name_by_both_protocols(shelf: Shelf, wait: Any) -> None:
    for number, name in enumerate(("one", "two"), 1):
        shelf.name(name, shelf.put(name, float(number)))
    shelf.write()
    predictor = shelf.start()
    wait(predictor)
    assert asked(predictor, "two") == (200, [2.0])
    assert asked(predictor, "one") == (200, [1.0])
    assert predictor.infer(V2, model="two").json()["outputs"][0]["data"] == [2.0]
    assert predictor.get("/v1/models").json() == {"models": ["one", "two"]}
    assert predictor.get("/v1/models/many").status == 404


def test_without_models_it_is_ready_and_knows_none(shelf: Shelf, wait: Any) -> None:
    predictor = shelf.start()
    wait(predictor)
    assert predictor.get("/v2/health/ready").json() == {"ready": True}
    assert predictor.get("/v1/models").json() == {"models": []}
    shelf.name("late", shelf.put("late", 7.0))
    shelf.write()
    until(lambda: asked(predictor, "late") == (200, [7.0]))


def test_what_is_asked_for_is_loaded_first_and_its_request_waits(shelf: Shelf, wait: Any) -> None:
    """Six models take four seconds each to load; the last one's request does not wait for all of them."""
    for name in "abcdef":
        shelf.name(name, shelf.put(name, 1.0, delay_s=4.0), framework="python")
    shelf.name("z", shelf.put("z", 26.0))
    shelf.write()
    predictor = shelf.start()
    wait(predictor)
    assert predictor.get("/v1/models/z").status == 503  # readiness does not wait
    began = time.monotonic()
    assert asked(predictor, "z") == (200, [26.0])
    assert time.monotonic() - began < 10.0


def test_changed_model_is_exchanged_and_no_request_fails(shelf: Shelf, wait: Any, receiver: Receiver) -> None:
    shelf.name("m", shelf.put("v0", 0.0))
    shelf.write()
    predictor = shelf.start(receiver)
    wait(predictor)
    assert asked(predictor, "m") == (200, [0.0])
    ended, found = threading.Event(), []

    def ask() -> None:
        import urllib3

        pool = urllib3.PoolManager()
        while not ended.is_set():
            answer = pool.request("POST", f"{predictor.url}/v1/models/m:predict", json={"instances": ROW})
            found.append((answer.status, answer.json().get("predictions")))

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        running = [threads.submit(ask) for _ in range(4)]
        for number in range(1, 6):
            shelf.name("m", shelf.put(f"v{number}", float(number)))
            shelf.write()
            until(lambda number=number: found[-1:] == [(200, [float(number)])])
        ended.set()
        for each in running:
            each.result()
    assert {status for status, _ in found} == {200}
    assert {answer[0] for _, answer in found} >= {0.0, 1.0, 5.0}
    until(lambda: [each.version for each in outcomes(receiver)][-1:] == [shelf.models["m"].version])


def test_removed_model_is_gone_and_the_others_stay(shelf: Shelf, wait: Any) -> None:
    for name in ("one", "two"):
        shelf.name(name, shelf.put(name, 1.0))
    shelf.write()
    predictor = shelf.start()
    wait(predictor)
    assert asked(predictor, "one") == asked(predictor, "two") == (200, [1.0])
    del shelf.models["one"]
    shelf.write()
    until(lambda: asked(predictor, "one")[0] == 404)
    assert asked(predictor, "two") == (200, [1.0])


def test_each_failure_is_told_with_its_reason_and_takes_no_other_with_it(
    shelf: Shelf, wait: Any, receiver: Receiver
) -> None:
    good = shelf.put("good", 3.0)
    shelf.name("good", good)
    shelf.name("untrusted", good, by=None)
    shelf.name("missing", f"{good}-no")
    shelf.name("wrong", good, framework="onnx")
    shelf.name("changed", good, sha256="0" * 64)
    shelf.write()
    predictor = shelf.start(receiver)
    wait(predictor)
    assert asked(predictor, "good") == (200, [3.0])
    until(lambda: len(outcomes(receiver)) == 5)
    told = {each.model: each for each in outcomes(receiver)}
    reasons = {name: each.reason for name, each in told.items()}
    assert reasons == {
        "good": None,
        "untrusted": "PickleNotVouched",
        "missing": "ModelNotFound",
        "wrong": "FormatNotSupported",
        "changed": "ModelNotApproved",
    }
    assert {name: each.version for name, each in told.items()} == {n: m.version for n, m in shelf.models.items()}
    assert "nobody vouches for its bytes" in (told["untrusted"].message or "")
    status, said = asked(predictor, "untrusted")
    assert (status, "PickleNotVouched" in said) == (503, True)
    refused = {event.data["model"]: event.data["uri"] for event in receiver.events if event.type == REFUSED}
    assert refused == {"untrusted": good, "changed": good}


def test_changed_model_that_cannot_be_loaded_leaves_the_one_that_is_served(
    shelf: Shelf, wait: Any, receiver: Receiver
) -> None:
    shelf.name("m", shelf.put("good", 1.0))
    shelf.write()
    predictor = shelf.start(receiver)
    wait(predictor)
    assert asked(predictor, "m") == (200, [1.0])
    shelf.name("m", "store://models/nowhere")
    shelf.write()
    until(lambda: [each.reason for each in outcomes(receiver)] == [None, "ModelNotFound"])
    assert asked(predictor, "m") == (200, [1.0])


def test_success_is_told_once_for_all_starts_and_failure_each_time(
    shelf: Shelf, wait: Any, receiver: Receiver, tmp_path: Path
) -> None:
    shelf.name("good", shelf.put("good", 1.0))
    shelf.name("bad", "store://models/nowhere")
    shelf.write()
    for starts in (1, 2):
        predictor = shelf.start(receiver, ZEROFLOW_MODEL_CACHE=str(tmp_path / "cache"))
        wait(predictor)
        assert asked(predictor, "good") == (200, [1.0])
        until(lambda starts=starts: [each.model for each in outcomes(receiver)].count("bad") == starts)
        predictor.connection.close()
        predictor.process.terminate()
        predictor.process.wait(DEADLINE_S)
    assert [each.model for each in outcomes(receiver)].count("good") == 1


def test_process_that_is_to_end_first_loads_what_nobody_has_heard_of(
    shelf: Shelf, wait: Any, receiver: Receiver, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        shelf.name(name, shelf.put(name, 1.0, delay_s=1.0), framework="python")
    shelf.write()
    env = {"ZEROFLOW_MODEL_CACHE": str(tmp_path / "cache")}
    first = shelf.start(receiver, **env)
    wait(first)
    first.connection.close()
    first.process.terminate()
    first.process.wait(DEADLINE_S)
    assert sorted(each.model for each in outcomes(receiver)) == ["one", "two"]
    shelf.put("two", 1.0, delay_s=20.0)
    again = shelf.start(receiver, **env)
    wait(again)
    again.connection.close()
    began = time.monotonic()
    again.process.terminate()  # it owes nothing
    again.process.wait(DEADLINE_S)
    assert time.monotonic() - began < 15.0


def test_what_the_broker_does_not_take_is_told_later(shelf: Shelf, wait: Any, receiver: Receiver) -> None:
    shelf.name("m", shelf.put("m", 1.0))
    shelf.write()
    receiver.status = 503
    predictor = shelf.start(receiver)
    wait(predictor)
    assert asked(predictor, "m") == (200, [1.0])
    until(lambda: "does not take events" in predictor.log.read_text())
    receiver.status = 202
    until(lambda: [each.model for each in outcomes(receiver)] == ["m"])


def test_broken_file_leaves_what_is_served(shelf: Shelf, wait: Any) -> None:
    shelf.name("m", shelf.put("m", 1.0))
    shelf.write()
    predictor = shelf.start()
    wait(predictor)
    assert asked(predictor, "m") == (200, [1.0])
    for broken in ('[{"modelName":', '[{"modelName": "../../x", "modelSpec": {}}]', "{}"):
        shelf.file.write_text(broken)
        until(lambda: predictor.log.read_text().count("is not followed"))
        assert asked(predictor, "m") == (200, [1.0])
    shelf.name("n", shelf.put("n", 2.0))
    shelf.write()
    until(lambda: asked(predictor, "n") == (200, [2.0]))


def test_entry_that_kserve_wrote_is_served_on_its_hash_or_not_at_all(shelf: Shelf, wait: Any) -> None:
    uri = shelf.put("m", 1.0)
    spec = {"storageUri": uri, "framework": "sklearn", "memory": "1Mi"}
    shelf.file.write_text(json.dumps([{"modelName": "m", "modelSpec": spec}]))
    predictor = shelf.start()
    wait(predictor)
    status, said = asked(predictor, "m")
    assert (status, "PickleNotVouched" in said) == (503, True)


def test_operators_unload_holds_for_this_state_of_the_model_and_later_processes(
    shelf: Shelf, wait: Any, tmp_path: Path
) -> None:
    shelf.name("m", shelf.put("v0", 0.0))
    shelf.write()
    env = {"ZEROFLOW_MODEL_CACHE": str(tmp_path / "cache")}
    first, second = shelf.start(**env), shelf.start(**env)
    for each in (first, second):
        wait(each)
        assert asked(each, "m") == (200, [0.0])
    assert first.send("POST", "/v2/repository/models/m/unload").status == 200
    assert asked(second, "m")[0] == 503
    later = shelf.start(**env)
    wait(later)
    assert asked(later, "m")[0] == 503
    shelf.name("m", shelf.put("v1", 1.0))
    shelf.write()
    for each in (first, second, later):
        until(lambda each=each: asked(each, "m") == (200, [1.0]))
    last = shelf.start(**env)
    wait(last)
    assert asked(last, "m") == (200, [1.0])


@pytest.mark.parametrize("options", ["", "--preload"], ids=["each-loads", "preloaded"])
def test_every_worker_follows_and_a_killed_one_is_replaced_by_one_that_does(
    shelf: Shelf, wait: Any, options: str
) -> None:
    shelf.name("m", shelf.put("v0", 0.0))
    shelf.write()
    predictor = shelf.start(WEB_CONCURRENCY="2", GUNICORN_CMD_ARGS=options)
    wait(predictor)

    def workers() -> list[int]:
        pid = predictor.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def ask() -> Any:
        predictor.connection.close()
        found = asked(predictor, "m")
        predictor.connection.close()
        return found

    def of_each() -> list[Any]:
        found = []
        for worker in workers():
            others = [other for other in workers() if other != worker]
            for other in others:
                os.kill(other, signal.SIGSTOP)
            try:
                found.append(ask())
            finally:
                for other in others:
                    os.kill(other, signal.SIGCONT)
        return found

    until(lambda: len(workers()) == 2)
    assert of_each() == [(200, [0.0])] * 2
    shelf.name("m", shelf.put("v1", 1.0))
    shelf.write()
    until(lambda: of_each() == [(200, [1.0])] * 2)
    killed = workers()[0]
    os.kill(killed, signal.SIGKILL)
    until(lambda: killed not in workers() and len(workers()) == 2)
    assert of_each() == [(200, [1.0])] * 2


def test_two_names_for_the_same_bytes_are_served_by_their_own_words(shelf: Shelf, wait: Any) -> None:
    uri = shelf.put("m", 4.0)
    sha256 = content.of(shelf.launcher.store / uri.removeprefix("store://")).sha256
    shelf.name("one", uri, sha256=sha256)
    shelf.name("two", uri, by=None, sha256=sha256)
    shelf.write()
    predictor = shelf.start()
    wait(predictor)
    assert asked(predictor, "one") == (200, [4.0])
    assert asked(predictor, "two")[0] == 503


def test_word_about_another_state_of_a_model_is_not_followed() -> None:
    """A replica whose file is behind is asked to unload what another one has already exchanged."""
    repository = Repository(lambda name: Served(name, Any), lambda: ["m"], lambda name: "new")  # type: ignore[arg-type]
    repository.load("m")
    repository.follow({"m": Word(1, False, "old")})
    assert repository.names == ["m"]
    repository.follow({"m": Word(2, False, "new")})
    assert repository.names == []
