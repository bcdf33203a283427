"""A DAG with very many tasks that wait for nothing: what it costs to submit, and how many of them run side by side."""

import cProfile
import pstats

import pytest
from sqlalchemy import event

from pipelines.harness import Platform, fails, finished, pipeline, task
from zeroflow.errors import InvalidInput
from zeroflow.functions.pipeline import places
from zeroflow.functions.pipeline.advance import REFILL
from zeroflow.functions.pipeline.handler import create_app

PLACES = 48
WIDE = PLACES + 50


@pytest.fixture
def few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let as few tasks run side by side as a test has time for."""
    monkeypatch.setenv(places.PLACES, str(PLACES))


small = pytest.mark.usefixtures("few_places")


def wide(count: int, **more: dict) -> dict:
    return pipeline({**{f"leaf{n}": task("leaf") for n in range(count)}, **more})


def joined(count: int) -> dict:
    return wide(count, join=task("join", tuple(f"leaf{n}" for n in range(count))))


def operations(platform: Platform, count: int) -> tuple[int, int]:
    """Submit so many tasks; return how many functions were called and how many statements executed."""
    statements = []
    engine = platform.app.extensions["zeroflow"].database.engine
    event.listen(engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    profile = cProfile.Profile()
    profile.enable()
    platform.submit(wide(count))
    profile.disable()
    return pstats.Stats(profile).total_calls, len(statements)


def test_what_a_submission_costs_grows_with_its_tasks_and_no_faster(local: Platform) -> None:
    platform = local
    platform.submit(wide(10))  # what is done once
    few, statements = operations(platform, 300)
    many, more_statements = operations(platform, 3000)
    assert many < 10 * few  # both ask for as many steps; the rest is by task
    # rows are written in batches, and what waits for a place asks the database for nothing
    assert more_statements < statements + 100
    asked = [found for found in platform.broker.events if found["type"].endswith("task.requested")]
    assert len(asked) == 10 + 2 * places.from_environment()


def running(platform: Platform, run_id: str) -> int:
    return list(platform.states(run_id).values()).count("RUNNING")


@small
def test_as_many_tasks_as_fit_run_side_by_side_and_all_of_them_in_the_end(platform: Platform) -> None:
    run_id, most = platform.submit(joined(WIDE)), 0

    def look() -> bool:
        nonlocal most
        if len(platform.requested) % 16 == 0:
            most = max(most, running(platform, run_id))
        return False

    platform.drain(look)
    assert PLACES - PLACES // REFILL < most <= PLACES
    assert platform.get(f"/runs/{run_id}")["state"] == "SUCCEEDED"
    names = [request["data"]["task_name"] for request in platform.requested]
    assert len(names) == len(set(names)) == WIDE + 1
    assert names[-1] == "join"


@small
def test_a_run_goes_on_when_there_are_more_places_than_there_were(
    local: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = local.submit(joined(WIDE))
    monkeypatch.setenv(places.PLACES, str(10 * PLACES))
    local.app = create_app(local.settings)
    local.drain()
    assert local.get(f"/runs/{run_id}")["state"] == "SUCCEEDED"


@pytest.mark.parametrize("told", ["0", "-1", "many", "1.5", ""])
def test_places_are_a_whole_number(told: str) -> None:
    with pytest.raises(InvalidInput, match="ZEROFLOW_SCOPE_PLACES must be a whole number"):
        places.from_environment({places.PLACES: told})


@small
def test_what_waits_for_a_place_is_skipped_when_another_fails(local: Platform) -> None:
    run_id = local.submit(joined(WIDE))
    first, *others = [found for found in local.broker.events if found["type"].endswith("task.requested")]
    local.broker.events.clear()
    local.deliver(finished(first, **fails("E: no")))
    for request in others:
        local.deliver(finished(request))
    states = list(local.states(run_id).values())
    assert (states.count("SUCCEEDED"), states.count("SKIPPED")) == (PLACES - 1, WIDE - PLACES + 1)
    assert local.get(f"/runs/{run_id}")["state"] == "FAILED"
    assert local.post(f"/runs/{run_id}:retry").status_code == 200
    assert running(local, run_id) == PLACES
    local.drain()
    assert local.get(f"/runs/{run_id}")["state"] == "SUCCEEDED"


@small
def test_what_needs_no_place_leaves_it_to_others(local: Platform) -> None:
    spec = joined(WIDE)
    for name, one in spec["root"]["dag"]["tasks"].items():
        one["cachingOptions"] = {"enableCache": name != "leaf7"}
    assert local.run(spec)["state"] == "SUCCEEDED"
    ran = len(local.requested)
    assert local.run(spec)["state"] == "SUCCEEDED"
    assert [request["data"]["task_name"] for request in local.requested[ran:]] == ["leaf7"]


@small
def test_scopes_below_a_scope_take_places_of_it_and_have_their_own(local: Platform) -> None:
    inner = {"dag": {"tasks": {"one": task("one"), "two": task("two", ("one",))}}}
    components = {"inner": inner, "one": pipeline({"one": task("one")})["components"]["comp-one"]}
    components["two"] = pipeline({"two": task("two")})["components"]["comp-two"]
    spec = pipeline({f"inner{n}": task("inner") for n in range(PLACES + 40)}, components)
    run_id = local.submit(spec)
    assert len([1 for found in local.broker.events if found["type"].endswith("task.requested")]) == PLACES
    local.drain()
    assert local.get(f"/runs/{run_id}")["state"] == "SUCCEEDED"
    assert len(local.requested) == 2 * (PLACES + 40)
