"""The event log as people read it: HTTP and `zeroflow events`."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from typer.testing import CliRunner

from eventing.rooms import Room, binary, room

Run = Callable[..., None]


async def get(room: Room, **query: str) -> tuple[int, Any]:
    async with room.session.get(f"{room.base}/eventing", params=query) as answer:
        return answer.status, await answer.json()


def test_the_latest_events_are_listed_oldest_first(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        await room.trigger("t", "one", filter={"attributes": {"type": "a.b"}})
        for number, kind in enumerate(("a.b", "a.c", "b.c", "a.b")):
            await room.send(f"e{number}", kind, subject=f"s{number}")
            await room.settled(f"e{number}", 1 if kind == "a.b" else 0)

        async def ids(**query: str) -> list[str]:
            return [event["id"] for event in (await get(room, **query))[1]["events"]]

        assert await ids() == ["e0", "e1", "e2", "e3"]
        assert await ids(limit="2") == ["e2", "e3"]
        assert await ids(type="a.b") == ["e0", "e3"]
        assert await ids(type="a.*") == ["e0", "e1", "e3"]
        assert await ids(source="/other") == []
        assert await ids(since="1h", type="b.c") == ["e2"]
        assert await ids(since="2099-01-01T00:00:00Z") == []
        first = (await get(room))[1]["events"][0]
        assert (first["subject"], first["deliveries"], first["broker"]) == ("s0", {"done": 1}, "default")

    run_room(scenario)


@pytest.mark.parametrize("query", [{"limit": "x"}, {"limit": "9999"}, {"since": "yesterday"}], ids=str)
def test_a_query_that_cannot_be_read_is_400(run_room: Run, query: dict[str, str]) -> None:
    async def scenario(room: Room) -> None:
        status, answer = await get(room, **query)
        assert status == 400
        assert next(iter(query)) in answer["error"]

    run_room(scenario)


def test_an_unknown_event_is_404(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        assert (await get(room, id="nothing"))[0] == 404

    run_room(scenario)


def test_the_story_of_an_event_has_its_data_and_its_number_works_too(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        await room.send("e1")
        story = await room.story("e1")
        assert story["event"]["data"] == {"n": 1}
        assert (await room.story(str(story["seq"])))["id"] == "e1"
        await room.post(binary("big"), b'"' + b"x" * 100_000 + b'"')
        assert (await room.story("big"))["event"]["data_truncated_from_bytes"] == 100_002

    run_room(scenario)


def test_following_shows_the_latest_events_then_each_new_one(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        await room.send("e0", "a")
        query = {"follow": "true", "type": "a", "limit": "1"}
        async with room.session.get(f"{room.base}/eventing", params=query) as answer:
            assert json.loads(await answer.content.readline())["id"] == "e0"
            for number in range(1, 4):
                await room.send(f"other{number}", "b")
                await room.send(f"e{number}", "a")
                assert json.loads(await answer.content.readline())["id"] == f"e{number}"
            await room.eventing.close()
            assert await answer.content.readline() == b""

    run_room(scenario)


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A room in a thread, with one event that was answered by a reply and one that was never wanted."""
    started, stop, base = threading.Event(), threading.Event(), []

    async def main() -> None:
        async with room(tmp_path) as opened:
            await opened.broker(delivery={"retry": 1, "backoffDelay": "PT0.01S"})
            answers = iter([web.Response(status=503, text="not yet"), web.Response(headers=binary("r1", "reply"))])
            opened.receiver.answers["one"] = lambda _: next(answers)
            await opened.trigger("ask", "one", filter={"attributes": {"type": "t"}})
            await opened.send("e1", subject="runs/7")
            await opened.settled("e1")
            base.append(opened.base)
            started.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert started.wait(20)
    monkeypatch.setattr("zeroflow.cli.events.host_url", lambda: base[0])
    yield
    stop.set()
    thread.join()


def invoke(*arguments: str) -> Any:
    from zeroflow.cli.events import app

    return CliRunner().invoke(app, list(arguments))


def test_the_command_lists_events(running: None) -> None:
    result = invoke()
    assert result.exit_code == 0
    header, first, second = result.stdout.splitlines()[:3]
    assert header.split() == ["ACCEPTED", "TYPE", "SUBJECT", "ID", "DELIVERIES"]
    assert first.split()[1:] == ["t", "runs/7", "e1", "1", "done"]
    assert second.split()[1:] == ["reply", "-", "r1", "none"]
    as_json = json.loads(invoke("-o", "json", "--type", "reply").stdout)
    assert [event["id"] for event in as_json] == ["r1"]


def test_the_command_tells_the_story_of_an_event(running: None) -> None:
    text = invoke("show", "e1").stdout
    assert "trigger default/ask: done" in text
    assert "answered 503: not yet" in text
    assert "answered 200, replied reply r1" in text
    assert "reply to  t  e1  by trigger/default/ask" in invoke("show", "r1").stdout
    assert "no trigger matched" in invoke("show", "r1").stdout


def test_the_command_fails_in_one_line(running: None, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = invoke("show", "nothing")
    assert missing.exit_code == 1
    assert missing.stderr.strip() == "zeroflow: the event log holds no event 'nothing'"
    assert invoke("-o", "yaml").exit_code == 2
    monkeypatch.setattr("zeroflow.cli.events.host_url", lambda: "http://127.0.0.1:1")
    down = invoke()
    assert down.exit_code == 1
    assert len(down.stderr.strip().splitlines()) == 1
