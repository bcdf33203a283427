"""Protocol V1 over real HTTP: answers, and what a client's mistakes get. Expected classes are sklearn's own."""

import gzip
import json
import zlib
from typing import Any

import pytest
from sklearn.datasets import load_iris

SETOSA = [5.1, 3.5, 1.4, 0.2]  # the first row of the iris data
FAULTS: list[tuple[str, Any, str]] = [
    ("cut", b'{"instances": [[5.1, 3.5', "Unrecognized request format"),
    ("empty", b"", "the body is empty"),
    ("nan", b'{"instances": [[NaN, 1, 2, 3]]}', "Unrecognized request format"),
    ("infinite", b'{"instances": [[1e999, 1, 2, 3]]}', "infinity"),
    ("pickle", b"\x80\x04\x95\x00", "Unrecognized request format"),
    ("list", [SETOSA], "must be a JSON object"),
    ("no-instances", {"rows": [SETOSA]}, 'no "instances"'),
    ("not-a-list", {"instances": "x"}, 'Expected "instances" to be a list of rows, got a string'),
    ("no-rows", {"instances": []}, '"instances" is empty'),
    ("scalars", {"instances": [1, 2]}, "instances[0] is a number, expected a list of 4 values"),
    ("narrow", {"instances": [SETOSA, [1, 2, 3]]}, "instances[1] has 3 values, expected 4"),
    ("wide", {"instances": [[1, 2, 3, 4, 5]]}, "instances[0] has 5 values, expected 4"),
    ("string", {"instances": [[1, 2, "3", 4]]}, "instances[0][2] is a string, expected a number"),
    ("deep", {"instances": [[[1, 2, 3, 4]]]}, "instances[0] has 1 values, expected 4"),
    ("null", {"instances": [[1, 2, None, 4]]}, "instances[0][2] is null, and this model takes no missing values"),
    ("object", {"instances": [{"a": 1}]}, "this model has no column names"),
]


def test_predictions_are_the_models_own(iris: Any, iris_model: Any) -> None:
    rows, _ = load_iris(return_X_y=True)
    answer = iris.predict({"instances": rows.tolist()})
    assert answer.status == 200
    assert answer.json() == {"predictions": iris_model.predict(rows).tolist()}


def test_inputs_stand_for_instances(iris: Any) -> None:
    assert iris.predict({"inputs": [SETOSA]}).json() == {"predictions": [0]}


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "application/x-www-form-urlencoded", "text/plain", ""],
)
def test_any_content_type_will_do(iris: Any, content_type: str) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    assert iris.predict({"instances": [SETOSA]}, headers).json() == {"predictions": [0]}


@pytest.mark.parametrize(("body", "fault"), [(b, f) for _, b, f in FAULTS], ids=[name for name, _, _ in FAULTS])
def test_mistakes_are_400_and_the_connection_stays(iris: Any, body: Any, fault: str) -> None:
    answer = iris.predict(body)
    assert answer.status == 400
    assert fault in answer.error
    connected = iris.connection.sock
    assert iris.predict({"instances": [SETOSA]}).status == 200
    assert iris.connection.sock is connected


def test_unknown_model_and_path_are_404(iris: Any) -> None:
    assert iris.predict({"instances": [SETOSA]}, model="nope").status == 404
    assert "nope" in iris.get("/v1/models/nope").error
    assert iris.get("/v3").status == 404
    assert iris.send("DELETE", "/v1/models/iris").status == 405


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", lambda data: zlib.compress(data, wbits=-15))],
    ids=["gzip", "deflate", "raw-deflate"],
)
def test_compressed_bodies_are_read(iris: Any, encoding: str, pack: Any) -> None:
    body = json.dumps({"instances": [SETOSA]}).encode()
    assert iris.predict(pack(body), {"Content-Encoding": encoding}).json() == {"predictions": [0]}


@pytest.mark.parametrize(
    ("encoding", "body", "status", "fault"),
    [
        ("gzip", b"{}", 400, "the body is not gzip"),
        ("gzip", gzip.compress(b"{}")[:-9], 400, "ends too early"),
        ("gzip", gzip.compress(bytes(80 << 20), 1), 413, "the unpacked body is larger than"),
        ("br", b"x", 415, "content-encoding br is not supported; send gzip, deflate or plain bytes"),
    ],
    ids=["plain", "cut", "bomb", "brotli"],
)
def test_compressed_mistakes(iris: Any, encoding: str, body: bytes, status: int, fault: str) -> None:
    answer = iris.predict(body, {"Content-Encoding": encoding})
    assert answer.status == status
    assert fault in answer.error
    connected = iris.connection.sock
    assert iris.predict({"instances": [SETOSA]}).status == 200
    assert iris.connection.sock is connected


def test_too_large_a_body_is_413_without_being_read(iris: Any) -> None:
    iris.connection.putrequest("POST", "/v1/models/iris:predict")
    iris.connection.putheader("Content-Length", str(1 << 30))
    iris.connection.endheaders()
    response = iris.connection.getresponse()
    assert response.status == 413
    assert json.loads(response.read())["error"] == "the body is larger than 67108864 bytes"
    iris.connection.close()
    assert iris.predict({"instances": [SETOSA]}).status == 200


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_above_the_limit_is_413_however_it_is_sent(iris: Any, chunked: bool) -> None:
    pieces = (b"1" * (1 << 20) for _ in range(70))
    headers = {} if chunked else {"Content-Length": str(70 << 20)}
    iris.connection.request("POST", "/v1/models/iris:predict", pieces, headers, encode_chunked=chunked)
    response = iris.connection.getresponse()
    assert (response.status, json.loads(response.read())["error"]) == (413, "the body is larger than 67108864 bytes")
    iris.connection.close()


def test_liveness_listing_and_readiness(iris: Any) -> None:
    assert iris.get("/").json() == {"status": "alive"}
    assert iris.get("/v1/models").json() == {"models": ["iris"]}
    assert iris.get("/v1/models/iris").json() == {"name": "iris", "ready": True}
    assert iris.get("/health/readiness").status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_predictions_are_asked_for_by_post(iris: Any, method: str) -> None:
    answer = iris.send(method, "/v1/models/iris:predict")
    assert answer.status == 405
    assert "POST" in answer.headers["allow"]


def test_explain_is_501(iris: Any) -> None:
    answer = iris.send("POST", "/v1/models/iris:explain", {"instances": [SETOSA]})
    assert (answer.status, answer.error) == (501, "Could not find explainer_host.")


def test_every_answer_names_its_revision(iris: Any) -> None:
    for answer in (iris.predict({"instances": [SETOSA]}), iris.predict(b""), iris.get("/nope")):
        assert answer.headers["zeroflow-revision"] == "iris-predictor-00001"


def test_cloudevent_in_is_cloudevent_out_in_binary_mode(iris: Any) -> None:
    attributes = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/me", "ce-type": "rows"}
    answer = iris.predict({"instances": [SETOSA]}, {**attributes, "Content-Type": "application/json"})
    assert answer.json() == {"predictions": [0]}
    assert answer.headers["ce-type"] == "io.kserve.inference.response"
    assert answer.headers["ce-source"] == "io.kserve.inference.iris"
    assert answer.headers["ce-specversion"] == "1.0"
    assert answer.headers["ce-id"]
    assert answer.headers["ce-time"].endswith("Z")


def test_cloudevent_in_is_cloudevent_out_in_structured_mode(iris: Any) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "/me", "type": "rows", "data": {"instances": [SETOSA]}}
    answer = iris.predict(event, {"Content-Type": "application/cloudevents+json"})
    assert answer.headers["content-type"].startswith("application/cloudevents+json")
    document = answer.json()
    assert document["data"] == {"predictions": [0]}
    assert document["type"] == "io.kserve.inference.response"
    assert document["time"].endswith("Z")


def test_malformed_cloudevent_is_400(iris: Any) -> None:
    answer = iris.predict({"instances": [SETOSA]}, {"ce-specversion": "1.0", "Content-Type": "application/json"})
    assert answer.status == 400
    assert "malformed CloudEvent" in answer.error


def test_numbers_that_are_none_are_refused_in_events_too(iris: Any) -> None:
    """The CloudEvents SDK reads NaN and Infinity, which are no JSON."""
    event = b'{"specversion":"1.0","id":"1","source":"/me","type":"rows","data":{"instances":[[Infinity,1,2,3]]}}'
    answer = iris.predict(event, {"Content-Type": "application/cloudevents+json"})
    assert (answer.status, answer.error) == (400, "instances[0][0] is not finite")


DEEP = b'{"instances":' + b"[" * 3_000 + b"]" * 3_000 + b"}"


@pytest.mark.parametrize("body", [b"[" * 50_000, DEEP], ids=["open", "shut"])
@pytest.mark.parametrize("event", [False, True], ids=["plain", "event"])
def test_deep_nesting_is_refused(iris: Any, body: bytes, event: bool) -> None:
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t"} if event else {}
    assert iris.predict(body, headers).status == 400
