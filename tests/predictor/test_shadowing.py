"""Copies to a canary: bounded, marked, of successful predictions only, and no caller waits for one."""

import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from zeroflow.functions.predictor.settings import Reference
from zeroflow.functions.predictor.telling import shadow
from zeroflow.functions.predictor.telling.shadow import Shadow

PATH, ANSWER = "/v1/models/m:predict", b'{"predictions":[1]}'


class Canary:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.open, self.seen = threading.Event(), threading.Semaphore(0)
        self.status, self.requests, self.answer = 200, [], ANSWER
        canary = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                canary.requests.append((self.path, dict(self.headers)))
                canary.seen.release()
                canary.open.wait(30)
                self.send_response(canary.status)
                self.send_header("zeroflow-revision", "two")
                self.send_header("content-length", str(len(canary.answer)))
                self.end_headers()
                self.wfile.write(canary.answer)

            def log_message(self, *_: object) -> None:
                """Stay quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def canary() -> Iterator[Canary]:
    running = Canary()
    yield running
    running.open.set()
    running.server.shutdown()
    running.server.server_close()


@pytest.fixture
def teacher() -> Iterator[Canary]:
    running = Canary()
    running.open.set()
    yield running
    running.server.shutdown()
    running.server.server_close()


class Results:
    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.changed = threading.Condition()

    def __call__(self, _served: Any, revision: str, result: str) -> None:
        with self.changed:
            self.counts[revision, result] += 1
            self.changed.notify_all()

    def wait(self, total: int) -> dict[tuple[str, str], int]:
        with self.changed:
            assert self.changed.wait_for(lambda: self.counts.total() >= total, 30)
        return dict(self.counts)


def test_a_canary_that_hangs_fills_a_bounded_queue_and_nothing_waits(canary: Canary) -> None:
    results = Results()
    copies, served = Shadow(canary.url, "secret", "one", results), object()
    environ = {"PATH_INFO": PATH, "CONTENT_TYPE": "application/json", "HTTP_AUTHORIZATION": "Bearer of-the-caller"}

    def copy(answer: bytes = ANSWER, **more: str) -> None:
        copies.copy(served, {**environ, **more}, b'{"instances":[[1]]}', answer)  # type: ignore[arg-type]

    copy()
    copy()  # whether there is a canary is asked by the first one
    canary.open.set()
    assert results.wait(1) == {("two", "agreed"): 1}
    canary.open.clear()
    canary.seen.acquire()
    copy(b'{"predictions":[2]}')
    canary.seen.acquire()  # the one thread waits for the canary now
    for _ in range(shadow.MAX_QUEUED + 7):
        copy()
    assert results.counts["two", "dropped"] == 7
    copies.copy(served, environ, b"x" * (shadow.MAX_BODY_BYTES + 1), ANSWER)  # type: ignore[arg-type]
    assert results.counts["two", "dropped"] == 8
    canary.open.set()
    found = results.wait(1 + 8 + 1 + shadow.MAX_QUEUED)
    assert found == {("two", "agreed"): 1 + shadow.MAX_QUEUED, ("two", "differed"): 1, ("two", "dropped"): 8}
    path, headers = canary.requests[0]
    assert (path, "authorization" in {name.lower() for name in headers}) == (PATH, False)
    mark = {shadow.MARK_VARIABLE: headers[shadow.MARK]}
    assert copies.is_copy(mark)
    assert not Shadow(canary.url, "another", "one", results).is_copy(mark)
    assert not copies.is_copy({})


@pytest.mark.parametrize("path", ["/v1/models/m:explain", "/v1/models/m", "/openai/v1/completions"])
def test_only_predictions_are_copied(canary: Canary, path: str) -> None:
    copies = Shadow(canary.url, "secret", "one", Results())
    copies.copy(object(), {"PATH_INFO": path}, b"{}", ANSWER)  # type: ignore[arg-type]
    assert copies._thread is None


def test_a_canary_without_room_is_not_judged(canary: Canary) -> None:
    canary.status = 503
    canary.open.set()
    results = Results()
    Shadow(canary.url, "secret", "one", results).copy(object(), {"PATH_INFO": PATH}, b"{}", ANSWER)  # type: ignore[arg-type]
    assert results.wait(1) == {("two", "dropped"): 1}


class Named:
    name = "m"


def test_a_canary_is_compared_with_another_services_answers(canary: Canary, teacher: Canary) -> None:
    canary.open.set()
    results = Results()
    reference = Reference(teacher.url, "teacher")
    copies = Shadow(canary.url, "secret", "one", results, reference)

    def copy(answer: bytes, total: int) -> dict[tuple[str, str], int]:
        copies._asleep_until = 0.0
        copies.copy(Named(), {"PATH_INFO": PATH}, b"{}", answer)  # type: ignore[arg-type]
        return results.wait(total)

    stable = b'{"predictions":[7]}'  # what the caller got is not what counts
    assert copy(stable, 1) == {("two", "agreed"): 1}
    teacher.answer = stable
    assert copy(stable, 2) == {("two", "agreed"): 1, ("two", "differed"): 1}
    teacher.status = 500
    assert copy(ANSWER, 3) == {("two", "agreed"): 1, ("two", "differed"): 1, ("two", "dropped"): 1}
    path, headers = teacher.requests[0]
    assert path == "/v1/models/teacher:predict"
    assert shadow.MARK not in {name.lower() for name in headers}  # it is no copy to it
