"""The worker under clients that mean harm, and under models that end what they run in."""

import asyncio
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection

from zeroflow.functions.predictor.http import connection as connection_module
from zeroflow.functions.predictor.http import streams

BODY = b'{"instances": [[5.1, 3.5, 1.4, 0.2]]}'
PING = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00zeroflow"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SETTINGS


SLEEPING = """
import time

class Sleeping:
    def predict(self, payload):
        time.sleep(payload["s"])
        return 1
"""


def head_of(path: str) -> list[tuple[str, str]]:
    return [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x")]


def python_class(root: Path, key: str, source: str) -> str:
    """Store a model that is a class; return its location."""
    folder = root / "store" / "models" / key
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(source)
    return f"store://models/{key}"


def send_for(seconds: float, client: socket.socket, data: bytes) -> None:
    """Send over and over, reading nothing."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        client.sendall(data)


def ask(port: int, data: bytes) -> bytes:
    """Return the first bytes of the answer, b"" when the server closes without one."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(data)
        return client.recv(65536)


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_call_without_a_length_is_answered(iris: Any, method: str) -> None:
    request = f"{method} /inference.GRPCInferenceService/ModelInfer HTTP/1.1\r\nHost: x\r\n\r\n"
    assert ask(iris.port, request.encode()).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(
    ("request_bytes", "fault"),
    [
        (b"FOO / HTTP/1.1\r\n\r\n", b"Invalid method"),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"Content-Length"),
        (b"GET / HTTP/1.1\r\nX: a\0b\r\n\r\n", b"header value"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"chunk size"),
    ],
    ids=["method", "length", "header", "chunk"],
)
def test_what_is_no_request_is_told_why(iris: Any, request_bytes: bytes, fault: bytes) -> None:
    answer = ask(iris.port, request_bytes)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b'{"error":"this is no HTTP request: ' in answer
    assert fault in answer


def test_requests_given_up_before_there_was_a_thread_take_no_place(launcher: Any) -> None:
    slow = launcher.serve_at(python_class(launcher.root, "given-up", SLEEPING), ZEROFLOW_MAX_WAITING="20")
    for _ in range(2):
        connection = H2Connection(H2Configuration(client_side=True))
        connection.initiate_connection()
        for _ in range(30):
            stream = connection.get_next_available_stream_id()
            connection.send_headers(stream, head_of("/v1/models/iris:predict"))
            connection.send_data(stream, b'{"s": 1.0}', end_stream=True)
        with socket.create_connection(("127.0.0.1", slow.port), timeout=10) as client:
            client.sendall(connection.data_to_send())
            client.recv(1)
            deadline = time.monotonic() + 10
            while slow.get("/v2/models/iris").status != 503:  # all places are taken
                assert time.monotonic() < deadline
    deadline = time.monotonic() + 10
    while slow.predict({"s": 0}).status != 200:
        assert time.monotonic() < deadline, "who went away is waited for"


def longest_wait_s(iris: Any) -> float:
    """Return how long health takes at most, of twenty times."""
    longest = 0.0
    for _ in range(20):
        began = time.monotonic()
        assert iris.get("/v2/health/live").status == 200
        longest = max(longest, time.monotonic() - began)
    return longest


def test_a_flood_of_settings_on_one_connection_holds_up_no_other(iris: Any) -> None:
    with socket.create_connection(("127.0.0.1", iris.port), timeout=30) as client:
        client.sendall(PREFACE + SETTINGS * 20_000)
        assert longest_wait_s(iris) < 0.4


def test_resets_as_fast_as_requests_hold_up_no_other(iris: Any) -> None:
    connection = H2Connection(H2Configuration(client_side=True))
    connection.initiate_connection()
    for _ in range(8_000):
        stream = connection.get_next_available_stream_id()
        connection.send_headers(stream, head_of("/v1/models/iris:predict"))
        connection.reset_stream(stream)
    with socket.create_connection(("127.0.0.1", iris.port), timeout=30) as client:
        client.sendall(connection.data_to_send())
        assert longest_wait_s(iris) < 0.4
    assert iris.predict(BODY).status == 200


def test_who_reads_no_answer_is_dropped(iris: Any) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(30)
        client.connect(("127.0.0.1", iris.port))
        client.sendall(PREFACE)
        with pytest.raises(ConnectionError):
            send_for(60, client, PING * 1_000)


ENDING = """
import asyncio, sys

class Ending:
    def predict(self, payload):
        if payload["end"] == "exit":
            sys.exit(3)
        if payload["end"] == "cancel":
            raise asyncio.CancelledError
        if payload["end"] == "words":
            raise ValueError("\\ud800")
        return {"predictions": [1]}
"""
ENDING_ASYNC = ENDING.replace("def predict", "async def predict")


@pytest.mark.parametrize("source", [ENDING, ENDING_ASYNC], ids=["thread", "loop"])
def test_a_model_that_ends_its_thread_ends_nothing(launcher: Any, source: str, request: pytest.FixtureRequest) -> None:
    ending = launcher.serve_at(python_class(launcher.root, request.node.callspec.id, source))
    for _ in range(3):
        for how in ("exit", "cancel"):  # more often than there are threads
            answer = ending.predict({"end": how})
            assert answer.status == 500
            assert answer.error.startswith("the model failed: ")
    assert ending.predict({"end": "words"}).status == 400
    assert ending.predict({"end": ""}).json() == {"predictions": [1]}


def test_a_model_that_exits_while_it_is_loaded_is_told(launcher: Any) -> None:
    source = "import sys\nsys.exit()\n\nclass Gone:\n    def predict(self, payload): ...\n"
    gone = launcher.start(python_class(launcher.root, "gone", source))
    assert gone.process.wait(60) == 3
    assert "ModelLoadFailed: model.py cannot be loaded: SystemExit" in gone.log.read_text()


class Wire:
    """A transport that keeps what is written, and a worker that has no connection but this one."""

    def __init__(self) -> None:
        self.written, self.closed = b"", False
        self.connections: set[Any] = set()
        self.max_body_bytes = 1 << 20
        self.loop = self

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def get_extra_info(self, name: str) -> None: ...

    def can_write_eof(self) -> bool:
        return False


HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "silent_s", "open_s", "answer"),
    [
        (HEAD + b"1", 61, 61, b"408"),
        (HEAD + b"1", 1, 61, b"408"),
        (HEAD + b"1", 1, 30, b""),
        (HEAD + b"1" * 900_000, 1, 80, b""),
        (HEAD + b"1" * 900_000, 1, 90, b"408"),
    ],
    ids=["silent", "drip", "early", "slow", "too-slow"],
)
def test_a_request_that_comes_byte_by_byte_is_given_up(
    monkeypatch: pytest.MonkeyPatch, sent: bytes, silent_s: float, open_s: float, answer: bytes
) -> None:
    wire = Wire()
    clock = 1_000.0
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    connection = connection_module.Connection(wire)  # type: ignore[arg-type]
    connection.connection_made(wire)
    connection.data_received(sent)
    clock += open_s - silent_s
    connection.data_received(b"1")
    connection.close_if_stale(clock + silent_s, 5.0)
    assert wire.written[9:12] == answer
    assert wire.closed == bool(answer)


class Slow:
    """A stream of which a byte comes now and then."""

    got_all = False

    def __init__(self, every_s: float) -> None:
        self.every_s, self.given_up = every_s, False

    async def head(self) -> list[tuple[bytes, bytes]]:
        return [(b":method", b"POST"), (b":path", b"/")]

    async def read(self) -> bytes:
        await asyncio.sleep(self.every_s)
        return b"1"

    def reset(self) -> None:
        self.given_up = True


@pytest.mark.parametrize("every_s", [0.01, 60.0], ids=["drip", "silent"])
def test_a_stream_that_comes_byte_by_byte_is_given_up(monkeypatch: pytest.MonkeyPatch, every_s: float) -> None:
    monkeypatch.setattr(streams, "REQUEST_TIMEOUT_S", 0.1)
    slow = Slow(every_s)
    asyncio.run(asyncio.wait_for(streams.serve(Wire(), slow), 10.0))  # type: ignore[arg-type]
    assert slow.given_up
