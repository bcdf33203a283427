"""What a predictor tells others: how it answers, what it was asked, and what was true."""

import base64
import concurrent.futures
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest

from predictor.receiver import Event, Receiver
from zeroflow.predictions import tokens
from zeroflow.predictions.feedback import FEEDBACK, Feedback
from zeroflow.predictions.latency import Latency
from zeroflow.predictions.observation import OBSERVED, Observation
from zeroflow.predictions.recorded import RECORDED, Recorded
from zeroflow.predictions.refusal import REFUSED

BODY = {"instances": [[5.1, 3.5, 1.4, 0.2]]}
TOKEN = tokens.issue("platform", "team", "iris")
WHOSE = {"inferenceservice": "iris", "namespace": "team"}


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def told(receiver: Receiver) -> Iterator[Receiver]:
    receiver.events.clear()
    yield receiver
    receiver.status = 202
    receiver.open.set()


@pytest.fixture(scope="module")
def logged(launcher: Any, iris_model: Any, receiver: Receiver) -> Any:
    return launcher.serve(
        iris_model,
        "logged/model.joblib",
        ZEROFLOW_LOGGER=json.dumps(
            {
                **WHOSE,
                "url": receiver.url,
                "mode": "all",
                "metadataHeaders": ["X-Tenant", "x-absent"],
                "metadataAnnotations": {"team": "blue"},
            }
        ),
    )


def observed(url: str) -> dict[str, str]:
    return {
        "ZEROFLOW_OBSERVED": json.dumps({**WHOSE, "sink": url, "token": TOKEN}),
        "HOSTNAME": "iris-pod-1",
    }


def observations(events: list[Event]) -> list[Observation]:
    return [Observation.from_data(event.data) for event in events if event.type == OBSERVED]


def test_every_request_is_counted_once_also_those_before_the_end(
    launcher: Any, iris_model: Any, told: Receiver
) -> None:
    predictor = launcher.serve(iris_model, "seen/model.joblib", **observed(told.url))
    for _ in range(5):
        assert predictor.predict(BODY).status == 200
    assert predictor.predict({"instances": [[1]]}).status == 400
    assert predictor.predict(BODY, {"zeroflow-caller": "ada"}).status == 200
    told.wait_for(lambda events: sum(seen.requests for seen in observations(events)) == 7)
    for _ in range(3):
        assert predictor.infer({"inputs": []}).status == 400
    gone = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t"}
    assert predictor.predict(BODY, gone).status == 200  # an event goes the long way
    predictor.process.terminate()
    assert predictor.process.wait(30) == 0
    seen = observations(told.events)
    assert sum(each.requests for each in seen) == 11
    assert sum(each.errors.get("client", 0) for each in seen) == 4
    assert sum(each.callers.get("ada", 0) for each in seen) == 1
    assert Latency.merged(each.latency for each in seen).total == 11
    assert {(e.inferenceservice, e.namespace, e.revision, e.model) for e in seen} == {
        ("iris", "team", "iris-predictor-00001", "iris")
    }
    assert len({event.headers["ce-id"] for event in told.events}) == len(told.events)
    for event, each in zip(told.events, seen, strict=True):
        assert (event.headers["ce-id"], event.headers["ce-source"]) == (each.event_id, each.source)
        given = event.headers["authorization"].removeprefix("Bearer ")
        assert tokens.allows("platform", given, event.type, event.headers["ce-source"])


def test_observations_wait_for_a_broker_that_does_not_answer(launcher: Any, iris_model: Any, told: Receiver) -> None:
    told.status = 503
    predictor = launcher.serve(iris_model, "patient/model.joblib", **observed(told.url))
    refused = told.wait_for
    assert predictor.predict(BODY).status == 200
    told.status = 202
    assert refused(lambda events: sum(seen.requests for seen in observations(events)) == 1)


def test_payload_events_are_kserves(logged: Any, told: Receiver) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = logged.predict(
        BODY, {"X-Request-Id": "r-1", "X-Tenant": "ünï", "traceparent": trace, "Content-Type": "application/json"}
    )
    request, response = told.wait_for(lambda events: len(events) == 2 and events)
    assert request.type == "org.kubeflow.serving.inference.request"
    assert response.type == "org.kubeflow.serving.inference.response"
    assert request.data == BODY
    assert response.body == answer.body
    for event in (request, response):
        headers = event.headers
        assert headers["ce-id"] == "r-1" == answer.headers["x-request-id"]
        assert headers["ce-specversion"] == "1.0"
        assert headers["content-type"] == "application/json"
        named = ("inferenceservicename", "namespace", "component", "endpoint")
        assert [headers[f"ce-{name}"] for name in named] == ["iris", "team", "predictor", "default"]
        assert unquote(headers["ce-metadata"]).startswith('{"x-tenant":["')
        assert unquote(headers["ce-annotations"]) == '{"team":"blue"}'
        assert headers["ce-traceparent"] == trace
        assert headers["ce-time"] <= headers["ce-recordedtime"]


def test_only_answers_are_logged_as_responses(logged: Any, told: Receiver) -> None:
    logged.predict({"instances": []}, {"ce-id": "bad"})
    logged.predict(BODY, {"x-request-id": "good"})
    told.wait_for(lambda events: len(events) == 3)
    assert [(event.headers["ce-id"], event.type.rpartition(".")[2]) for event in told.events] == [
        ("bad", "request"),
        ("good", "request"),
        ("good", "response"),
    ]


def test_binary_requests_are_logged_as_they_came(logged: Any, told: Receiver) -> None:
    head = b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP64","parameters":{"binary_data_size":32}}]}'
    body = head + base64.b64decode("ZmZmZmZmFEAAAAAAAAAMQGZmZmZmZvY/mpmZmZmZyT8=")
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    assert logged.infer(body, headers).status == 200
    request, _ = told.wait_for(lambda events: len(events) == 2 and events)
    assert request.body == body
    assert request.headers["content-type"] == "application/octet-stream"


def test_receiver_that_hangs_slows_nothing_and_drops_are_counted(logged: Any, told: Receiver) -> None:
    told.open.clear()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lambda: [logged.predict(BODY).status for _ in range(1500)])
        assert set(asked.result(15)) == {200}
    text = logged.get("/metrics").body.decode()
    dropped = float(text.rpartition('payload_events{result="dropped"} ')[2].split()[0])
    assert dropped >= 1500 * 2 - 1000 - 10


def test_feedback_is_an_event_once_the_broker_has_it(launcher: Any, iris_model: Any, told: Receiver) -> None:
    predictor = launcher.serve(iris_model, "fed/model.joblib", **observed(told.url))
    answer = predictor.send("POST", "/v1/feedback", {"request_id": "r-1", "labels": [2]})
    assert answer.status == 202
    (event,) = [event for event in told.events if event.type == FEEDBACK]
    assert Feedback.from_data(event.data) == Feedback("r-1", (2,), "iris", "team")
    assert event.headers["ce-id"] == answer.json()["id"]
    assert event.headers["ce-subject"] == "r-1"
    assert tokens.allows("platform", TOKEN, event.type, event.headers["ce-source"])
    refused = predictor.send("POST", "/v1/feedback", {"request_id": "r-1", "labels": []})
    assert (refused.status, "labels must be a list" in refused.error) == (400, True)
    told.status = 500
    later = predictor.send("POST", "/v1/feedback", {"request_id": "r-1", "labels": [2]})
    assert (later.status, later.headers["retry-after"]) == (503, "1")


def test_what_was_predicted_is_told_by_request_where_labels_decide(
    launcher: Any, iris_model: Any, told: Receiver
) -> None:
    asked = {**WHOSE, "sink": told.url, "token": TOKEN, "predictions": True}
    predictor = launcher.serve(iris_model, "recorded/model.joblib", ZEROFLOW_OBSERVED=json.dumps(asked))
    rows = [[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]]
    tensor = {"name": "x", "shape": [2, 4], "datatype": "FP64", "data": rows}
    assert predictor.predict({"instances": rows}, {"x-request-id": "one"}).status == 200
    assert predictor.infer({"inputs": [tensor]}, {"x-request-id": "two"}).status == 200
    assert predictor.predict({"instances": [[1]]}, {"x-request-id": "bad"}).status == 400
    nameless = predictor.predict({"instances": rows[:1]}).headers["x-request-id"]

    def recorded(events: list[Event]) -> dict[str, Any]:
        seen = [Recorded.from_data(event.data) for event in events if event.type == RECORDED]
        return {request_id: rows for each in seen for request_id, rows in each.predictions}

    told.wait_for(lambda events: len(recorded(events)) == 3)
    assert recorded(told.events) == {"one": (0, 2), "two": (0, 2), nameless: (0,)}
    event = next(event for event in told.events if event.type == RECORDED)
    assert (event.headers["ce-subject"], event.data["revision"]) == ("team/iris", "iris-predictor-00001")
    given = event.headers["authorization"].removeprefix("Bearer ")
    assert tokens.allows("platform", given, event.type, event.headers["ce-source"])
    assert not tokens.allows("platform", given, event.type, "/zeroflow/predictors/team/other/p")


def test_model_refused_for_safety_is_an_event(launcher: Any, iris_model: Any, told: Receiver) -> None:
    uri = launcher.write(iris_model, "refused/model.joblib")
    predictor = launcher.start(uri, ZEROFLOW_MODEL_VOUCHED_BY="", **observed(told.url))
    assert predictor.process.wait(60) != 0
    (event,) = [event for event in told.events if event.type == REFUSED]
    assert (event.data["reason"], event.data["uri"]) == ("PickleNotVouched", uri)
    assert event.headers["ce-subject"] == "team/iris"
    assert tokens.allows("platform", TOKEN, event.type, event.headers["ce-source"])
