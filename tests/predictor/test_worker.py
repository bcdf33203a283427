"""The worker under what clients really send."""

import concurrent.futures
import contextlib
import json
import socket
import time
from typing import Any

import pytest

BODY = b'{"instances": [[5.1, 3.5, 1.4, 0.2]]}'
REQUEST = b"POST /v1/models/iris:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


def exchange(port: int, data: bytes, pieces: int = 1) -> bytes:
    """Send bytes, in pieces, and return all that comes until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        size = -(-len(data) // pieces)
        for at in range(0, len(data), size):
            client.sendall(data[at : at + size])
        found = b""
        while chunk := client.recv(65536):
            found += chunk
        return found


LAST = REQUEST.replace(b"Host: x", b"Host: x\r\nConnection: close")


@pytest.mark.parametrize("pieces", [1, 7, len(LAST)])
def test_request_arrives_in_pieces(iris: Any, pieces: int) -> None:
    answer = exchange(iris.port, LAST, pieces)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b'{"predictions":[0]}')


def test_pipelined_requests_are_answered_in_their_order(iris: Any) -> None:
    health = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = exchange(iris.port, REQUEST + health + REQUEST + LAST)
    assert [part[-1:] for part in answer.split(b"HTTP/1.1 200 OK")[1:]] == [b"}"] * 4
    assert answer.index(b'{"predictions"') < answer.index(b'{"live"') < answer.rindex(b'{"predictions"')


def test_chunked_body(iris: Any) -> None:
    head = (
        b"POST /v1/models/iris:predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    body = b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (10, BODY[:10], len(BODY) - 10, BODY[10:])
    assert exchange(iris.port, head + body).endswith(b'{"predictions":[0]}')


def test_head_has_no_body(iris: Any) -> None:
    answer = exchange(iris.port, b"HEAD /v2/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"Content-Length: 13" in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400 Bad Request"),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 70_000 + b"\r\n\r\n", b"431 Request Header Fields Too Large"),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400 Bad Request"),
    ],
    ids=["tls", "large-head", "smuggled"],
)
def test_what_is_no_request_is_refused(iris: Any, data: bytes, status: bytes) -> None:
    assert exchange(iris.port, data).startswith(b"HTTP/1.1 " + status)
    assert iris.predict(BODY).status == 200


def test_slow_model_holds_up_neither_health_nor_a_stop(launcher: Any, slow: Any) -> None:
    slow.connection.close()  # the next request comes on a connection that is made after the slow ones
    with contextlib.ExitStack() as stack:
        asked = []
        for _ in range(8):  # twice as many as there are threads
            asked.append(stack.enter_context(socket.create_connection(("127.0.0.1", slow.port), timeout=30)))
            asked[-1].sendall(LAST)
        began = time.monotonic()
        assert slow.get("/v2/health/live").json() == {"live": True}
        assert time.monotonic() - began < 0.9
        slow.process.terminate()
        for each in asked:
            answer = b"".join(iter(lambda each=each: each.recv(65536), b""))
            assert json.loads(answer.rpartition(b"\r\n")[2]) == {"predictions": [5.1]}
    assert slow.process.wait(30) == 0


def test_requests_beyond_the_limit_are_told_when_to_come_back(launcher: Any, slow_model: str) -> None:
    full = launcher.serve_at(slow_model, PYTHONPATH=str(launcher.root), ZEROFLOW_MAX_WAITING="2")
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = [each.result() for each in [pool.submit(exchange, full.port, LAST) for _ in range(12)]]
    busy = [answer for answer in answers if answer.startswith(b"HTTP/1.1 503 ")]
    served = [answer for answer in answers if answer.startswith(b"HTTP/1.1 200 ")]
    assert len(busy) + len(served) == 12
    assert 4 <= len(served) <= 7
    for answer in busy:
        assert b"\r\nRetry-After: 1\r\n" in answer
        assert json.loads(answer.rpartition(b"\r\n")[2])["error"].startswith("too many requests are waiting")
    assert exchange(full.port, LAST).startswith(b"HTTP/1.1 200 ")


def test_metrics_have_kserves_names(iris: Any) -> None:
    pytest.importorskip("prometheus_client")
    iris.predict(BODY)
    text = iris.get("/metrics").body.decode()
    for phase in ("preprocess", "predict", "postprocess", "explain"):
        assert f'request_{phase}_seconds_count{{model_name="iris"}}' in text
    assert 'request_predict_seconds_count{model_name="iris"} 0.0' not in text


def test_metadata_say_what_serves(launcher: Any, iris: Any, iris_model: Any) -> None:
    assert iris.get("/v2/models/iris").json()["properties"]["serves"].startswith("compiled, exact")
    off = launcher.serve(iris_model, "off/model.joblib", ZEROFLOW_COMPILE="false")
    assert off.get("/v2/models/iris").json()["properties"]["serves"] == "original"
    assert off.predict(BODY).json() == iris.predict(BODY).json()
