"""Channels and subscriptions: everybody gets each event, answers go on, and nothing that was accepted is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from eventing.rooms import Room, binary, broker_ref, service_ref
from zeroflow.knative.local.api.errors import BadRequest

Run = Callable[..., None]
MESSAGING = "messaging.knative.dev/v1"


def channel_ref(name: str, kind: str = "Channel") -> dict[str, str]:
    return {"apiVersion": MESSAGING, "kind": kind, "name": name}


async def subscribe(room: Room, name: str, channel: str, service: str | None, **spec: Any) -> dict[str, Any]:
    if service is not None:
        await room.service(service)
        spec["subscriber"] = {"ref": service_ref(service)}
    return await room.declare(MESSAGING, "Subscription", name, channel=channel_ref(channel), **spec)


async def post(room: Room, channel: str, headers: dict[str, str], body: bytes = b"{}") -> tuple[int, str]:
    async with room.session.post(f"{room.base}/channels/default/{channel}", headers=headers, data=body) as response:
        return response.status, await response.text()


def test_every_subscription_gets_each_event_as_it_was_sent(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        made = await room.declare(MESSAGING, "Channel", "orders")
        url = f"{room.base}/channels/default/orders".replace("127.0.0.1", "localhost")
        assert made["status"]["address"] == {"name": "http", "url": url}
        assert made["status"]["channel"]["kind"] == "InMemoryChannel"
        assert {each["type"]: each["status"] for each in made["status"]["conditions"]} == {
            "Addressable": "True",
            "BackingChannelReady": "True",
            "DeadLetterSinkResolved": "True",
            "Ready": "True",
        }
        first = await subscribe(room, "one", "orders", "one")
        await subscribe(room, "two", "orders", "two")
        assert {each["type"] for each in first["status"]["conditions"]} == {
            "AddedToChannel",
            "ChannelReady",
            "OIDCIdentityCreated",
            "Ready",
            "ReferencesResolved",
        }
        assert list(first["status"]["physicalSubscription"]) == ["subscriberUri"]
        assert await post(room, "orders", binary("1", "t", colour="red")) == (202, "")
        for service in ("one", "two"):
            (got,) = await room.receiver.count(service, 1)
            assert (got.id, got.headers["ce-colour"], got.body) == ("1", "red", b"{}")
            assert "knativebrokerttl" not in str(got.headers)
        assert [each["subscriber"] for each in await room.settled("1", 2)] == [
            "subscription default/one",
            "subscription default/two",
        ]

    run_room(scenario)


def test_an_answer_goes_to_whom_the_subscription_names(run_room: Run) -> None:
    """To another channel, to a broker, and to a Service; without a name it is dropped, and text is no fault."""

    async def scenario(room: Room) -> None:
        for name in ("in", "out"):
            await room.declare(MESSAGING, "InMemoryChannel", name)
        await room.broker()
        await room.trigger("seen", "seen")
        await room.service("last")
        answers = {"a": "to-channel", "b": "to-broker", "c": "to-service", "d": "to-nobody"}
        for service, kind in answers.items():
            room.receiver.answers[service] = lambda got, kind=kind: web.Response(headers=binary(f"{kind}", kind))  # type: ignore[misc]
        room.receiver.answers["e"] = lambda got: web.Response(text="thank you")
        replies = {
            "a": {"reply": {"ref": channel_ref("out", "InMemoryChannel")}},
            "b": {"reply": {"ref": broker_ref()}},
            "c": {"reply": {"ref": service_ref("last")}},
            "d": {},
            "e": {},
        }
        await room.service("listener")
        listener = {"subscriber": {"ref": service_ref("listener")}}
        await room.declare(MESSAGING, "Subscription", "l", channel=channel_ref("out", "InMemoryChannel"), **listener)
        for service, reply in replies.items():
            await room.service(service)
            subscriber = {"ref": service_ref(service)}
            channel = channel_ref("in", "InMemoryChannel")
            await room.declare(MESSAGING, "Subscription", service, channel=channel, subscriber=subscriber, **reply)
        assert (await post(room, "in", binary("q")))[0] == 202
        assert [(await room.receiver.count(each, 1))[0].id for each in ("listener", "seen", "last")] == [
            "to-channel",
            "to-broker",
            "to-service",
        ]
        deliveries = await room.settled("q", 5)
        assert {each["state"] for each in deliveries} == {"done"}
        assert (await room.story("to-service"))["cause"]["replied_by"] == "subscription/default/c"
        assert [each["reply"] for each in deliveries[3]["attempts"]] == [None]

    run_room(scenario)


def test_a_subscription_without_subscriber_forwards(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.declare(MESSAGING, "Channel", "in")
        await room.broker()
        await room.trigger("all", "all")
        await subscribe(room, "forward", "in", None, reply={"ref": broker_ref()})
        assert (await post(room, "in", binary("f")))[0] == 202
        assert (await room.receiver.count("all", 1))[0].id == "f"

    run_room(scenario)


def test_a_failing_subscriber_is_retried_as_the_channel_says_and_its_event_dead_lettered(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.service("dead")
        sink = {"ref": service_ref("dead")}
        delivery = {"retry": 2, "backoffDelay": "PT0.01S", "deadLetterSink": sink}
        made = await room.declare(MESSAGING, "Channel", "in", delivery=delivery)
        assert made["status"]["deadLetterSinkUri"].endswith("/serving/default/dead")
        room.receiver.answers["bad"] = lambda got: web.Response(status=500, text="no")
        await subscribe(room, "bad", "in", "bad")
        await post(room, "in", binary("x"))
        (got,) = await room.receiver.count("dead", 1)
        assert (got.headers["ce-knativeerrorcode"], len(room.receiver.of("bad"))) == ("500", 3)

    run_room(scenario)


def test_a_reply_that_cannot_be_delivered_is_retried_by_itself(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.declare(MESSAGING, "Channel", "in")
        await room.service("sink")
        room.receiver.answers["work"] = lambda got: web.Response(headers=binary("r", "answer"))
        answers = iter((503, 503, 200))
        room.receiver.answers["sink"] = lambda got: web.Response(status=next(answers))
        delivery = {"retry": 5, "backoffDelay": "PT0.01S"}
        await subscribe(room, "s", "in", "work", reply={"ref": service_ref("sink")}, delivery=delivery)
        await post(room, "in", binary("q"))
        await room.receiver.count("sink", 3)
        assert [each["state"] for each in await room.settled("r")] == ["done"]
        assert len(room.receiver.of("work")) == 1

    run_room(scenario)


def test_channels_refuse_what_is_no_event_and_what_only_the_platform_may_say(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.declare(MESSAGING, "Channel", "in")
        assert (await post(room, "nowhere", binary()))[0] == 404
        assert (await post(room, "in", {"content-type": "application/json"}))[0] == 400
        assert (await post(room, "in", binary("1", "dev.zeroflow.run.finished")))[0] == 403
        async with room.session.get(f"{room.base}/channels/default/in") as response:
            assert response.status == 405
        room.receiver.answers["liar"] = lambda got: web.Response(headers=binary("l", "dev.zeroflow.run.finished"))
        await room.broker()
        await room.trigger("all", "all")
        await subscribe(room, "liar", "in", "liar", reply={"ref": broker_ref()})
        await post(room, "in", binary("q"))
        (told,) = await room.settled("q")
        assert (told["state"], "published by the platform only" in told["attempts"][0]["error"]) == ("failed", True)

    run_room(scenario)


def test_channels_that_feed_each_other_end(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        for name in ("a", "b"):
            await room.declare(MESSAGING, "Channel", name)
        for here, there in (("a", "b"), ("b", "a")):
            await subscribe(room, f"{here}-{there}", here, None, reply={"ref": channel_ref(there)})
        await post(room, "a", binary("round"))
        while not any(each["state"] == "failed" for each in (await room.settled("round", 0))):
            pass
        assert "no hops left" in str((await room.story("round"))["deliveries"])

    run_room(scenario)


def test_a_sink_and_a_trigger_may_be_a_channel(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.declare(MESSAGING, "Channel", "in")
        await subscribe(room, "one", "in", "one")
        await room.broker()
        await room.trigger("to-channel", subscriber={"ref": channel_ref("in")})
        await room.send("b")
        assert (await room.receiver.count("one", 1))[0].id == "b"
        uri = "http://in-kn-channel.default.svc.cluster.local"
        await room.trigger("by-uri", subscriber={"uri": uri})
        await room.send("c")
        await room.receiver.count("one", 3)

    run_room(scenario)


def test_deleting_a_subscription_ends_what_waits_for_it(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.declare(MESSAGING, "Channel", "in")
        room.receiver.answers["bad"] = lambda got: web.Response(status=500)
        await subscribe(room, "bad", "in", "bad", delivery={"retry": 10, "backoffDelay": "PT60S"})
        await post(room, "in", binary("x"))
        await room.receiver.count("bad", 1)
        await room.store.delete("Subscription.messaging.knative.dev", "default", "bad")
        (told,) = await room.settled("x")
        assert (told["state"], told["why"]) == ("dropped", "its subscription was deleted")

    run_room(scenario)


@pytest.mark.parametrize(
    ("kind", "spec", "words"),
    [
        ("Subscription", {"subscriber": {"uri": "http://example.com"}}, "missing field(s): spec.channel\nthe Subscrip"),
        ("Subscription", {"channel": channel_ref("c")}, "missing field(s): spec.reply, spec.subscriber"),
        (
            "Subscription",
            {"channel": {**channel_ref("c"), "kind": "KafkaChannel"}, "reply": {"uri": "http://example.com"}},
            "KafkaChannel is not available on this host: use Channel or InMemoryChannel",
        ),
        (
            "Channel",
            {"channelTemplate": {"apiVersion": "messaging.knative.dev/v1beta1", "kind": "KafkaChannel"}},
            "KafkaChannel is not available on this host",
        ),
        ("Channel", {"delivery": {"retry": -1}}, "spec.delivery.retry"),
    ],
    ids=["channel", "nobody", "kafka", "kafka-template", "retry"],
)
def test_what_cannot_work_is_refused(run_room: Run, kind: str, spec: dict[str, Any], words: str) -> None:
    async def scenario(room: Room) -> None:
        metadata = {"name": "x", "namespace": "default"}
        with pytest.raises(BadRequest) as refused:
            await room.store.create({"apiVersion": MESSAGING, "kind": kind, "metadata": metadata, "spec": spec})
        assert words in str(refused.value)

    run_room(scenario)
