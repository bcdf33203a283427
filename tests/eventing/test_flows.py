"""Sequences and Parallels: an event goes from step to step, or into every branch whose filter lets it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web

from eventing.rooms import Received, Room, binary, broker_ref, service_ref

Run = Callable[..., None]
FLOWS = "flows.knative.dev/v1"
TEMPLATE = {"apiVersion": "messaging.knative.dev/v1", "kind": "InMemoryChannel"}


def adding(letter: str) -> Callable[[Received], web.Response]:
    def answer(got: Received) -> web.Response:
        return web.Response(body=got.body + letter.encode(), headers=binary(got.id + letter, "step"))

    return answer


async def services(room: Room, *names: str) -> None:
    for name in names:
        await room.service(name)
        room.receiver.answers[name] = adding(name)


async def post(room: Room, channel: str, event_id: str) -> None:
    url = f"{room.base}/channels/default/{channel}"
    async with room.session.post(url, headers=binary(event_id), data=b"") as response:
        assert response.status == 202


def test_a_sequence_leads_an_event_through_its_steps_to_the_reply(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        await room.trigger("end", "end")
        await services(room, "a", "b", "c")
        steps = [{"ref": service_ref(name)} for name in ("a", "b", "c")]
        spec = {"steps": steps, "channelTemplate": TEMPLATE, "reply": {"ref": broker_ref()}}
        made = await room.declare(FLOWS, "Sequence", "flow", **spec)
        status = made["status"]
        assert status["address"]["url"].endswith("/channels/default/flow-kn-sequence-0")
        assert [each["channel"]["name"] for each in status["channelStatuses"]] == [
            f"flow-kn-sequence-{index}" for index in range(3)
        ]
        assert {each["ready"]["status"] for each in status["subscriptionStatuses"]} == {"True"}
        assert {each["type"] for each in status["conditions"]} == {
            "Addressable",
            "ChannelsReady",
            "Ready",
            "SubscriptionsReady",
        }
        await post(room, "flow-kn-sequence-0", "x")
        (got,) = await room.receiver.count("end", 1)
        assert (got.body, got.id) == (b"abc", "xabc")

    run_room(scenario)


def test_a_sequence_that_is_changed_and_deleted_leaves_nothing_behind(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await services(room, "a", "b", "z")
        await room.service("end")
        end = {"reply": {"ref": service_ref("end")}, "channelTemplate": TEMPLATE}
        await room.declare(FLOWS, "Sequence", "flow", steps=[{"ref": service_ref(n)} for n in ("a", "b")], **end)
        flow = room.store.get("Sequence.flows.knative.dev", "default", "flow")
        flow["spec"]["steps"] = [{"ref": service_ref("z"), "delivery": {"retry": 3}}]
        await room.store.update(flow)
        kind = "Subscription.messaging.knative.dev"
        async with asyncio.timeout(5):
            while len(room.store.list(kind)) != 1 or "delivery" not in room.store.list(kind)[0]["spec"]:
                await asyncio.sleep(0.01)
        await room.ready("Sequence.flows.knative.dev", "flow")
        await room.ready(kind, "flow-kn-sequence-0")
        await post(room, "flow-kn-sequence-0", "x")
        assert (await room.receiver.count("end", 1))[0].body == b"z"
        await room.store.delete("Sequence.flows.knative.dev", "default", "flow")
        left: Any = None
        for kind in ("InMemoryChannel.messaging.knative.dev", "Subscription.messaging.knative.dev"):
            left = room.store.list(kind)
            assert left == []

    run_room(scenario)


def test_a_step_without_an_answer_ends_the_sequence_and_a_missing_one_keeps_it_waiting(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await services(room, "a", "b")
        room.receiver.answers["a"] = lambda got: web.Response(status=202)
        steps = [{"ref": service_ref("a")}, {"ref": service_ref("b")}, {"ref": service_ref("later")}]
        metadata = {"name": "flow", "namespace": "default"}
        spec = {"steps": steps, "channelTemplate": TEMPLATE}
        await room.store.create({"apiVersion": FLOWS, "kind": "Sequence", "metadata": metadata, "spec": spec})
        found = await room.condition("Sequence.flows.knative.dev", "flow", "SubscriptionsReady", "Unknown")
        assert {each["type"]: each["status"] for each in found["status"]["conditions"]}["Ready"] == "Unknown"
        await room.condition("Sequence.flows.knative.dev", "flow", "ChannelsReady", "True")
        await post(room, "flow-kn-sequence-1", "x")
        assert (await room.settled("x"))[0]["state"] == "done"
        await room.service("later")
        await room.ready("Sequence.flows.knative.dev", "flow")
        assert (await room.receiver.count("later", 1))[0].id == "xb"
        await post(room, "flow-kn-sequence-0", "silent")
        assert [each["state"] for each in await room.settled("silent")] == ["done"]
        assert len(room.receiver.of("b")) == 1

    run_room(scenario)


def test_a_parallel_offers_an_event_to_each_branch(run_room: Run) -> None:
    """A filter that answers nothing lets nothing in; what it answers goes in; without one, everything does."""

    async def scenario(room: Room) -> None:
        await services(room, "f", "a", "b", "c")
        room.receiver.answers["n"] = lambda got: web.Response()
        for name in ("n", "all", "own"):
            await room.service(name)
        spec = {
            "channelTemplate": TEMPLATE,
            "branches": [
                {"filter": {"ref": service_ref("f")}, "subscriber": {"ref": service_ref("a")}},
                {"subscriber": {"ref": service_ref("b")}, "reply": {"ref": service_ref("own")}},
                {"filter": {"ref": service_ref("n")}, "subscriber": {"ref": service_ref("c")}},
            ],
            "reply": {"ref": service_ref("all")},
        }
        made = await room.declare(FLOWS, "Parallel", "p", **spec)
        status = made["status"]
        assert status["address"]["url"].endswith("/channels/default/p-kn-parallel")
        assert status["ingressChannelStatus"]["ready"]["status"] == "True"
        assert [each["filterSubscriptionStatus"]["subscription"]["name"] for each in status["branchStatuses"]] == [
            f"p-kn-parallel-filter-{index}" for index in range(3)
        ]
        await post(room, "p-kn-parallel", "x")
        assert (await room.receiver.count("all", 1))[0].body == b"fa"
        assert (await room.receiver.count("own", 1))[0].body == b"b"
        await room.receiver.count("n", 1)
        while room.eventing.under_way:
            await asyncio.sleep(0.01)
        assert room.receiver.of("c") == []

    run_room(scenario)


def test_a_flow_can_be_a_step_of_another(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await services(room, "a", "b")
        await room.service("end")
        end = {"reply": {"ref": service_ref("end")}, "channelTemplate": TEMPLATE}
        await room.declare(FLOWS, "Sequence", "inner", steps=[{"ref": service_ref("b")}], **end)
        inner = {"ref": {"apiVersion": FLOWS, "kind": "Sequence", "name": "inner"}}
        await room.declare(
            FLOWS, "Sequence", "outer", steps=[{"ref": service_ref("a")}], channelTemplate=TEMPLATE, reply=inner
        )
        await post(room, "outer-kn-sequence-0", "x")
        assert (await room.receiver.count("end", 1))[0].body == b"ab"

    run_room(scenario)
