"""An event of the log goes to its broker once more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from eventing.rooms import Room

Run = Callable[..., None]


async def replay(room: Room, **query: str) -> tuple[int, Any]:
    async with room.session.post(f"{room.base}/eventing", params=query) as answer:
        return answer.status, await answer.json()


def test_an_event_is_delivered_again_under_its_id_to_whoever_wants_it_now(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        await room.trigger("t", "one")
        await room.send("e1", "a.b", subject="s")
        await room.receiver.count("one", 1)
        await room.trigger("later", "two")
        status, said = await replay(room, id="e1")
        assert (status, said["id"], sorted(said["triggers"])) == (202, "e1", ["later", "t"])
        first, second = await room.receiver.count("one", 2)
        (third,) = await room.receiver.count("two", 1)
        assert first.id == second.id == third.id == "e1"
        assert third.headers["ce-subject"] == "s"
        status, said = await replay(room, id="e1", trigger="later")
        assert said["triggers"] == ["later"]
        await room.receiver.count("two", 2)
        assert len(room.receiver.of("one")) == 2

    run_room(scenario)


def test_a_fresh_replay_has_an_id_of_its_own_and_names_the_old_one(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        await room.trigger("t", "one")
        await room.send("e1", "a.b")
        await room.receiver.count("one", 1)
        status, said = await replay(room, id="e1", fresh="true")
        assert (status, said["id"] != "e1") == (202, True)
        _, second = await room.receiver.count("one", 2)
        assert (second.id, second.headers["ce-replayof"]) == (said["id"], "e1")

    run_room(scenario)


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ({"id": "nothing"}, 404, "holds no event"),
        ({"id": "e1", "trigger": "other"}, 404, "no trigger 'other'"),
    ],
    ids=str,
)
def test_what_cannot_be_replayed_is_refused(run_room: Run, query: dict[str, str], status: int, said: str) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        await room.send("e1", "a.b")
        answered, problem = await replay(room, **query)
        assert (answered, said in problem["error"]) == (status, True)

    run_room(scenario)


def test_the_platforms_own_events_need_its_token(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        event = {"specversion": "1.0", "id": "p1", "source": "/x", "type": "dev.zeroflow.run.requested"}
        await room.eventing.publish("default", "default", event)
        assert (await replay(room, id="p1"))[0] == 403

    run_room(scenario)


def test_the_command_says_who_gets_the_event(run_room: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from zeroflow.cli.events import app

    async def scenario(room: Room) -> None:
        await room.broker()
        await room.trigger("t", "one")
        await room.send("e1", "a.b")
        await room.receiver.count("one", 1)
        monkeypatch.setenv("ZEROFLOW_URL", room.base)
        result = await asyncio.to_thread(CliRunner().invoke, app, ["replay", "e1"])
        assert (result.exit_code, "to t" in result.output) == (0, True), result.output
        refused = await asyncio.to_thread(CliRunner().invoke, app, ["replay", "nothing"])
        assert (refused.exit_code, "holds no event" in refused.output) == (1, True)

    run_room(scenario)
