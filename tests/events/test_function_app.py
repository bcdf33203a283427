"""A function handles each event once, says what follows in the same transaction, and answers a repeat the same."""

import threading

import pytest
from sqlalchemy import func, select

from zeroflow.errors import InvalidInput, NotFound, Unavailable
from zeroflow.events import Delivery, FunctionApp, Outbox
from zeroflow.events.publisher import SinkPublisher
from zeroflow.metadata import Database
from zeroflow.metadata.events import EventRecord, HandledEvent

ASKED = "dev.example.asked"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def event(event_id: str = "1", **headers: str) -> dict[str, str]:
    return {
        "ce-specversion": "1.0",
        "ce-id": event_id,
        "ce-source": "/test",
        "ce-type": ASKED,
        "content-type": "application/json",
        **headers,
    }


@pytest.fixture
def app(database: Database, broker) -> FunctionApp:
    return FunctionApp("probe", Outbox(database, SinkPublisher(broker.url, "s3cret"), "/probe"))


def answering(app: FunctionApp, follow_ups: int = 1) -> list[str]:
    """Register a handler that emits `follow_ups` events; return the list in which it notes its work."""
    worked: list[str] = []

    @app.on(ASKED)
    def handle(delivery: Delivery) -> None:
        worked.append(delivery.id)
        with delivery.transaction() as tx:
            for number in range(follow_ups):
                tx.emit("dev.example.answered", subject=str(number), data={"n": number})

    return worked


def test_a_reply_is_one_event_and_the_others_are_published(app, broker):
    answering(app, follow_ups=3)
    answer = app.flask.test_client().post("/", headers=event(prefer="reply"), data=b"{}")
    assert answer.status_code == 200
    assert answer.headers["ce-type"] == "dev.example.answered"
    assert answer.headers["ce-subject"] == "0"
    assert answer.get_json() == {"n": 0}
    assert [received["ce-subject"] for received in broker.received] == ["1", "2"]
    assert {received["authorization"] for received in broker.received} == {"Bearer s3cret"}


def test_a_chain_of_replies_is_broken_before_the_broker_ends_it(app, broker):
    """A broker ends what goes on for 255 replies; whoever answers hands on how many there were."""
    answering(app)
    in_a_row, longest, cause = 0, 0, event("event-0", prefer="reply")
    for number in range(1, 400):
        answer = app.flask.test_client().post("/", headers=cause, data=b"{}")
        again = app.flask.test_client().post("/", headers=cause, data=b"{}")  # and the choice is kept
        assert (again.status_code, again.headers.get("ce-id")) == (answer.status_code, answer.headers.get("ce-id"))
        in_a_row = in_a_row + 1 if answer.status_code == 200 else 0
        longest = max(longest, in_a_row)
        told = answer.headers if answer.status_code == 200 else broker.received[-1]
        counted = {name: value for name, value in told.items() if name == "ce-zeroflowreplies"}
        cause = event(f"event-{number}", prefer="reply") | counted
    assert longest == 100
    assert len(broker.received) == 3


def test_without_prefer_reply_everything_is_published(app, broker):
    answering(app)
    answer = app.flask.test_client().post("/", headers=event(), data=b"{}")
    assert answer.status_code == 204
    assert [received["ce-subject"] for received in broker.received] == ["0"]


def test_a_repeated_delivery_gets_the_same_answer_without_doing_the_work_again(app, broker):
    worked = answering(app, follow_ups=2)
    client = app.flask.test_client()
    first = client.post("/", headers=event(prefer="reply"), data=b"{}")
    again = client.post("/", headers=event(prefer="reply"), data=b"{}")
    assert worked == ["1"]
    assert (again.headers["ce-id"], again.data) == (first.headers["ce-id"], first.data)
    assert len(broker.received) == 1


def test_concurrent_deliveries_of_one_event_commit_once(app, database):
    meet = threading.Barrier(2)

    @app.on(ASKED)
    def handle(delivery: Delivery) -> None:
        meet.wait(timeout=10)
        with delivery.transaction() as tx:
            tx.emit("dev.example.answered", data={})

    answers: list[tuple[int, str | None]] = []

    def deliver() -> None:
        answer = app.flask.test_client().post("/", headers=event(prefer="reply"), data=b"{}")
        answers.append((answer.status_code, answer.headers.get("ce-id")))

    threads = [threading.Thread(target=deliver) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [status for status, _ in answers] == [200, 200]
    assert len({reply for _, reply in answers}) == 1
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(EventRecord)) == 1


def test_a_handler_that_fails_leaves_nothing_and_is_tried_again(app, database, broker):
    attempts = []

    @app.on(ASKED)
    def handle(delivery: Delivery) -> None:
        attempts.append(delivery.id)
        with delivery.transaction() as tx:
            tx.emit("dev.example.answered", data={})
            if len(attempts) == 1:
                raise Unavailable("not now")

    client = app.flask.test_client()
    assert client.post("/", headers=event(), data=b"{}").status_code == 503
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(EventRecord)) == 0
        assert session.scalar(select(func.count()).select_from(HandledEvent)) == 0
    assert broker.received == []
    assert client.post("/", headers=event(), data=b"{}").status_code == 204
    assert len(broker.received) == 1


def test_a_broker_that_is_down_makes_the_delivery_repeat_until_what_follows_is_published(app, broker):
    worked = answering(app)
    broker.status = 500
    client = app.flask.test_client()
    assert client.post("/", headers=event(), data=b"{}").status_code == 503
    broker.status = 202
    assert client.post("/", headers=event(), data=b"{}").status_code == 204
    assert worked == ["1"]
    assert len(broker.received) == 1


def test_the_sweep_publishes_what_a_crash_left(app, broker):
    broker.status = 500
    with app.outbox.transaction() as tx:
        tx.emit("dev.example.left", event_id="left-1", data={})
    assert broker.received == []
    broker.status = 202
    answer = app.flask.test_client().post("/outbox/sweep?older_than_ms=0")
    assert answer.status_code == 204
    assert [received["ce-id"] for received in broker.received] == ["left-1"]
    app.flask.test_client().post("/outbox/sweep?older_than_ms=0")
    assert len(broker.received) == 1


def test_emitting_one_id_twice_is_one_event(app, broker):
    for _ in range(2):
        with app.outbox.transaction() as tx:
            tx.emit("dev.example.once", event_id="same", data={})
    assert len(broker.received) == 1


def test_the_trace_goes_on_in_what_follows(app):
    answering(app)
    answer = app.flask.test_client().post("/", headers=event(prefer="reply", **{"ce-traceparent": TRACE}), data=b"{}")
    version, trace, span, flags = answer.headers["ce-traceparent"].split("-")
    assert (version, trace, flags) == ("00", "0af7651916cd43dd8448eb211c80319c", "01")
    assert span != "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("error", "status"),
    [(InvalidInput("x"), 400), (NotFound("x"), 400), (Unavailable("x"), 503), (ValueError("secret detail"), 500)],
    ids=str,
)
def test_a_broker_learns_whether_trying_again_makes_sense(app, error, status):
    @app.on(ASKED)
    def handle(delivery: Delivery) -> None:
        raise error

    answer = app.flask.test_client().post("/", headers=event(), data=b"{}")
    assert answer.status_code == status
    assert "secret detail" not in answer.text


@pytest.mark.parametrize(
    ("headers", "body", "said"),
    [
        ({}, b"", "expected a CloudEvent"),
        ({"ce-specversion": "1.0", "ce-type": ASKED, "ce-source": "/x"}, b"", "id"),
        ({"content-type": "application/cloudevents+json"}, b'{"specversion": "1.0", "id', "malformed"),
        ({**event(), "ce-type": "dev.example.unknown"}, b"{}", "does not handle dev.example.unknown"),
    ],
    ids=["nothing", "no id", "cut in half", "unknown type"],
)
def test_what_is_no_event_for_this_function_is_refused_with_a_reason(app, headers, body, said):
    answering(app)
    answer = app.flask.test_client().post("/", headers=headers, data=body)
    assert answer.status_code == 400
    assert said in answer.text


def test_structured_mode_is_read_too(app):
    worked = answering(app)
    body = '{"specversion":"1.0","id":"7","source":"/s","type":"dev.example.asked","data":{"a":1}}'
    answer = app.flask.test_client().post("/", headers={"content-type": "application/cloudevents+json"}, data=body)
    assert answer.status_code == 204
    assert worked == ["7"]


@pytest.mark.parametrize("path", ["/health/liveness", "/health/readiness"])
def test_health(app, path):
    answer = app.flask.test_client().get(path)
    assert (answer.status_code, answer.text) == (200, "OK")


def test_a_body_beyond_the_limit_is_refused(app):
    answering(app)
    app.flask.config["MAX_CONTENT_LENGTH"] = 10
    answer = app.flask.test_client().post("/", headers=event(), data=b'{"text": "long"}')
    assert answer.status_code == 413
    assert answer.get_data(as_text=True) == "the body is larger than the 10 bytes that this function takes\n"
