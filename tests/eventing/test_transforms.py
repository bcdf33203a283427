"""EventTransforms rewrite events on their way: from a broker and back, to a sink, and what a sink answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from aiohttp import web

from eventing.rooms import Received, Receiver, Room, binary, broker_ref, service_ref
from zeroflow.functions.transform.expressions import Expressions
from zeroflow.functions.transform.handler import create_app
from zeroflow.knative.local.api.errors import BadRequest

Run = Callable[..., None]
EVENTING = "eventing.knative.dev/v1alpha1"
KIND = "EventTransform.eventing.knative.dev"
PROMOTE = '{"specversion": "1.0", "id": id, "type": "user.extracted", "source": "t", "userid": data.user.id, "data": $}'


class Evaluating(Receiver):
    """A receiver whose Service `transform` is the real function."""

    def __init__(self) -> None:
        super().__init__()
        client = create_app(Expressions(timeout_s=0.5)).test_client()

        async def evaluate(got: Received) -> web.Response:
            answer = await asyncio.to_thread(client.post, "/", data=got.body)
            return web.Response(
                status=answer.status_code, body=answer.data, headers={"content-type": "application/json"}
            )

        self.answers["transform"] = evaluate


@pytest.fixture
def run(run_room: Run) -> Run:
    return lambda scenario: run_room(scenario, receiver=Evaluating())


async def transform(room: Room, name: str, expression: str, **spec: Any) -> dict[str, Any]:
    return await room.declare(EVENTING, "EventTransform", name, jsonata={"expression": expression}, **spec)


def transform_ref(name: str) -> dict[str, Any]:
    return {"ref": {"apiVersion": EVENTING, "kind": "EventTransform", "name": name}}


async def post(room: Room, name: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
    async with room.session.post(f"{room.base}/transforms/default/{name}", headers=headers, data=body) as response:
        return response.status, {key.lower(): value for key, value in response.headers.items()}, await response.read()


def test_a_broker_takes_the_rewritten_event_as_the_reply(run: Run) -> None:
    async def scenario(room: Room) -> None:
        made = await transform(room, "promote", PROMOTE)
        assert made["status"]["address"]["url"].endswith("/transforms/default/promote")
        assert {each["type"] for each in made["status"]["conditions"]} == {
            "Addressable",
            "EventPoliciesReady",
            "Ready",
            "TransformationReady",
        }
        await room.broker()
        filters = [{"exact": {"type": "user.created"}}]
        await room.trigger("in", subscriber=transform_ref("promote"), filters=filters)
        await room.trigger("out", "out", filters=[{"exact": {"userid": "u7"}}])
        assert (await room.post(binary("1", "user.created"), b'{"user": {"id": "u7"}}'))[0] == 202
        (got,) = await room.receiver.count("out", 1)
        event = json.loads(got.body)
        assert (event["id"], event["type"], event["userid"]) == ("1", "user.extracted", "u7")
        assert event["data"]["data"] == {"user": {"id": "u7"}}
        assert event["data"]["type"] == "user.created"

    run(scenario)


def test_what_is_posted_is_answered_rewritten(run: Run) -> None:
    """Events in either mode and other JSON; the content type follows what comes out."""

    async def scenario(room: Room) -> None:
        await transform(room, "promote", PROMOTE)
        await transform(room, "plain", '{"n": $count(items)}')
        await transform(room, "typed", '{"contenttype": "application/x-mine", "v": 1}')
        body = b'{"user": {"id": "u1"}}'
        status, headers, answer = await post(room, "promote", binary("1"), body)
        assert (status, headers["content-type"]) == (200, "application/cloudevents+json")
        assert json.loads(answer)["userid"] == "u1"
        structured = {"specversion": "1.0", "id": "2", "type": "t", "source": "/s", "data": json.loads(body)}
        media = {"content-type": "application/cloudevents+json"}
        _, _, answer = await post(room, "promote", media, orjson.dumps(structured))
        assert json.loads(answer)["id"] == "2"
        status, headers, answer = await post(room, "plain", {"content-type": "application/json"}, b'{"items": [1, 2]}')
        assert (status, headers["content-type"], answer) == (200, "application/json", b'{"n":2}')
        assert (await post(room, "typed", binary(), b"{}"))[1]["content-type"] == "application/x-mine"
        assert (await post(room, "nowhere", binary(), b"{}"))[0] == 404

    run(scenario)


def test_with_a_sink_the_answer_is_the_sinks(run: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.service("sink")
        answered = {"content-type": "application/json", **binary("a", "sink.answered")}
        room.receiver.answers["sink"] = lambda got: web.Response(status=202, body=b'{"n": 1}', headers=answered)
        sink, back = {"ref": service_ref("sink")}, {"expression": '{"said": type, "n": data.n + 1}'}
        await transform(room, "as-is", PROMOTE, sink=sink)
        await transform(room, "again", PROMOTE, sink=sink, reply={"jsonata": back})
        await transform(room, "away", PROMOTE, sink=sink, reply={"discard": True})
        status, headers, answer = await post(room, "as-is", binary("1"), b'{"user": {"id": "x"}}')
        assert (status, headers["ce-type"], answer) == (202, "sink.answered", b'{"n": 1}')
        (got,) = room.receiver.of("sink")
        assert got.headers["content-type"] == "application/cloudevents+json"
        assert json.loads(got.body)["userid"] == "x"
        assert (await post(room, "again", binary("2"), b'{"user": {}}'))[::2] == (
            202,
            b'{"said":"sink.answered","n":2}',
        )
        assert (await post(room, "away", binary("3"), b'{"user": {}}'))[::2] == (202, b"")
        room.receiver.answers["sink"] = lambda got: web.Response(status=503, text="later")
        assert (await post(room, "again", binary("4"), b'{"user": {}}'))[::2] == (503, b"later")

    run(scenario)


def test_a_sink_may_be_a_broker_and_a_failing_one_makes_the_trigger_try_again(run: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        await room.trigger("seen", "seen", filters=[{"exact": {"type": "user.extracted"}}])
        await transform(room, "to-broker", PROMOTE, sink={"ref": broker_ref()})
        assert (await post(room, "to-broker", binary("1"), b'{"user": {"id": "x"}}'))[0] == 202
        assert json.loads((await room.receiver.count("seen", 1))[0].body)["id"] == "1"
        await room.service("flaky")
        statuses = iter((503, 200))
        room.receiver.answers["flaky"] = lambda got: web.Response(status=next(statuses))
        await transform(room, "to-flaky", PROMOTE, sink={"ref": service_ref("flaky")})
        delivery = {"retry": 3, "backoffDelay": "PT0.01S"}
        await room.trigger(
            "t", subscriber=transform_ref("to-flaky"), delivery=delivery, filters=[{"exact": {"type": "w"}}]
        )
        await room.send("w1", "w")
        (told,) = await room.settled("w1")
        assert [attempt["status"] for attempt in told["attempts"]] == [503, 200]

    run(scenario)


@pytest.mark.parametrize(
    ("expression", "status", "words"),
    [
        ("nothing", 500, "made nothing of this event"),
        ("$error('not for me')", 500, "not for me"),
        ("($f := function($n) { $f($n + 1) + 1 }; $f(1))", 500, "JSONata"),
        ("($f := function($n) { $f($n + 1) }; $f(1))", 500, "JSONata"),
        (
            '{"specversion": "1.0", "id": "1", "source": "/s", "type": "dev.zeroflow.run.finished"}',
            403,
            "platform only",
        ),
    ],
    ids=["nothing", "error", "deep", "endless", "forged"],
)
def test_what_an_expression_cannot_do_is_said(run: Run, expression: str, status: int, words: str) -> None:
    async def scenario(room: Room) -> None:
        await transform(room, "t", expression)
        got = await post(room, "t", binary(), b"{}")
        assert (got[0], words in got[2].decode(), words in got[1]["reason"]) == (status, True, True), got

    run(scenario)


def test_an_expression_that_cannot_be_read_is_told_of_in_the_status(run: Run) -> None:
    async def scenario(room: Room) -> None:
        metadata = {"name": "bad", "namespace": "default"}
        spec = {"jsonata": {"expression": '{"id": '}}
        await room.store.create({"apiVersion": EVENTING, "kind": "EventTransform", "metadata": metadata, "spec": spec})
        found = await room.condition(KIND, "bad", "Ready", "False")
        (ready,) = [each for each in found["status"]["conditions"] if each["type"] == "Ready"]
        assert (ready["reason"], "JSONata: " in ready["message"]) == ("JsonataExpressionInvalid", True)
        found["spec"] = {"jsonata": {"expression": '{"id": id}'}}
        await room.store.update(found)
        await room.ready(KIND, "bad")

    run(scenario)


def test_transforms_that_lead_to_each_other_end(run: Run) -> None:
    async def scenario(room: Room) -> None:
        await transform(room, "b", PROMOTE)
        await transform(room, "a", PROMOTE, sink=transform_ref("b"))
        found = room.store.get(KIND, "default", "b")
        found["spec"]["sink"] = transform_ref("a")
        await room.store.update(found)
        async with asyncio.timeout(20):
            while (await post(room, "a", binary(), b'{"user": {}}'))[0] != 508:
                await asyncio.sleep(0.01)

    run(scenario)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({}, "expected exactly one, got neither: spec.jsonata"),
        ({"jsonata": {"expression": " "}}, "missing field(s): spec.jsonata.expression"),
        ({"jsonata": {"expression": "$"}, "reply": {"discard": True}}, "reply is set without spec.sink: spec.reply"),
        (
            {
                "jsonata": {"expression": "$"},
                "sink": {"uri": "http://example.com"},
                "reply": {"discard": True, "jsonata": {"expression": "$"}},
            },
            "expected exactly one, got both: spec.reply.discard, spec.reply.jsonata",
        ),
    ],
    ids=["nothing", "empty", "reply", "both"],
)
def test_what_cannot_work_is_refused(run: Run, spec: dict[str, Any], words: str) -> None:
    async def scenario(room: Room) -> None:
        metadata = {"name": "x", "namespace": "default"}
        with pytest.raises(BadRequest) as refused:
            await room.store.create(
                {"apiVersion": EVENTING, "kind": "EventTransform", "metadata": metadata, "spec": spec}
            )
        assert words in str(refused.value)

    run(scenario)
