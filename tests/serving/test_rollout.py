"""Traffic moves to the latest revision in steps, and revisions that nobody needs are deleted."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from zeroflow.knative.local.serving.garbage import Retention, doomed
from zeroflow.knative.local.serving.rollout import Rollout

ROLLOUT = "serving.knative.dev/rollout-duration"


@pytest.mark.parametrize(
    ("duration_s", "shares"),
    [
        (4, {0: 1, 0.9: 1, 1: 26, 2: 51, 3: 76, 4: 100, 60: 100}),  # the example of Knative's documentation
        (380, {0: 1, 3: 1, 3.84: 2, 190: 50, 380: 100}),
        (1, {0: 1, 1: 100}),
    ],
)
def test_a_rollout_begins_with_one_percent_and_goes_on_in_equal_steps(duration_s, shares):
    rollout = Rollout("new", (("old", 100),), 1000.0, duration_s)
    assert {after: rollout.share(1000.0 + after) for after in shares} == shares


def test_a_clock_that_jumps_back_leaves_the_first_step():
    assert Rollout("new", (("old", 100),), 1000.0, 10).split(100, 500.0) == [("old", 99), ("new", 1)]


def test_the_oldest_revision_gives_first_and_the_percents_always_sum_up():
    rollout = Rollout("c", (("a", 60), ("b", 40)), 0.0, 4)
    assert rollout.split(100, 0.0) == [("a", 59), ("b", 40), ("c", 1)]
    assert rollout.split(100, 1.0) == [("a", 34), ("b", 40), ("c", 26)]
    assert rollout.split(100, 3.0) == [("b", 24), ("c", 76)]
    assert rollout.split(20, 4.0) == [("c", 20)]
    for percent in range(1, 101):
        for second in range(6):
            assert sum(share for _, share in rollout.split(percent, second)) == percent


def test_requests_follow_a_rollout_to_its_end(run):
    async def scenario(world):
        await world.apply(env={"VERSION": "1"})
        service = world.store.get("Service.serving.knative.dev", "default", "hello")
        service["metadata"]["annotations"][ROLLOUT] = "2s"
        await world.store.update(service)
        await world.apply(env={"VERSION": "2"}, wait=False)
        await world.until(lambda: len(traffic(world)) == 2)
        assert traffic(world) == [("hello-00001", 99, True), ("hello-00002", 1, True)]
        await world.until(lambda: traffic(world) == [("hello-00001", 49, True), ("hello-00002", 51, True)])
        seen = [version["version"] for _, version, _ in await asyncio.gather(*(world.call() for _ in range(100)))]
        assert 20 <= seen.count("2") <= 80
        await world.until(lambda: traffic(world) == [("hello-00002", 100, True)])
        route = world.get("Route", "hello")
        await world.until(
            lambda: "serving.knative.dev/rollout" not in world.get("Route", "hello")["metadata"]["annotations"]
        )
        assert route["spec"]["traffic"][0]["percent"] == 100

    def traffic(world):
        return [
            (target["revisionName"], target["percent"], target["latestRevision"])
            for target in world.get("Service", "hello")["status"]["traffic"]
        ]

    run(scenario)


NOW = datetime(2026, 3, 1, tzinfo=UTC)


def revision(number, *, created_h, active_h, state="reserve", **annotations):
    def ago(hours):
        return (NOW - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")

    meta = {"name": f"r{number}", "creationTimestamp": ago(created_h)}
    meta["labels"] = {"serving.knative.dev/routingState": state}
    meta["annotations"] = {"serving.knative.dev/routingStateModified": ago(active_h)} | annotations
    return {"metadata": meta}


def test_old_revisions_go_when_there_are_more_than_the_least():
    revisions = [revision(number, created_h=100, active_h=90 - number) for number in range(30)]
    assert doomed(revisions, "r0", Retention(), NOW) == [f"r{number}" for number in range(1, 10)]
    young = [revision(number, created_h=47, active_h=40) for number in range(30)]
    assert doomed(young, None, Retention(), NOW) == []
    recent = [revision(number, created_h=100, active_h=14) for number in range(30)]
    assert doomed(recent, None, Retention(), NOW) == []
    assert len(doomed(recent, None, Retention(keep_most=25), NOW)) == 5


def test_routed_latest_and_marked_revisions_stay():
    one = [
        revision(1, created_h=100, active_h=90, state="active"),
        revision(2, created_h=100, active_h=90, **{"serving.knative.dev/no-gc": "true"}),
        revision(3, created_h=100, active_h=90),
        revision(4, created_h=100, active_h=90, state="pending"),
        revision(5, created_h=100, active_h=90),
    ]
    assert doomed(one, "r3", Retention(keep_least=0), NOW) == ["r5"]


def test_a_service_forgets_revisions_beyond_the_most(run):
    async def scenario(world):
        for version in range(4):
            await world.apply(env={"VERSION": str(version)})
        names = lambda: [r["metadata"]["name"] for r in world.store.list("Revision.serving.knative.dev", "default")]  # noqa: E731
        await world.until(lambda: names() == ["hello-00003", "hello-00004"])
        assert (await world.call())[1]["version"] == "3"

    run(scenario, retention=Retention(keep_least=1, keep_most=1))
