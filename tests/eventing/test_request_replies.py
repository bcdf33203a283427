"""RequestReplies: a POST is answered by the event that is sent to the broker in return."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from eventing.rooms import Received, Room, binary, broker_ref
from zeroflow.knative.local.api.errors import BadRequest

Run = Callable[..., None]
API = "eventing.knative.dev/v1alpha1"
KIND = "RequestReply.eventing.knative.dev"


async def declare(room: Room, **spec: Any) -> str:
    """Make a RequestReply and return its URL."""
    await room.broker()
    await room.declare(API, "RequestReply", "ask", brokerRef=broker_ref(), **spec)
    return f"{room.base}/requestreplies/default/ask"


def test_a_subscribers_reply_is_the_answer(run_room: Run) -> None:
    def answer(got: Received) -> web.Response:
        identity = got.headers["ce-correlationid"]
        return web.Response(body=got.body * 2, headers=binary(f"r-{got.id}", "answer", replyid=identity))

    async def scenario(room: Room) -> None:
        url = await declare(room)
        await room.trigger("worker", "worker", filter={"attributes": {"type": "question"}})
        room.receiver.answers["worker"] = answer

        async def ask(number: int) -> tuple[int, str, bytes]:
            headers = binary(f"q:{number}", "question")
            async with room.session.post(url, headers=headers, data=str(number).encode()) as response:
                return response.status, response.headers["ce-id"], await response.read()

        found = await asyncio.gather(*map(ask, range(20)))
        assert found == [(200, f"r-q:{number}", str(number).encode() * 2) for number in range(20)]

    run_room(scenario)


def test_only_the_broker_and_the_attribute_that_are_named_bring_the_answer(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        url = await declare(room, correlationAttribute="ask", replyAttribute="told", timeout="PT5S")
        await room.broker("other")
        await room.trigger("worker", "worker")
        asked = asyncio.create_task(room.session.post(url, headers=binary("q"), data=b""))
        (got,) = await room.receiver.count("worker", 1)
        identity = got.headers["ce-ask"]
        assert identity.startswith("q:")
        assert (await room.post(binary("1", told=identity), broker="other"))[0] == 202
        assert (await room.post(binary("2", replyid=identity)))[0] == 202
        assert (await room.post(binary("3", told=identity + "x")))[0] == 202
        assert not asked.done()
        assert (await room.post(binary("4", told=identity)))[0] == 202
        async with await asked as response:
            assert (response.status, response.headers["ce-id"]) == (200, "4")
        assert (await room.post(binary("5", told=identity)))[0] == 202  # nobody waits any more

    run_room(scenario)


def test_who_gets_no_answer_is_told_and_what_is_no_event_is_refused(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        url = await declare(room, timeout="PT0.2S")
        async with room.session.post(url, headers=binary("q"), data=b"") as response:
            assert response.status == 504
            assert "came within PT0.2S" in await response.text()
        async with room.session.post(url, data=b"nothing") as response:
            assert response.status == 400
        async with room.session.get(url) as response:
            assert response.status == 405
        async with room.session.post(url.replace("/ask", "/nobody"), headers=binary("q"), data=b"") as response:
            assert response.status == 404
            assert "no request reply 'nobody'" in await response.text()

    run_room(scenario)


def test_a_request_reply_waits_for_its_broker_and_says_what_is_wrong(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        metadata = {"name": "ask", "namespace": "default"}
        made = {"apiVersion": API, "kind": "RequestReply", "metadata": metadata, "spec": {"brokerRef": broker_ref()}}
        await room.store.create(made)
        waits = await room.condition(KIND, "ask", "TriggersReady", "Unknown")
        assert waits["spec"]["timeout"] == "PT30S"
        await room.broker()
        ready = await room.ready(KIND, "ask")
        assert ready["status"]["address"]["url"].endswith("/requestreplies/default/ask")
        for spec, words in (
            ({}, "missing field\\(s\\): spec.brokerRef.apiVersion, spec.brokerRef.kind, spec.brokerRef.name"),
            ({"brokerRef": broker_ref(), "replyAttribute": "id"}, "replyattribute must be non-empty"),
            ({"brokerRef": broker_ref(), "timeout": "soon"}, "is not an ISO 8601 duration"),
            ({"brokerRef": broker_ref() | {"kind": "Service"}}, "brokerRef kind must be Broker"),
        ):
            with pytest.raises(BadRequest, match=words):
                await room.store.create({**made, "metadata": {"name": "bad"}, "spec": spec})

    run_room(scenario)
