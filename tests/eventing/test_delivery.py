"""From POST to subscriber: what arrives, what is retried, what goes to the dead-letter sink, what a reply does."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import web

from eventing.rooms import Received, Room, binary, service_ref
from zeroflow.knative.local.eventing.delivery import DeliveryPolicy
from zeroflow.knative.local.eventing.settings import EventingSettings

Run = Callable[..., None]
FAST = {"retry": 3, "backoffPolicy": "exponential", "backoffDelay": "PT0.01S"}


def test_an_accepted_event_reaches_every_trigger_that_wants_it(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        await room.trigger("wanted", "one", filter={"attributes": {"type": "t"}})
        await room.trigger("all", "two")
        await room.trigger("other", "three", filter={"attributes": {"type": "u"}})
        await room.send("e1")
        await room.settled("e1", 2)
        assert {each.service for each in room.receiver.received} == {"one", "two"}

    run_room(scenario)


def test_a_subscriber_gets_the_event_knatives_headers_and_nothing_else_of_the_producers(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        await room.trigger("t", "one", uri="/path?a=1")
        producer = {"X-Request-Id": "r1", "Traceparent": "00-1-2-01", "X-B3-TraceId": "b3", "Knative-Foo": "k"}
        dropped = {"Authorization": "Bearer x", "X-Custom": "secret", "Cookie": "a=b"}
        sent = binary("e1", ext="v", knativebrokerttl="9") | producer | dropped
        await room.post(sent, b'{ "a" : 1 }')
        (got,) = await room.receiver.count("one", 1)
        assert got.path == "/path?a=1"
        assert got.body == b'{ "a" : 1 }'
        assert got.headers["prefer"] == "reply"
        assert got.headers["kn-namespace"] == "default"
        assert got.headers["ce-ext"] == "v"
        assert got.headers["ce-knativearrivaltime"]
        assert {got.headers[name] for name in ("x-request-id", "traceparent", "x-b3-traceid", "knative-foo")} == {
            "r1",
            "00-1-2-01",
            "b3",
            "k",
        }
        assert not {"ce-knativebrokerttl", "authorization", "x-custom", "cookie"} & set(got.headers)

    run_room(scenario)


@pytest.mark.parametrize(
    ("status", "attempts"),
    [
        (200, 1),
        (202, 1),
        (204, 1),
        (404, 4),
        (408, 4),
        (409, 4),
        (429, 4),
        (500, 4),
        (503, 4),
        (301, 1),
        (400, 1),
        (403, 1),
        (413, 1),
    ],
)
def test_an_answer_decides_how_often_a_delivery_is_tried(run_room: Run, status: int, attempts: int) -> None:
    async def scenario(room: Room) -> None:
        await room.broker(delivery=FAST)
        room.receiver.answers["one"] = lambda _: web.Response(status=status)
        await room.trigger("t", "one")
        await room.send("e1")
        (delivery,) = await room.settled("e1")
        assert delivery["state"] == ("done" if status < 300 else "failed")
        assert [each["status"] for each in delivery["attempts"]] == [status] * attempts

    run_room(scenario)


def test_an_unreachable_subscriber_is_tried_again(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker(delivery=FAST)
        await room.trigger("t", subscriber={"uri": "http://127.0.0.1:1/"})
        await room.send("e1")
        (delivery,) = await room.settled("e1")
        assert len(delivery["attempts"]) == 4
        assert all(each["status"] is None and each["error"] for each in delivery["attempts"])

    run_room(scenario)


def test_an_attempt_that_takes_too_long_counts_as_failed(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        async def slow_at_first(_: Received) -> web.Response:
            if len(room.receiver.received) == 1:
                await asyncio.sleep(5)
            return web.Response()

        await room.broker(delivery={**FAST, "timeout": "PT0.2S"})
        room.receiver.answers["one"] = slow_at_first
        await room.trigger("t", "one")
        await room.send("e1")
        (delivery,) = await room.settled("e1")
        assert [each["status"] for each in delivery["attempts"]] == [None, 200]
        assert "0.2 s" in delivery["attempts"][0]["error"]

    run_room(scenario)


@pytest.mark.parametrize(
    ("policy", "delays"),
    [
        pytest.param(DeliveryPolicy(4, False, 0.2), [0.0, 0.2, 0.4, 0.6], id="linear"),
        pytest.param(DeliveryPolicy(4, True, 0.2), [0.2, 0.4, 0.8, 1.6], id="exponential"),
    ],
)
def test_backoff_grows_as_the_policy_says(policy: DeliveryPolicy, delays: list[float]) -> None:
    assert [policy.delay_s(failed) for failed in (1, 2, 3, 4)] == pytest.approx(delays)


def test_retries_wait_for_their_backoff(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker(delivery={"retry": 3, "backoffPolicy": "exponential", "backoffDelay": "PT0.1S"})
        room.receiver.answers["one"] = lambda _: web.Response(status=500)
        await room.trigger("t", "one")
        await room.send("e1")
        got = await room.receiver.count("one", 4)
        gaps = [after.at - before.at for before, after in pairwise(got)]
        assert all(gap >= delay for gap, delay in zip(gaps, (0.1, 0.2, 0.4), strict=True)), gaps
        assert sum(gaps) < 3

    run_room(scenario)


def test_a_trigger_s_delivery_replaces_the_broker_s_as_a_whole(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.service("dead")
        await room.broker(delivery={**FAST, "deadLetterSink": {"ref": service_ref("dead")}})
        room.receiver.answers["one"] = lambda _: web.Response(status=500)
        await room.trigger("t", "one", delivery={"retry": 1})
        await room.send("e1")
        (delivery,) = await room.settled("e1")
        assert delivery["state"] == "failed"
        assert len(delivery["attempts"]) == 2
        assert not room.receiver.of("dead")
        status = (await room.ready("Trigger.eventing.knative.dev", "t"))["status"]
        assert status["deadLetterSinkUri"].endswith("/dead")

    run_room(scenario)


def test_a_dead_letter_sink_gets_the_event_with_the_error(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.service("dead")
        sink = {"ref": service_ref("dead"), "uri": "/letters"}
        await room.broker(delivery={"retry": 0, "deadLetterSink": sink})
        room.receiver.answers["one"] = lambda _: web.Response(status=418, body=b"x" * 2000)
        room.receiver.answers["dead"] = lambda _: web.Response(text="not an event, and that is fine")
        await room.trigger("t", "one")
        await room.send("e1", ext="kept")
        (delivery,) = await room.settled("e1")
        assert delivery["state"] == "dead-lettered"
        (got,) = room.receiver.of("dead")
        assert got.path == "/letters"
        assert got.body == b'{"n":1}'
        assert got.headers["ce-ext"] == "kept"
        assert got.headers["ce-knativeerrorcode"] == "418"
        assert got.headers["ce-knativeerrordest"] == delivery["attempts"][0]["to"]
        data = got.headers["ce-knativeerrordata"]
        assert len(data) == 1024
        assert base64.b64decode(data) == b"x" * 768

    run_room(scenario)


def test_a_dead_letter_sink_is_retried_and_its_failure_stays_visible(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.service("dead")
        await room.broker(
            delivery={"retry": 2, "backoffDelay": "PT0.01S", "deadLetterSink": {"ref": service_ref("dead")}}
        )
        room.receiver.answers["one"] = room.receiver.answers["dead"] = lambda _: web.Response(status=500)
        await room.trigger("t", "one")
        await room.send("e1")
        (delivery,) = await room.settled("e1")
        assert delivery["state"] == "failed"
        assert [each["stage"] for each in delivery["attempts"]] == ["subscriber"] * 3 + ["dead-letter-sink"] * 3

    run_room(scenario)


def test_a_body_that_is_not_an_event_is_retried_then_dead_lettered_as_502(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.service("dead")
        await room.broker(
            delivery={"retry": 1, "backoffDelay": "PT0.01S", "deadLetterSink": {"ref": service_ref("dead")}}
        )
        room.receiver.answers["one"] = lambda _: web.Response(text="hello")
        await room.trigger("t", "one")
        await room.send("e1")
        await room.settled("e1")
        assert len(room.receiver.of("one")) == 2
        assert room.receiver.of("dead")[0].headers["ce-knativeerrorcode"] == "502"

    run_room(scenario)


@pytest.mark.parametrize("structured", [False, True], ids=["binary", "structured"])
def test_a_reply_is_a_new_event_of_the_same_broker(run_room: Run, structured: bool) -> None:
    def reply(got: Received) -> web.Response:
        if structured:
            event = b'{"specversion":"1.0","id":"r1","type":"reply","source":"/one","data":{"a":[1]}}'
            return web.Response(body=event, headers={"Content-Type": "application/cloudevents+json"})
        return web.Response(status=202, body=b'{"a":[1]}', headers=binary("r1", "reply", "/one"))

    async def scenario(room: Room) -> None:
        await room.broker()
        room.receiver.answers["one"] = reply
        await room.trigger("ask", "one", filter={"attributes": {"type": "t"}})
        await room.trigger("hear", "two", filter={"attributes": {"type": "reply"}})
        await room.post(binary("e1") | {"traceparent": "00-aa-bb-01"})
        await room.settled("e1")
        (got,) = await room.receiver.count("two", 1)
        assert b'"a":[1]' in got.body
        assert got.headers["traceparent"] == "00-aa-bb-01"
        story = await room.story("r1")
        assert story["cause"]["id"] == "e1"
        assert story["cause"]["replied_by"] == "trigger/default/ask"

    run_room(scenario)


def test_a_loop_of_replies_ends_when_the_hops_are_used_up(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.service("dead")
        await room.broker(delivery={"retry": 0, "deadLetterSink": {"ref": service_ref("dead")}})
        # The subscriber sets a ttl of its own, which does not count.
        room.receiver.answers["one"] = lambda got: web.Response(headers=binary(got.id + "+", knativebrokerttl="99"))
        await room.trigger("loop", "one")
        await room.post(binary("e", knativebrokerttl="4"))
        (last,) = await room.receiver.count("dead", 1)
        # Accepted with 3 hops left; its replies with 2 and 1; the third reply has none left and is refused.
        assert [got.id for got in room.receiver.of("one")] == ["e", "e+", "e++"]
        assert last.id == "e++"
        assert last.headers["ce-knativeerrorcode"] == "400"

    run_room(scenario)


@pytest.mark.parametrize(("namespace", "state"), [("default", "failed"), ("zeroflow", "done")])
def test_only_the_platform_s_functions_reply_with_the_platform_s_types(
    run_room: Run, namespace: str, state: str
) -> None:
    async def scenario(room: Room) -> None:
        await room.broker(delivery={"retry": 2})
        await room.service("one", namespace)
        room.receiver.answers["one"] = lambda _: web.Response(headers=binary("r1", "dev.zeroflow.task.finished"))
        subscriber = {"ref": service_ref("one", namespace)}
        await room.trigger("t", subscriber=subscriber, filter={"attributes": {"type": "t"}})
        await room.send("e1")
        (delivery,) = await room.settled("e1")
        assert delivery["state"] == state
        assert len(delivery["attempts"]) == 1

    run_room(scenario)


def test_a_slow_subscriber_delays_no_other(run_room: Run) -> None:
    released = asyncio.Event()

    async def hang(_: Received) -> web.Response:
        await released.wait()
        return web.Response()

    async def scenario(room: Room) -> None:
        await room.broker()
        room.receiver.answers["slow"] = hang
        await room.trigger("slow", "slow")
        await room.trigger("quick", "quick")
        started = time.monotonic()
        for number in range(60):
            await room.send(f"e{number}")
        await room.receiver.count("quick", 60)
        assert time.monotonic() - started < 10
        assert len(room.receiver.of("slow")) == 4  # the limit of deliveries under way
        released.set()
        assert len({got.id for got in await room.receiver.count("slow", 60)}) == 60

    run_room(scenario, settings=EventingSettings(in_flight=4, window=8))


def test_more_events_than_memory_holds_are_each_delivered_once(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        await room.trigger("t", "one")
        await asyncio.gather(*(room.send(f"e{number}") for number in range(200)))
        await room.receiver.count("one", 200)
        await asyncio.gather(*(room.settled(f"e{number}") for number in range(200)))
        assert sorted(got.id for got in room.receiver.of("one")) == sorted(f"e{number}" for number in range(200))

    run_room(scenario, settings=EventingSettings(in_flight=3, window=5))


def test_large_data_waits_on_disk_and_arrives_whole(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        await room.trigger("t", "one")
        body = bytes(range(256)) * 2000
        assert (await room.post(binary("e1") | {"content-type": "application/octet-stream"}, body))[0] == 202
        (got,) = await room.receiver.count("one", 1)
        assert got.body == body

    run_room(scenario)


@pytest.mark.parametrize(
    ("shape", "content_type"), [("json", "application/cloudevents+json; charset=utf-8"), ("binary", "application/json")]
)
def test_delivery_format_chooses_the_mode(run_room: Run, shape: str, content_type: str) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        await room.trigger("t", "one", delivery={"format": shape})
        structured: dict[str, Any] = {"Content-Type": "application/cloudevents+json"}
        await room.send("e1")
        await room.post(structured, b'{"specversion":"1.0","id":"e2","type":"t","source":"/s","data":{"b":2}}')
        got = await room.receiver.count("one", 2)
        assert {each.headers["content-type"] for each in got} == {content_type}

    run_room(scenario)


def test_a_trigger_waits_for_its_subscriber_to_exist(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        from eventing.rooms import trigger

        await room.store.create(trigger("t", subscriber={"ref": service_ref("later")}))
        found = await room.condition("Trigger.eventing.knative.dev", "t", "SubscriberResolved", "False")
        assert 'service "later" not found' in str(found["status"]["conditions"])
        await room.send("e1")
        await room.service("later")
        await room.receiver.count("later", 1)

    run_room(scenario)


def test_deleting_a_trigger_ends_what_waits_for_it(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker(delivery={"retry": 10, "backoffDelay": "PT10S"})
        room.receiver.answers["one"] = lambda _: web.Response(status=500)
        await room.trigger("t", "one")
        await room.send("e1")
        await room.receiver.count("one", 1)
        await room.store.delete("Trigger.eventing.knative.dev", "default", "t")
        (delivery,) = await room.settled("e1")
        assert delivery["state"] == "dropped"

    run_room(scenario)
