"""PingSources: when they tick, what a tick is, what admission refuses. Time is injected."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from clocks import FakeClock
from eventing.rooms import Room, broker_ref, room, service_ref
from zeroflow.knative.local.api.errors import BadRequest
from zeroflow.knative.local.eventing.errors import InvalidSpec
from zeroflow.knative.local.eventing.ping_spec import schedule_of

Run = Callable[..., None]
PING = "PingSource.sources.knative.dev"
START = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)
SUMMER = datetime(2026, 7, 1, tzinfo=UTC)


def at(hour: int, minute: int, second: int = 0) -> datetime:
    return datetime(2026, 1, 1, hour, minute, second, tzinfo=UTC)


def ping(name: str = "p", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "sources.knative.dev/v1",
        "kind": "PingSource",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


def run_with_clock(run_room: Run, scenario: Callable[[Room, FakeClock], Any]) -> None:
    clock = FakeClock()
    run_room(lambda opened: scenario(opened, clock), clock=clock, jitter_s=lambda: 0.0)


def test_a_tick_reaches_the_broker_as_knative_s_event(run_room: Run) -> None:
    async def scenario(room: Room, clock: FakeClock) -> None:
        await room.broker()
        await room.trigger("t", "one")
        spec = {
            "schedule": "*/5 * * * *",
            "contentType": "application/json",
            "data": '{ "a": 1 }',
            "ceOverrides": {"extensions": {"team": "ml"}},
        }
        await room.store.create(ping(**spec, sink={"ref": broker_ref()}))
        status = (await room.ready(PING, "p"))["status"]
        assert status["ceAttributes"] == [
            {"type": "dev.knative.sources.ping", "source": "/apis/v1/namespaces/default/pingsources/p"}
        ]
        assert status["sinkUri"].endswith("/eventing/default/default")
        clock.jump(at(12, 4, 59))
        clock.jump(at(12, 5))
        (got,) = await room.receiver.count("one", 1)
        assert got.headers["ce-type"] == "dev.knative.sources.ping"
        assert got.headers["ce-source"] == "/apis/v1/namespaces/default/pingsources/p"
        assert got.headers["ce-team"] == "ml"
        assert "ce-subject" not in got.headers
        assert (got.headers["content-type"], got.body) == ("application/json", b'{"a":1}')
        clock.jump(at(12, 10))
        first, second = await room.receiver.count("one", 2)
        assert first.id != second.id

    run_with_clock(run_room, scenario)


def test_a_tick_straight_to_a_service_is_retried_five_times(run_room: Run) -> None:
    async def scenario(room: Room, clock: FakeClock) -> None:
        await room.service("one")
        room.receiver.answers["one"] = lambda _: web.Response(status=503)
        await room.store.create(ping(schedule="@hourly", sink={"ref": service_ref("one"), "uri": "/sweep"}, data="x"))
        await room.ready(PING, "p")
        clock.jump(at(13, 0))
        got = await room.receiver.count("one", 6)
        (delivery,) = await room.settled(got[0].id)
        assert delivery["state"] == "failed"
        assert len(delivery["attempts"]) == 6
        assert delivery["subscriber"] == "pingsource default/p"
        assert {each.path for each in got} == {"/sweep"}
        assert "prefer" not in got[0].headers

    run_with_clock(run_room, scenario)


def test_an_answer_that_is_no_event_is_fine_for_a_source(run_room: Run) -> None:
    async def scenario(room: Room, clock: FakeClock) -> None:
        await room.service("one")
        room.receiver.answers["one"] = lambda _: web.Response(text="swept 3 rows")
        await room.store.create(ping(sink={"ref": service_ref("one")}))
        await room.ready(PING, "p")
        clock.jump(at(12, 1))
        (got,) = await room.receiver.count("one", 1)
        assert (await room.settled(got.id))[0]["state"] == "done"

    run_with_clock(run_room, scenario)


def test_one_timer_waits_for_the_earliest_tick_of_all_sources(run_room: Run) -> None:
    async def scenario(room: Room, clock: FakeClock) -> None:
        await room.broker()
        assert not clock.armed
        for name, schedule in (("late", "0 18 * * *"), ("soon", "30 13 * * *")):
            await room.store.create(ping(name, schedule=schedule, sink={"ref": broker_ref()}))
            await room.ready(PING, name)
        assert [timer.at for timer in clock.armed] == [at(13, 30)]
        await room.store.delete(PING, "default", "soon")
        await room.store.delete(PING, "default", "late")
        async with asyncio.timeout(5):
            while clock.armed:
                await asyncio.sleep(0)

    run_with_clock(run_room, scenario)


def test_missed_ticks_are_not_replayed(tmp_path: Any) -> None:
    async def main() -> None:
        clock = FakeClock()
        options: dict[str, Any] = {"clock": clock, "jitter_s": lambda: 0.0}
        async with room(tmp_path, **options) as first:
            await first.broker()
            await first.store.create(ping(schedule="* * * * *", sink={"ref": broker_ref()}))
            await first.ready(PING, "p")
        clock.time = at(15, 0, 30)
        async with room(tmp_path, **options) as second:
            await second.trigger("t", "one")
            assert [timer.at for timer in clock.armed] == [at(15, 1)]
            clock.jump(at(15, 1))
            (got,) = await second.receiver.count("one", 1)
            await second.settled(got.id)
            async with second.session.get(f"{second.base}/eventing") as answer:
                assert len((await answer.json())["events"]) == 1

    asyncio.run(main())


def test_a_clock_that_jumps_ahead_ticks_once(run_room: Run) -> None:
    async def scenario(room: Room, clock: FakeClock) -> None:
        await room.broker()
        await room.trigger("t", "one")
        await room.store.create(ping(schedule="* * * * *", sink={"ref": broker_ref()}))
        await room.ready(PING, "p")
        clock.jump(at(14, 0, 10))
        (got,) = await room.receiver.count("one", 1)
        await room.settled(got.id)
        assert [timer.at for timer in clock.armed] == [at(14, 1)]
        assert len(room.receiver.of("one")) == 1

    run_with_clock(run_room, scenario)


@pytest.mark.parametrize(
    ("spec", "after", "due"),
    [
        ({"schedule": "*/2 * * * *"}, START, at(12, 2)),
        ({"schedule": "15 * * * * *"}, START, at(12, 1, 15)),
        ({"schedule": "@daily"}, START, datetime(2026, 1, 2, tzinfo=UTC)),
        ({"schedule": "@weekly"}, START, datetime(2026, 1, 4, tzinfo=UTC)),
        ({"schedule": "0 9 ? JAN MON-FRI"}, START, datetime(2026, 1, 2, 9, tzinfo=UTC)),
        ({"schedule": "0 14 * * *", "timezone": "Europe/Berlin"}, START, at(13, 0)),
        (
            {"schedule": "0 14 * * *", "timezone": "Europe/Berlin"},
            SUMMER,
            SUMMER + timedelta(hours=12),
        ),
        ({"schedule": "0 0 29 2 *"}, START, datetime(2028, 2, 29, tzinfo=UTC)),
    ],
    ids=str,
)
def test_due_times(spec: dict[str, Any], after: datetime, due: datetime) -> None:
    assert schedule_of(spec).after(after) == due


def test_a_date_that_never_comes_is_never_due() -> None:
    assert schedule_of({"schedule": "0 0 30 2 *"}).after(START) is None


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ("@every 1h", "unsupported descriptor @every"),
        ("@fortnightly", "unrecognized descriptor"),
        ("* * * *", "found 4"),
        ("* * * * * * *", "found 7"),
        ("61 * * * *", "not a cron schedule"),
        ("a * * * *", "not a name"),
        ("* * L * *", "not a name"),
        ("* * * * 1#2", "characters"),
        ("CRON_TZ=UTC * * * * *", "characters"),
        ("R * * * *", "not a name"),
        (7, "must be a string"),
    ],
    ids=str,
)
def test_a_schedule_that_is_no_schedule_is_refused(schedule: Any, said: str) -> None:
    with pytest.raises(InvalidSpec, match=f"^spec.schedule: .*{said}"):
        schedule_of({"schedule": schedule})


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"timezone": "Mars/Olympus"}, "spec.timezone"),
        ({"timezone": "../../etc/passwd"}, "spec.timezone"),
        ({"data": "a", "dataBase64": "YQ=="}, "exactly one of data and dataBase64"),
        ({"data": "[1]", "contentType": "application/json"}, "spec.data"),
        ({"data": "{", "contentType": "application/json"}, "spec.data"),
        ({"dataBase64": "???"}, "spec.dataBase64"),
        ({"dataBase64": "WzFd", "contentType": "application/json"}, "spec.dataBase64"),
        ({"ceOverrides": {"extensions": {"type": "x"}}}, "spec.ceOverrides"),
        ({"ceOverrides": {"extensions": {"Bad": "x"}}}, "spec.ceOverrides"),
        ({"sink": {}}, "spec.sink"),
    ],
    ids=str,
)
def test_a_ping_source_that_cannot_work_is_refused(run_room: Run, spec: dict[str, Any], said: str) -> None:
    async def scenario(room: Room) -> None:
        with pytest.raises(BadRequest) as refused:
            await room.store.create(ping(**{"sink": {"ref": broker_ref()}, **spec}))
        assert said in str(refused.value)

    run_room(scenario)
