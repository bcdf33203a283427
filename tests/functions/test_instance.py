"""A function project answers the same under the adapter as under func-python, its official middleware."""

import json
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
import urllib3

Serve = Callable[..., Any]

COMPARED = ("content-type", "x-tag", "x-kind")
BINARY = {"ce-specversion": "1.0", "ce-id": "7", "ce-source": "/tests", "ce-subject": "s", "Content-Type": "text/plain"}
STRUCTURED = {"Content-Type": "application/cloudevents+json"}
DOCUMENT = b'{"specversion":"1.0","id":"7","source":"/tests","type":"%s","subject":"s","data":{"a":1}}'


def event(kind: str, body: bytes = b"Ann", **headers: str) -> tuple[str, str, str, bytes, dict[str, str]]:
    return "greeter", "POST", "/any/path", body, {**BINARY, "ce-type": kind, **headers}


REQUESTS: dict[str, tuple[str, str, str, bytes | None, dict[str, str]]] = {
    "get": ("echo", "GET", "/a%20b/%C3%BC?q=1&r=%2F", None, {"X-One": "1", "X-Two": "a, b"}),
    "root": ("echo", "GET", "/", None, {}),
    "post": ("echo", "POST", "/in", b"some bytes \x00\xff", {"Content-Type": "application/octet-stream"}),
    "large body": ("echo", "PUT", "/in", b"0123456789" * 150_000, {}),
    "other method": ("echo", "PROPFIND", "/dav", b"<a/>", {"Content-Type": "text/xml"}),
    "head": ("echo", "HEAD", "/", None, {}),
    "health by post": ("echo", "POST", "/health/liveness", b"x", {}),
    "below a health path": ("echo", "GET", "/health/liveness/", None, {}),
    "alive with a message": ("echo", "GET", "/health/liveness", None, {}),
    "ready": ("echo", "GET", "/health/readiness", None, {}),
    "no answer": ("echo", "GET", "/silent", None, {}),
    "empty answer": ("echo", "GET", "/open", None, {}),
    "static": ("plain", "GET", "/x", None, {}),
    "static, alive": ("plain", "GET", "/health/liveness", None, {}),
    "static, ready": ("plain", "GET", "/health/readiness", None, {}),
    "not alive": ("unwell", "GET", "/health/liveness", None, {}),
    "not ready": ("unwell", "GET", "/health/readiness", None, {}),
    "event": event("plain"),
    "event, binary json": event("plain", b'{"a": [1, "x"]}', **{"Content-Type": "application/json"}),
    "event, without data": event("plain", b""),
    "event, without id": (
        "greeter",
        "POST",
        "/",
        b"",
        {"ce-specversion": "1.0", "ce-source": "/a", "ce-type": "plain"},
    ),
    "event, structured": ("greeter", "POST", "/", DOCUMENT % b"plain", STRUCTURED),
    "event by put": ("greeter", "PUT", "/", DOCUMENT % b"plain", STRUCTURED),
    "reply with a status": event("accepted"),
    "structured reply": event("structured"),
    "binary reply": event("binary"),
    "plain http reply": event("http"),
    "no reply": event("quiet"),
    "failed event": event("key-error"),
    "no event": ("greeter", "POST", "/", b'{"a":1}', {"Content-Type": "application/json"}),
    "no event by get": ("greeter", "GET", "/", None, {}),
    "event without a type": ("greeter", "POST", "/", b"", {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/a"}),
    "event that is no json": ("greeter", "POST", "/", b"{", STRUCTURED),
    "events, alive": ("greeter", "GET", "/health/liveness", None, {}),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_a_request_is_answered_as_by_func_python(case: str, ours: Serve, official: Serve) -> None:
    sample, *request = REQUESTS[case]
    expected = _answer(official(sample).request(*request))
    assert _answer(ours(sample).request(*request)) == expected


def _answer(response: urllib3.BaseHTTPResponse) -> dict[str, Any]:
    headers = {name: value for name, value in response.headers.iteritems() if name.lower().startswith(("ce-", "x-"))}
    body: Any = response.data
    if "json" in response.headers.get("content-type", "") and body:
        body = json.loads(body)
        if body.get("type") == "dev.functions.error":
            del body["id"], body["time"]
    named = {name: response.headers.get(name) for name in COMPARED}
    return {"status": response.status, "body": body, "headers": headers | named}


def test_a_failed_http_function_is_answered_with_its_error(ours: Serve) -> None:
    answer = ours("echo").request("GET", "/fail")
    assert (answer.status, answer.headers["content-type"], answer.data) == (500, "text/plain", b"Error: boom")


def test_a_value_error_of_an_event_function_is_reported_as_its_own(ours: Serve) -> None:
    sample, *request = event("value-error")
    answer = ours(sample).request(*request)
    assert answer.status == 500
    assert answer.headers["content-type"] == "application/cloudevents+json"
    document = json.loads(answer.data)
    assert (document["type"], document["source"]) == ("dev.functions.error", "/cloudevent/error")
    assert document["data"] == {"message": "Error: no such name"}


def test_a_structured_event_that_is_no_object_is_refused_for_good(ours: Serve) -> None:
    answer = ours("greeter").request("POST", "/", b"[]", STRUCTURED)
    assert (answer.status, answer.data) == (400, b"Bad Request: This endpoint expects CloudEvent requests. ")


def test_an_answer_streams_while_another_request_is_handled_on_the_same_loop(ours: Serve) -> None:
    served = ours("echo")
    answer = served.open("/stream")
    assert answer.read(6) == b"first "  # the function now waits for the other request
    assert served.request("GET", "/open").status == 204
    assert answer.read() == b"second"


@pytest.mark.parametrize("line", ["HEAD / HTTP/1.1", "GET /open HTTP/1.1"], ids=["head", "no content"])
def test_an_answer_without_a_body_ends_after_its_head(line: str, ours: Serve) -> None:
    place = urlsplit(ours("echo").url)
    with socket.create_connection((place.hostname, place.port), timeout=10) as client:
        client.sendall(f"{line}\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("server", ["ours", "official"])
def test_an_answer_that_fails_half_way_is_cut_off(server: str, request: pytest.FixtureRequest) -> None:
    with pytest.raises(urllib3.exceptions.ProtocolError):
        request.getfixturevalue(server)("echo").request("GET", "/cut")


def test_an_event_that_breaks_off_is_not_handled(ours: Serve) -> None:
    served = ours("greeter")
    place = urlsplit(served.url)
    with socket.create_connection((place.hostname, place.port), timeout=10) as client:
        client.sendall(
            b"POST / HTTP/1.1\r\nHost: x\r\nce-specversion: 1.0\r\nce-id: 1\r\nce-source: /a\r\nce-type: key-error\r\n"
            b"Content-Type: text/plain\r\nContent-Length: 10\r\n\r\nhalf"
        )
        client.shutdown(socket.SHUT_WR)
        answer = client.recv(65536)
    assert b"dev.functions.error" not in answer  # what the handler would have raised


@pytest.mark.parametrize("server", ["ours", "official"])
def test_a_function_is_stopped_on_sigterm(server: str, request: pytest.FixtureRequest) -> None:
    served = request.getfixturevalue(server)("echo")
    assert not served.stopped.exists()
    assert served.terminate() == 0
    assert served.stopped.read_text() == "stopped"


@pytest.mark.parametrize(
    ("sample", "app", "said"),
    [
        pytest.param("broken", "create_app()", "no model at MODEL_URI", id="start raises"),
        pytest.param("plain", "create_app('function.nothing')", "No module named", id="no module"),
        pytest.param("plain", "create_app('json')", "module 'json' must export new() or handle", id="no function"),
        pytest.param(
            "plain", "create_app(invoke='grpc')", "must be http or cloudevent, got 'grpc'", id="no invocation"
        ),
    ],
)
def test_a_function_that_cannot_start_ends_its_server(sample: str, app: str, said: str, gunicorn: Serve) -> None:
    served = gunicorn(sample, app)
    assert served.process.wait(timeout=20) != 0
    assert said in served.log.read_text()
