"""The broker's front door: codes, headers, limits, the platform's types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from eventing.rooms import TOKEN, Room, binary
from zeroflow.knative.local.eventing.cloudevent import create
from zeroflow.knative.local.eventing.errors import BrokerNotFound
from zeroflow.knative.local.eventing.settings import EventingSettings
from zeroflow.predictions import tokens

Run = Callable[..., None]


def test_an_event_is_accepted_with_202(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        assert (await room.post(binary()))[0] == 202

    run_room(scenario)


def test_an_unknown_broker_is_404(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        assert (await room.post(binary(), broker="absent"))[0] == 404
        with pytest.raises(BrokerNotFound):
            await room.eventing.publish("default", "absent", create("t", "/s"))

    run_room(scenario)


def test_options_and_other_verbs(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        url = f"{room.base}/eventing/default/default"
        async with room.session.options(url) as answer:
            assert answer.status == 200
            assert answer.headers["WebHook-Allowed-Origin"] == answer.headers["WebHook-Allowed-Rate"] == "*"
        for verb in ("GET", "PUT", "DELETE"):
            async with room.session.request(verb, url) as answer:
                assert answer.status == 405
                assert answer.headers["Allow"] == "POST, OPTIONS"

    run_room(scenario)


@pytest.mark.parametrize(
    ("headers", "body", "said"),
    [
        ({}, b"{}", "specversion"),
        (binary() | {"ce-id": ""}, b"", "id:"),
        (binary() | {"ce-time": "x"}, b"", "time:"),
        ({"Content-Type": "application/cloudevents+json"}, b"{", "not JSON"),
        ({"Content-Type": "application/cloudevents-batch+json"}, b"[]", "batches"),
        (binary(knativebrokerttl="1"), b"", "knativebrokerttl"),
        (binary(knativebrokerttl="0"), b"", "knativebrokerttl"),
        (binary(knativebrokerttl="-3"), b"", "knativebrokerttl"),
    ],
    ids=str,
)
def test_what_is_no_event_is_400_and_says_why(run_room: Run, headers: dict[str, str], body: bytes, said: str) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        status, text = await room.post(headers, body)
        assert status == 400
        assert said in text

    run_room(scenario)


@pytest.mark.parametrize("chunked", [False, True])
def test_too_large_an_event_is_413(run_room: Run, chunked: bool) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()

        async def parts() -> object:
            yield b"x" * 600
            yield b"x" * 600

        data = parts() if chunked else b"x" * 1200
        async with room.session.post(f"{room.base}/eventing/default/default", headers=binary(), data=data) as answer:
            assert answer.status == 413
            assert "1000 bytes" in await answer.text()

    run_room(scenario, settings=EventingSettings(max_event_bytes=1000))


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (None, 403),
        ("Bearer wrong", 403),
        ("Bearer ", 403),
        (f"Basic {TOKEN}", 403),
        (f"Bearer {TOKEN}x", 403),
        (f"Bearer {TOKEN}", 202),
        (f"bearer {TOKEN}", 202),
    ],
)
@pytest.mark.parametrize("structured", [False, True])
def test_the_platform_s_types_need_its_token(
    run_room: Run, authorization: str | None, status: int, structured: bool
) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        headers, body = binary("1", "dev.zeroflow.run.requested"), b""
        if structured:
            headers = {"Content-Type": "application/cloudevents+json"}
            body = b'{"specversion":"1.0","id":"1","source":"/s","type":"dev.zeroflow.run.requested"}'
        if authorization is not None:
            headers["Authorization"] = authorization
        assert (await room.post(headers, body))[0] == status

    run_room(scenario)


@pytest.mark.parametrize(
    ("event_type", "source", "status"),
    [
        ("dev.zeroflow.predictions.observed", "/zeroflow/predictors/team/iris/pod-1", 202),
        ("dev.zeroflow.predictions.observed", "/zeroflow/predictors/team/other/pod-1", 403),
        ("dev.zeroflow.run.requested", "/zeroflow/predictors/team/iris/pod-1", 403),
    ],
    ids=["its-own", "of-another", "other-type"],
)
def test_a_predictors_token_is_good_for_what_it_says_of_itself(
    run_room: Run, event_type: str, source: str, status: int
) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        headers = binary("1", event_type) | {"ce-source": source}
        headers["Authorization"] = f"Bearer {tokens.issue(TOKEN, 'team', 'iris')}"
        assert (await room.post(headers))[0] == status

    run_room(scenario)


def test_another_prefix_is_not_the_platform_s(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        assert (await room.post(binary("1", "dev.zeroflowers")))[0] == 202

    run_room(scenario)


@pytest.mark.parametrize(
    "event",
    [
        create("dev.zeroflow.host.started", "/host", {"port": 1}),
        {"specversion": "1.0", "id": "1", "type": "dev.zeroflow.host.started", "source": "/host", "data": {"port": 1}},
    ],
    ids=["event", "document"],
)
def test_the_host_publishes_its_own_events(run_room: Run, event: Any) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        await room.trigger("t", "one")
        await room.eventing.publish("default", "default", event)
        (got,) = await room.receiver.count("one", 1)
        assert b"dev.zeroflow.host.started" in got.body or got.headers["ce-type"] == "dev.zeroflow.host.started"
        assert b'{"port":1}' in got.body

    run_room(scenario)
