"""Several models in one predictor: index, load, unload, and a new version while requests come."""

import shutil
import threading
from typing import Any

import joblib
import numpy as np
import pytest

ROW = [[5.1, 3.5, 1.4, 0.2]]


class Store:
    """The directory behind store://models/zoo."""

    def __init__(self, launcher: Any) -> None:
        self.root = launcher.store / "models" / "zoo"

    def put(self, key: str, answer: float) -> None:
        """Store a model that answers one number, whatever it is asked."""
        from sklearn.dummy import DummyRegressor

        model = DummyRegressor(strategy="constant", constant=answer).fit(np.zeros((2, 4)), [0.0, 1.0])
        path = self.root / key / "model.joblib"
        path.parent.mkdir(parents=True, exist_ok=True)
        joblib.dump(model, path)


@pytest.fixture(scope="module")
def store(launcher: Any) -> Store:
    made = Store(launcher)
    made.put("one", 1.0)
    made.put("two/1", 2.1)
    made.put("two/2", 2.2)
    made.put("two/10", 2.3)
    (made.root / "broken").mkdir()
    (made.root / "broken" / "model.joblib").write_bytes(b"junk")
    return made


@pytest.fixture(scope="module")
def zoo(launcher: Any, store: Store, wait: Any) -> Any:
    predictor = launcher.start("store://models/zoo", ZEROFLOW_MULTI_MODEL="true")
    wait(predictor)
    return predictor


def test_every_model_that_loads_is_served_and_the_index_says_why_not(zoo: Any) -> None:
    assert zoo.predict({"instances": ROW}, model="one").json() == {"predictions": [1.0]}
    assert zoo.predict({"instances": ROW}, model="two").json() == {"predictions": [2.3]}
    assert zoo.get("/v1/models").json() == {"models": ["one", "two"]}
    index = {each["name"]: each for each in zoo.send("POST", "/v2/repository/index").json()}
    assert index["one"] == {"name": "one", "version": "", "state": "READY", "reason": ""}
    assert index["two"]["version"] == "10"
    assert index["broken"]["state"] == "UNAVAILABLE"
    assert "no pickle or joblib file" in index["broken"]["reason"]
    assert len(zoo.send("POST", "/v2/repository/index", {"ready": True}).json()) == 2
    assert zoo.send("POST", "/v2/repository/index", {"ready": 1}).status == 400


def test_readiness_is_each_models_own(zoo: Any) -> None:
    assert zoo.get("/v2/health/ready").json() == {"ready": True}
    assert zoo.get("/v2/models/one/ready").status == 200
    broken = zoo.get("/v2/models/broken/ready")
    assert (broken.status, "is not ready: ModelLoadFailed" in broken.error) == (503, True)
    assert zoo.predict({"instances": ROW}, model="broken").status == 503
    assert zoo.get("/v2/models/none/ready").status == 404
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP64", "data": ROW[0]}
    answer = zoo.send("POST", "/v2/models/two/versions/10/infer", {"inputs": [tensor]})
    assert answer.json()["model_version"] == "10"
    assert zoo.send("POST", "/v2/models/two/versions/1/infer", {"inputs": [tensor]}).status == 404


def test_unloaded_model_is_503_until_it_is_loaded(zoo: Any) -> None:
    assert zoo.send("POST", "/v2/repository/models/one/unload").json() == {"name": "one", "unload": True}
    away = zoo.predict({"instances": ROW}, model="one")
    assert (away.status, "load loads it" in away.error) == (503, True)
    assert zoo.send("POST", "/v2/repository/models/one/load").json() == {"name": "one", "load": True}
    assert zoo.predict({"instances": ROW}, model="one").status == 200
    for verb in ("load", "unload"):
        assert zoo.send("POST", f"/v2/repository/models/none/{verb}").status == 404


def test_new_model_is_served_after_load(zoo: Any, store: Store) -> None:
    store.put("three", 3.0)
    assert zoo.predict({"instances": ROW}, model="three").status == 404
    assert zoo.send("POST", "/v2/repository/models/three/load").status == 200
    assert zoo.predict({"instances": ROW}, model="three").json() == {"predictions": [3.0]}


def test_no_request_fails_while_a_model_is_exchanged(zoo: Any, store: Store, launcher: Any) -> None:
    store.put("hot/1", 1.0)
    assert zoo.send("POST", "/v2/repository/models/hot/load").status == 200
    found: list[Any] = []
    last = threading.Event()

    def ask() -> None:
        connection = type(zoo)(zoo.port, zoo.process, zoo.log)
        while not last.is_set():
            answer = connection.predict({"instances": ROW}, model="hot")
            found.append(answer.json()["predictions"][0] if answer.status == 200 else answer.status)
        connection.connection.close()

    lanes = [threading.Thread(target=ask) for _ in range(4)]
    for lane in lanes:
        lane.start()
    try:
        for version in range(2, 6):
            store.put(f"hot/{version}", float(version))
            assert zoo.send("POST", "/v2/repository/models/hot/load").status == 200
            assert zoo.predict({"instances": ROW}, model="hot").json() == {"predictions": [float(version)]}
        (store.root / "hot" / "6").mkdir()
        (store.root / "hot" / "6" / "model.joblib").write_bytes(b"junk")
        assert zoo.send("POST", "/v2/repository/models/hot/load").status == 400
    finally:
        last.set()
        for lane in lanes:
            lane.join()
    assert zoo.predict({"instances": ROW}, model="hot").json() == {"predictions": [5.0]}
    shutil.rmtree(store.root / "hot")
    assert set(found) <= {1.0, 2.0, 3.0, 4.0, 5.0}
    assert len(set(found)) > 1
