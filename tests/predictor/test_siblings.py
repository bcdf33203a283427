"""Repository calls with several processes: workers, replicas; some killed, some stopped, some started later."""

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from zeroflow.functions.predictor.models.wanted import FILE, Wanted

ROW = [[5.1, 3.5, 1.4, 0.2]]
DEADLINE_S = 30.0


class Shelf:
    """A directory of models in the store, each of which answers one number."""

    def __init__(self, launcher: Any, bucket: str) -> None:
        self.root, self.uri = launcher.store / "models" / bucket, f"store://models/{bucket}"

    def put(self, name: str, answer: float) -> None:
        from sklearn.dummy import DummyRegressor

        model = DummyRegressor(strategy="constant", constant=answer).fit(np.zeros((2, 4)), [0.0, 1.0])
        path = self.root / name / "model.joblib"
        path.parent.mkdir(parents=True, exist_ok=True)
        joblib.dump(model, path)


@pytest.fixture
def shelf(launcher: Any, request: Any) -> Shelf:
    made = Shelf(launcher, f"shelf-{abs(hash(request.node.name))}")
    made.put("one", 1.0)
    made.put("two", 2.0)
    return made


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def workers_of(predictor: Any) -> list[int]:
    """The workers of a gunicorn: children of its process."""
    pid = predictor.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextlib.contextmanager
def alone(worker: int, workers: list[int]) -> Iterator[None]:
    """Have one worker answer, whatever is asked: the others are stopped."""
    others = [other for other in workers if other != worker]
    for other in others:
        os.kill(other, signal.SIGSTOP)
    try:
        yield
    finally:
        for other in others:
            os.kill(other, signal.SIGCONT)


def asked(predictor: Any, model: str) -> tuple[int, Any]:
    """Ask on a new connection, which any worker may take."""
    predictor.connection.close()
    answer = predictor.predict({"instances": ROW}, model=model)
    predictor.connection.close()
    return answer.status, answer.json().get("predictions")


def of_each(predictor: Any, model: str) -> list[tuple[int, Any]]:
    """What each worker answers."""
    workers, found = workers_of(predictor), []
    for worker in workers:
        with alone(worker, workers):
            found.append(asked(predictor, model))
    return found


def call(predictor: Any, model: str, verb: str) -> Any:
    predictor.connection.close()
    answer = predictor.send("POST", f"/v2/repository/models/{model}/{verb}")
    predictor.connection.close()
    return answer


@pytest.fixture(params=["", "--preload"], ids=["each-loads", "preloaded"])
def pair(request: Any, launcher: Any, shelf: Shelf, wait: Any) -> Any:
    options = {"WEB_CONCURRENCY": "2", "GUNICORN_CMD_ARGS": request.param, "ZEROFLOW_MULTI_MODEL": "true"}
    predictor = launcher.start(shelf.uri, ZEROFLOW_SCRATCH=str(launcher.root), **options)
    wait(predictor)
    until(lambda: len(list(launcher.root.glob(f"zeroflow-repository-*-{predictor.process.pid}-*/*.sock"))) == 2)
    return predictor


def test_every_worker_follows_a_load_and_an_unload(pair: Any, shelf: Shelf) -> None:
    assert of_each(pair, "one") == [(200, [1.0])] * 2
    shelf.put("one", 1.5)
    shelf.put("three", 3.0)
    assert call(pair, "one", "load").status == 200
    assert call(pair, "three", "load").status == 200
    assert of_each(pair, "one") == [(200, [1.5])] * 2
    assert of_each(pair, "three") == [(200, [3.0])] * 2
    assert call(pair, "two", "unload").json() == {"name": "two", "unload": True}
    assert of_each(pair, "two") == [(503, None)] * 2


def test_worker_that_takes_a_killed_ones_place_serves_what_was_wanted(pair: Any, shelf: Shelf) -> None:
    assert call(pair, "two", "unload").status == 200
    shelf.put("one", 1.7)
    assert call(pair, "one", "load").status == 200
    killed = workers_of(pair)[0]
    os.kill(killed, signal.SIGKILL)
    until(lambda: killed not in workers_of(pair) and len(workers_of(pair)) == 2)
    assert of_each(pair, "two") == [(503, None)] * 2
    assert of_each(pair, "one") == [(200, [1.7])] * 2
    assert call(pair, "two", "load").status == 200  # the dead one's socket is no obstacle
    assert of_each(pair, "two") == [(200, [2.0])] * 2


def test_replicas_of_a_revision_follow_and_later_ones_too(
    launcher: Any, shelf: Shelf, wait: Any, tmp_path: Path
) -> None:
    cache = tmp_path / ("deep" * 30)  # deeper than the address of a socket may be
    options = {"ZEROFLOW_MODEL_CACHE": str(cache), "ZEROFLOW_MULTI_MODEL": "true"}
    one, two = (launcher.start(shelf.uri, **options) for _ in range(2))
    other = launcher.start(shelf.uri, **options, K_REVISION="iris-predictor-00002")
    for each in (one, two, other):
        wait(each)
    assert call(one, "two", "unload").status == 200
    assert asked(two, "two") == (503, None)
    shelf.put("one", 1.9)
    assert call(two, "one", "load").status == 200
    assert asked(one, "one") == (200, [1.9])
    assert asked(other, "two") == (200, [2.0])  # another revision is another matter
    later = launcher.start(shelf.uri, **options)
    wait(later)
    assert asked(later, "two") == (503, None)


def test_call_says_which_process_does_not_follow(launcher: Any, shelf: Shelf, wait: Any, tmp_path: Path) -> None:
    """One of two replicas does not find the new version: its store is another directory."""
    elsewhere = tmp_path / "store" / "models" / shelf.root.name
    elsewhere.mkdir(parents=True)
    (elsewhere / "one").symlink_to(shelf.root / "one")
    options = {"ZEROFLOW_MODEL_CACHE": str(tmp_path / "cache"), "ZEROFLOW_MULTI_MODEL": "true"}
    one = launcher.start(shelf.uri, **options)
    two = launcher.start(shelf.uri, **options, ZEROFLOW_STORE=str(tmp_path / "store"))
    wait(one)
    wait(two)
    answer = call(one, "two", "load")
    assert answer.status == 503
    assert "model two is loaded in this process, but not in 1 others" in answer.error
    assert "two NotFound: Model with name two does not exist." in answer.error
    assert asked(one, "two") == (200, [2.0])


def _say(directory: Path, name: str, times: int) -> None:
    for _ in range(times):
        Wanted(directory).record(name, True)


def test_no_word_is_lost_when_processes_record_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_say, args=(tmp_path, name, 25)) for name in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(DEADLINE_S)
    words = Wanted(tmp_path).read()
    assert set(words) == set("abcd")
    assert max(word.generation for word in words.values()) == 100


def test_unreadable_file_wants_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE).write_bytes(b'{"one": 3}')
    assert Wanted(tmp_path).read() == {}
    assert "remove it to begin anew" in caplog.text
    assert Wanted(tmp_path).record("one", False) == 1
