"""Requests that come while the model works are answered together, and each gets its own answer."""

import concurrent.futures
import json
import threading
from typing import Any

import numpy as np
import pytest

from zeroflow.functions.predictor.models.batching import Batcher


class Model:
    """Answers rows doubled; its calls can be held."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.started, self.go = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, arrays: dict[str, Any]) -> dict[str, Any]:
        rows = arrays["rows"]
        self.calls.append(len(rows))
        self.started.release()
        assert self.go.acquire(timeout=20)
        if (rows < 0).any():
            raise ValueError("negative")
        return {"out": rows * 2}


def ask(batcher: Batcher, model: Any, *values: float) -> Any:
    return batcher.ask("k", {"rows": np.array(values)}, model)["out"].tolist()


@pytest.fixture
def pool() -> Any:
    with concurrent.futures.ThreadPoolExecutor(8) as made:
        yield made


def held(batcher: Batcher, model: Model, pool: Any, *requests: tuple[float, ...]) -> list[Any]:
    """Ask once, and while that call runs, ask the requests; return what will be their answers."""
    first = pool.submit(ask, batcher, model, 1.0)
    assert model.started.acquire(timeout=20)
    asked = []
    for values in requests:
        asked.append(pool.submit(ask, batcher, model, *values))
        while sum(len(waiting) for waiting in batcher._waiting.values()) < len(asked):
            threading.Event().wait(0.001)
    return [first, *asked]


def test_what_comes_meanwhile_is_one_call(pool: Any) -> None:
    batcher, model = Batcher(32), Model()
    asked = held(batcher, model, pool, (2.0,), (3.0, 4.0), (5.0,))
    model.go.release(2)
    assert [each.result(20) for each in asked] == [[2.0], [4.0], [6.0, 8.0], [10.0]]
    assert model.calls == [1, 4]
    assert batcher._waiting == {}


def test_batch_holds_no_more_rows_than_allowed(pool: Any) -> None:
    batcher, model = Batcher(3), Model()
    asked = held(batcher, model, pool, (2.0, 3.0), (4.0,), (5.0, 6.0, 7.0, 8.0))
    model.go.release(3)
    assert asked[-1].result(20) == [10.0, 12.0, 14.0, 16.0]
    assert model.calls == [1, 3, 4]  # a request that is larger than a batch is one of its own


def test_bad_rows_cost_only_their_own_request(pool: Any) -> None:
    batcher, model = Batcher(32), Model()
    asked = held(batcher, model, pool, (2.0,), (-3.0,), (4.0,))
    model.go.release(5)
    assert asked[1].result(20) == [4.0]
    with pytest.raises(ValueError, match="negative"):
        asked[2].result(20)
    assert asked[3].result(20) == [8.0]


def test_model_that_answers_for_the_batch_as_a_whole_is_asked_one_by_one(pool: Any) -> None:
    batcher, gate, sizes = Batcher(32), threading.Event(), []

    def total(arrays: dict[str, Any]) -> dict[str, Any]:
        sizes.append(len(arrays["rows"]))
        if len(sizes) == 1:
            gate.wait(20)
        return {"out": np.atleast_1d(arrays["rows"].sum())}

    first = pool.submit(ask, batcher, total, 1.0)
    others = [pool.submit(ask, batcher, total, float(value)) for value in (2, 3)]
    while sum(len(waiting) for waiting in batcher._waiting.values()) < 2:
        threading.Event().wait(0.001)
    gate.set()
    assert [first.result(20), *(each.result(20) for each in others)] == [[1.0], [2.0], [3.0]]


def test_many_threads_each_get_their_own(pool: Any) -> None:
    batcher = Batcher(16)

    def doubled(arrays: dict[str, Any]) -> dict[str, Any]:
        return {"out": arrays["rows"] * 2}

    def many(seed: int) -> bool:
        return all(ask(batcher, doubled, seed + at) == [2.0 * (seed + at)] for at in range(500))

    assert all(pool.map(many, range(0, 8000, 1000)))
    assert batcher._waiting == {}


def test_batching_predictor_answers_as_kserves_batcher(launcher: Any, slow_model: str) -> None:
    from predictor.test_worker import REQUEST, exchange

    served = launcher.serve_at(
        slow_model, PYTHONPATH=str(launcher.root), ZEROFLOW_BATCHER='{"maxBatchSize": 8, "maxLatency": 50}'
    )
    request = REQUEST.replace(b"Host: x", b"Host: x\r\nConnection: close")
    with concurrent.futures.ThreadPoolExecutor(9) as pool:
        found = list(pool.map(lambda _: exchange(served.port, request), range(9)))
    answers = [json.loads(answer.rpartition(b"\r\n")[2]) for answer in found]
    assert [answer["predictions"] for answer in answers] == [[5.1]] * 9
    assert len({answer["batchId"] for answer in answers}) <= 4  # nine requests, each of a second
