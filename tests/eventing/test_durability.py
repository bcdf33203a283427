"""Accepted means kept: kill -9 at any moment, deliver everything after the next start."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from eventing.rooms import Receiver, Room, binary, receiving, room, service_ref
from zeroflow.knative.local.eventing import log as log_module
from zeroflow.knative.local.eventing.cloudevent import create
from zeroflow.knative.local.eventing.delivery import DeliveryPolicy
from zeroflow.knative.local.eventing.destinations import Destination, ToUri
from zeroflow.knative.local.eventing.dispatcher import Dispatcher, Subscriber
from zeroflow.knative.local.eventing.errors import NewerLog
from zeroflow.knative.local.eventing.log import Delivery, EventLog, NewEvent
from zeroflow.knative.local.eventing.retention import prune
from zeroflow.knative.local.eventing.settings import EventingSettings

Run = Callable[..., None]
SERVE = Path(__file__).with_name("serve.py")


@contextlib.asynccontextmanager
async def broker_process(
    home: Path, receiver: Receiver, deadline_s: float = 30.0
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    environment = {**os.environ, "PYTHONPATH": str(SERVE.parents[1])}
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SERVE), str(home), receiver.base, stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(deadline_s):
            yield process, (await process.stdout.readline()).decode().strip()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def test_killing_the_broker_amid_500_deliveries_loses_none_and_completes_none_twice(tmp_path: Path) -> None:
    """Each event is answered with a reply; events and replies all arrive, and what was settled is not done again."""

    async def main() -> None:
        receiver = Receiver()
        receiver.answers["work"] = lambda got: web.Response(headers=binary(f"done-{got.id}", "done"))
        accepted: set[str] = set()

        async def send(session: aiohttp.ClientSession, base: str, names: list[str]) -> None:
            with contextlib.suppress(aiohttp.ClientError):
                for name in names:
                    headers = binary(name, "work")
                    async with session.post(f"{base}/eventing/default/default", headers=headers, data=b"{}") as answer:
                        if answer.status == 202:
                            accepted.add(name)

        async with receiving(receiver), aiohttp.ClientSession() as session:
            async with broker_process(tmp_path, receiver) as (process, base):
                lanes = [[f"e{lane}-{number}" for number in range(50)] for lane in range(10)]
                sending = [asyncio.create_task(send(session, base, names)) for names in lanes]
                await receiver.until(lambda: len(receiver.of("work")) >= 150)
                process.send_signal(signal.SIGKILL)
                await process.wait()
                await asyncio.gather(*sending)
            assert len(accepted) > 0
            before = {got.id for got in receiver.of("work")}
            settled = _settled(tmp_path)
            async with broker_process(tmp_path, receiver):
                await receiver.until(lambda: accepted <= {got.id for got in receiver.of("work")}, 30)
                replies = {f"done-{name}" for name in accepted}
                await receiver.until(lambda: replies <= {got.id for got in receiver.of("done")}, 30)
        times = Counter(got.id for got in receiver.of("work"))
        assert all(times[name] == 1 for name in settled)
        assert all(times[name] <= 2 for name in before)
        assert all(number == 1 for name, number in times.items() if name not in before)

    asyncio.run(main())


def _settled(home: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(home / "db" / "broker.sqlite")) as connection:
        rows = connection.execute(
            "SELECT e.id FROM event e JOIN delivery d ON d.event = e.seq WHERE e.type = 'work' AND d.state = 1"
        )
        return {row[0] for row in rows}


def test_retries_and_dead_letters_go_on_after_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        receiver = Receiver()
        receiver.answers["one"] = lambda _: web.Response(status=503)
        async with receiving(receiver):
            async with room(tmp_path, receiver) as first:
                await first.service("dead")
                sink = {"ref": service_ref("dead")}
                await first.broker(delivery={"retry": 3, "backoffDelay": "PT0.2S", "deadLetterSink": sink})
                await first.trigger("t", "one")
                await first.send("e1")
                await receiver.count("one", 2)
            async with room(tmp_path, receiver) as second:
                (delivery,) = await second.settled("e1")
                assert delivery["state"] == "dead-lettered"
        assert 4 <= len(receiver.of("one")) <= 5  # an attempt under way at the close may be made again
        assert len(receiver.of("dead")) == 1

    asyncio.run(main())


def test_what_waited_for_a_trigger_deleted_before_a_crash_is_dropped_at_the_start(tmp_path: Path) -> None:
    async def main() -> None:
        async with room(tmp_path) as first:
            log = await EventLog.open(first.home.db / "broker.sqlite")
            event = create("t", "/s", id="e1")
            await log.accept(NewEvent("default", "default", event, 255, {}, ["trigger/default/gone/uid"]))
            await log.close()
        async with room(tmp_path) as second:
            (delivery,) = (await second.story("e1"))["deliveries"]
            assert delivery["state"] == "dropped"

    asyncio.run(main())


def test_a_reply_and_the_completion_of_its_delivery_are_one_transaction(run_room: Run) -> None:
    """The disk refuses the reply: the delivery is not complete either, and is made again."""

    async def scenario(room: Room) -> None:
        await room.broker()
        room.receiver.answers["one"] = lambda _: web.Response(headers=binary("r1", "reply"))
        await room.trigger("t", "one", filter={"attributes": {"type": "t"}})
        log = room.eventing._started._log
        refuse = "CREATE TRIGGER refuse BEFORE INSERT ON event WHEN NEW.id = 'r1' BEGIN SELECT RAISE(ABORT, 'no'); END"
        await log.write(lambda connection: connection.execute(refuse) and None)
        await room.send("e1")
        await room.receiver.count("one", 1)
        (delivery,) = (await room.story("e1"))["deliveries"]
        assert (delivery["state"], delivery["attempts"]) == ("waiting", [])
        await log.write(lambda connection: connection.execute("DROP TRIGGER refuse") and None)
        (delivery,) = await room.settled("e1")
        assert delivery["attempts"][0]["reply"]["id"] == "r1"

    run_room(scenario)


def test_an_event_that_cannot_be_stored_is_not_accepted(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        log = room.eventing._started._log
        refuse = "CREATE TRIGGER refuse BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        await log.write(lambda connection: connection.execute(refuse) and None)
        status, text = await room.post(binary("e1"))
        assert status == 503
        assert "disk full" in text

    run_room(scenario)


def test_an_event_is_delivered_even_if_its_producer_hangs_up_before_the_answer(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        await room.trigger("t", "one")
        event = create("t", "/s", id="e1")
        publishing = asyncio.create_task(room.eventing.publish("default", "default", event))
        await asyncio.sleep(0)
        publishing.cancel()
        (got,) = await room.receiver.count("one", 1)
        assert got.id == "e1"

    run_room(scenario)


def test_a_caller_that_gives_up_leaves_the_others_of_its_group_alone(tmp_path: Path) -> None:
    async def main() -> None:
        log = await EventLog.open(tmp_path / "broker.sqlite")
        writes = [
            asyncio.create_task(
                log.write(lambda connection, n=number: connection.execute("SELECT ?", (n,)).fetchone()[0])
            )
            for number in range(3)
        ]
        await asyncio.sleep(0)
        writes[0].cancel()
        async with asyncio.timeout(5):
            assert await asyncio.gather(*writes[1:]) == [1, 2]
        await log.close()

    asyncio.run(main())


@pytest.mark.parametrize("restarted", [False, True], ids=["while it runs", "while it is down"])
def test_a_clock_that_is_set_back_keeps_no_delivery_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restarted: bool
) -> None:
    ahead_s = 3600.0

    class Clock:
        monotonic = staticmethod(time.monotonic)

        @staticmethod
        def time() -> float:
            return time.time() + ahead_s

    async def main() -> None:
        nonlocal ahead_s
        monkeypatch.setattr(log_module, "time", Clock)
        log = await EventLog.open(tmp_path / "broker.sqlite")
        await log.accept(NewEvent("default", "default", create("t", "/s", id="e1"), 255, {}, ["trigger/default/t/u"]))
        if restarted:
            await log.close()
        ahead_s = 0.0
        if restarted:
            log = await EventLog.open(tmp_path / "broker.sqlite")
        found, _ = await log.waiting("trigger/default/t/u", 10)
        assert [delivery.record.event.id for delivery in found] == ["e1"]
        again, _ = await log.waiting("trigger/default/t/u", 10)
        assert len(again) == 1
        await log.close()

    asyncio.run(main())


def test_a_page_read_before_a_delivery_was_settled_does_not_deliver_it_again(tmp_path: Path) -> None:
    """The reader's snapshot may be older than a settlement: what it still shows as waiting is not taken again."""

    async def main() -> None:
        log = await EventLog.open(tmp_path / "broker.sqlite")
        event = create("t", "/s", id="e1")
        subscription = "trigger/default/t/uid"
        await log.accept(NewEvent("default", "default", event, 255, {}, [subscription]))
        (stale, _) = await log.waiting(subscription, 10)
        reading, read_on, attempts, finish = asyncio.Event(), asyncio.Event(), 0, asyncio.Event()
        pages = iter([stale, stale])

        async def waiting(_: str, __: int) -> tuple[list[Delivery], float | None]:
            page = next(pages, [])
            if attempts:
                reading.set()
                await read_on.wait()
            return page, None

        async def deliver(_: Delivery, __: Subscriber) -> float | None:
            nonlocal attempts
            attempts += 1
            await finish.wait()
            return None

        log.waiting = waiting  # type: ignore[method-assign]
        dispatcher = Dispatcher(log, deliver, EventingSettings())
        dispatcher.subscribe(
            subscription, Subscriber(Destination(ToUri("http://x/"), "http://x/"), DeliveryPolicy(), "default")
        )
        async with asyncio.timeout(5):
            while not attempts:
                await asyncio.sleep(0)
            dispatcher._queues[subscription]._wake()  # a timer asks for the next page while the attempt runs
            await reading.wait()
            finish.set()
            while dispatcher.under_way:
                await asyncio.sleep(0)
            read_on.set()
            while dispatcher._queues[subscription].reads:
                await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert attempts == 1
        await dispatcher.close()
        await log.close()

    asyncio.run(main())


def test_one_operation_that_fails_does_not_fail_the_group_it_is_committed_with(tmp_path: Path) -> None:
    async def main() -> None:
        log = await EventLog.open(tmp_path / "broker.sqlite")
        operations = [
            log.write(lambda connection, n=number: connection.execute(f"INSERT INTO watching VALUES ('{n % 7}', 1)"))
            for number in range(8)
        ]
        results = await asyncio.gather(*operations, return_exceptions=True)
        assert [isinstance(result, sqlite3.IntegrityError) for result in results] == [False] * 7 + [True]
        await log.close()

    asyncio.run(main())


def test_old_and_surplus_events_leave_the_log_unless_they_still_wait(tmp_path: Path) -> None:
    async def main() -> None:
        log = await EventLog.open(tmp_path / "broker.sqlite")
        for number in range(6):
            waiting = ["trigger/default/t/uid"] if number == 0 else []
            await log.accept(NewEvent("default", "default", create("t", "/s", id=f"e{number}"), 255, {}, waiting))
        await log.write(lambda connection: connection.execute("UPDATE event SET accepted = 0 WHERE seq <= 2") and None)
        assert await prune(log, EventingSettings(retention_days=1)) == 1
        assert await prune(log, EventingSettings(retention_events=3)) == 1
        left = await log.read(lambda connection: [row[0] for row in connection.execute("SELECT id FROM event")])
        assert left == ["e0", "e3", "e4", "e5"]
        await log.close()

    asyncio.run(main())


def test_a_log_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broker.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(NewerLog, match="schema 99"):
        asyncio.run(EventLog.open(path))


def test_nothing_runs_while_nothing_is_due(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        await room.trigger("t", "one")
        await room.send("e1")
        await room.settled("e1")
        used = os.times()
        await asyncio.sleep(1)
        spent = os.times()
        assert (spent.user + spent.system) - (used.user + used.system) < 0.05

    run_room(scenario)
