"""What admission refuses, and what status says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from eventing.rooms import Room, broker_ref, service_ref, trigger
from zeroflow.knative.local.api.errors import BadRequest
from zeroflow.knative.local.eventing.outside import GuardedResolver
from zeroflow.knative.local.eventing.settings import EventingSettings

Run = Callable[..., None]
TRIGGER = "Trigger.eventing.knative.dev"
BROKER = "Broker.eventing.knative.dev"
OK = {"uri": "http://example.com/"}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"broker": "", "subscriber": OK}, "spec.broker"),
        ({}, "spec.subscriber"),
        ({"subscriber": {}}, "spec.subscriber"),
        ({"subscriber": {"uri": "/relative"}}, "spec.subscriber.uri"),
        ({"subscriber": {"uri": "ftp://example.com/"}}, "spec.subscriber.uri"),
        ({"subscriber": {"uri": "file:///etc/passwd"}}, "spec.subscriber.uri"),
        ({"subscriber": {"uri": "http://user:pw@example.com/"}}, "spec.subscriber.uri"),
        ({"subscriber": {"ref": {"kind": "Service", "name": "x"}}}, "spec.subscriber.ref.apiVersion"),
        ({"subscriber": {"ref": service_ref("x"), "uri": "http://example.com/"}}, "spec.subscriber.uri"),
        ({"subscriber": OK, "filters": [{"cesql": "true ="}]}, "spec.filters[0].cesql"),
        ({"subscriber": OK, "delivery": {"retry": -1}}, "spec.delivery.retry"),
        ({"subscriber": OK, "delivery": {"backoffPolicy": "random"}}, "spec.delivery.backoffPolicy"),
        ({"subscriber": OK, "delivery": {"backoffDelay": "1s"}}, "spec.delivery.backoffDelay"),
        ({"subscriber": OK, "delivery": {"backoffDelay": "PT"}}, "spec.delivery.backoffDelay"),
        ({"subscriber": OK, "delivery": {"timeout": "PT0S"}}, "spec.delivery.timeout"),
        ({"subscriber": OK, "delivery": {"format": "xml"}}, "spec.delivery.format"),
        ({"subscriber": OK, "delivery": {"retryAfterMax": "PT1S"}}, "spec.delivery.retryAfterMax"),
        ({"subscriber": OK, "delivery": {"deadLetterSink": {"uri": "x"}}}, "spec.delivery.deadLetterSink.uri"),
        ({"subscriber": OK, "brokerRef": {"name": "x"}}, "spec.brokerRef"),
    ],
    ids=lambda value: str(value)[:70],
)
def test_a_trigger_that_cannot_work_is_refused_naming_the_field(run_room: Run, spec: dict[str, Any], said: str) -> None:
    async def scenario(room: Room) -> None:
        with pytest.raises(BadRequest) as refused:
            await room.store.create(trigger("t", **spec))
        assert said in str(refused.value)
        assert room.store.find(TRIGGER, "default", "t") is None

    run_room(scenario)


def test_a_refusal_is_in_the_words_of_the_webhook(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        denied = 'admission webhook "validation.webhook.eventing.knative.dev" denied the request: validation failed: '
        for spec, said in (
            ({"subscriber": OK, "broker": ""}, "missing field(s): spec.broker\nthe name of a Broker"),
            ({"subscriber": {}}, "expected at least one, got none: spec.subscriber.ref, spec.subscriber.uri"),
        ):
            with pytest.raises(BadRequest) as refused:
                await room.store.create(trigger("t", **spec))
            assert str(refused.value).startswith(denied + said)

    run_room(scenario)


def test_the_broker_of_a_trigger_never_changes(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        made = await room.store.create(trigger("t", subscriber=OK))
        made["spec"]["broker"] = "other"
        del made["metadata"]["resourceVersion"]
        with pytest.raises(BadRequest, match="immutable"):
            await room.store.update(made)

    run_room(scenario)


def test_the_class_of_a_broker_never_changes(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        made = room.store.get(BROKER, "default", "default")
        made["metadata"]["annotations"]["eventing.knative.dev/broker.class"] = "Kafka"
        del made["metadata"]["resourceVersion"]
        with pytest.raises(BadRequest, match="immutable"):
            await room.store.update(made)

    run_room(scenario)


def test_a_broker_gets_knative_s_defaults_an_address_and_conditions(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        broker = await room.ready(BROKER, "default")
        assert broker["spec"]["delivery"] == {"retry": 10, "backoffPolicy": "exponential", "backoffDelay": "PT0.2S"}
        assert broker["metadata"]["annotations"]["eventing.knative.dev/broker.class"] == "MTChannelBasedBroker"
        assert broker["status"]["address"]["url"] == f"{room.base}/eventing/default/default".replace(
            "127.0.0.1", "localhost"
        )
        types = [each["type"] for each in broker["status"]["conditions"]]
        assert types == [
            "Addressable",
            "DeadLetterSinkResolved",
            "EventPoliciesReady",
            "FilterReady",
            "IngressReady",
            "Ready",
            "TriggerChannelReady",
        ]
        assert broker["status"]["observedGeneration"] == broker["metadata"]["generation"]

    run_room(scenario)


def test_a_broker_of_another_class_is_not_served(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        metadata = {
            "name": "kafka",
            "namespace": "default",
            "annotations": {"eventing.knative.dev/broker.class": "Kafka"},
        }
        await room.store.create(
            {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "metadata": metadata, "spec": {}}
        )
        await room.condition(BROKER, "kafka", "Ready", "False")
        assert (await room.post({}, broker="kafka"))[0] == 404

    run_room(scenario)


def test_a_trigger_becomes_ready_when_its_broker_appears(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.service("one")
        await room.store.create(trigger("t", subscriber={"ref": service_ref("one"), "uri": "/p?a=1"}))
        found = await room.condition(TRIGGER, "t", "BrokerReady", "False")
        assert found["metadata"]["labels"]["eventing.knative.dev/broker"] == "default"
        assert found["spec"]["subscriber"]["ref"]["namespace"] == "default"
        await room.broker()
        ready = await room.ready(TRIGGER, "t")
        assert ready["status"]["subscriberUri"].endswith("/serving/default/one/p?a=1")
        await room.store.delete(BROKER, "default", "default")
        await room.condition(TRIGGER, "t", "Ready", "False")

    run_room(scenario)


def test_a_trigger_with_another_filter_or_subscriber_follows_the_change(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        await room.trigger("t", "one", filter={"attributes": {"type": "a"}})
        await room.service("two")
        made = room.store.get(TRIGGER, "default", "t")
        made["spec"]["filter"] = {"attributes": {"type": "b"}}
        made["spec"]["subscriber"] = {"ref": service_ref("two")}
        made = await room.store.update(made)
        async with room.store.subscribe([TRIGGER]) as changes:
            async for change in changes:
                if change.object["status"]["observedGeneration"] == made["metadata"]["generation"]:
                    break
        await room.send("e1", "a")
        await room.send("e2", "b")
        await room.settled("e2")
        assert [(got.service, got.id) for got in room.receiver.received] == [("two", "e2")]

    run_room(scenario)


def test_the_dependency_of_a_trigger_is_waited_for(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        made = trigger("t", subscriber=OK)
        made["metadata"]["annotations"] = {
            "knative.dev/dependency": '{"kind":"PingSource","name":"p","apiVersion":"sources.knative.dev/v1"}'
        }
        await room.store.create(made)
        await room.condition(TRIGGER, "t", "DependencyReady", "False")
        await room.store.create(
            {
                "apiVersion": "sources.knative.dev/v1",
                "kind": "PingSource",
                "metadata": {"name": "p", "namespace": "default"},
                "spec": {"schedule": "0 0 1 1 *", "sink": {"ref": broker_ref()}},
            }
        )
        await room.ready(TRIGGER, "t")

    run_room(scenario)


@pytest.mark.parametrize(
    "uri",
    [
        "http://localhost:1/",
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://169.254.169.254/latest",
        "http://0.0.0.0/",
        "http://[::ffff:127.0.0.1]/",
        "http://x.localhost/",
    ],
)
def test_loopback_and_link_local_subscribers_are_not_delivered_to(run_room: Run, uri: str) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        await room.store.create(trigger("t", subscriber={"uri": uri}))
        found = await room.condition(TRIGGER, "t", "SubscriberResolved", "False")
        assert "AddressNotAllowed" in str(found["status"])

    run_room(scenario, settings=EventingSettings())


@pytest.mark.parametrize("uri", ["http://2130706433:1/", "http://127.1:1/", "http://0x7f.1:1/"])
def test_other_spellings_of_loopback_are_refused_at_the_connection(run_room: Run, uri: str) -> None:
    async def scenario(room: Room) -> None:
        await room.broker(delivery={"retry": 0})
        await room.store.create(trigger("t", subscriber={"uri": uri}))
        await room.condition(TRIGGER, "t", "SubscriberResolved", "True")
        await room.send("e1")
        (delivery,) = await room.settled("e1")
        assert delivery["attempts"][0]["status"] is None
        assert "canonical" in delivery["attempts"][0]["error"] or "loopback" in delivery["attempts"][0]["error"]

    run_room(scenario, settings=EventingSettings())


def test_a_name_that_resolves_to_loopback_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(OSError, match="loopback"):
            await GuardedResolver().resolve("localhost", 80)

    asyncio.run(main())


@pytest.mark.parametrize(
    "uri",
    [
        "http://one.default.svc.cluster.local/p?a=1",
        "{own}/serving/default/one/p?a=1",
        "http://one.default.localhost:{port}/p?a=1",
    ],
)
def test_uris_of_this_host_s_services_reach_them_without_a_hop(run_room: Run, uri: str) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        await room.service("one")
        given = uri.format(own=room.base, port=room.base.rsplit(":", 1)[1])
        await room.trigger("t", subscriber={"uri": given})
        await room.send("e1")
        (got,) = await room.receiver.count("one", 1)
        assert got.path == "/p?a=1"

    run_room(scenario, settings=EventingSettings())


def test_a_broker_may_be_the_subscriber_of_another(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        await room.broker("second")
        await room.trigger("forward", subscriber={"ref": broker_ref("second")})
        await room.trigger("t", "one", broker="second")
        await room.send("e1", knativebrokerttl="7")
        await room.receiver.count("one", 1)
        log = room.eventing._started._log
        ttls = await log.read(lambda connection: [row[0] for row in connection.execute("SELECT ttl FROM event")])
        assert ttls == [6, 5]

    run_room(scenario)
