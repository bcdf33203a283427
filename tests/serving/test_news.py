"""What `kubectl describe` tells about instances; who leaves gives up its place; requests wait for what is declared."""

import asyncio

import aiohttp
import pytest

from zeroflow.knative.local.serving.scaling import settings_of


def reasons(world, kind):
    return [
        event["reason"] for event in world.store.list("Event", "default") if event["involvedObject"]["kind"] == kind
    ]


def test_pods_and_revisions_tell_what_happened_to_them(run):
    async def scenario(world):
        await world.apply(env={"VERSION": "1"})
        await world.until(lambda: "Started" in reasons(world, "Pod"))
        pod = world.pods()[0]
        told = [e for e in world.store.list("Event", "default") if e["involvedObject"]["uid"] == pod["metadata"]["uid"]]
        assert [event["message"] for event in told] == ["Started container user-container"]
        assert "RevisionReady" in reasons(world, "Revision")
        assert "Created" in reasons(world, "Service")
        await world.store.delete("Pod", "default", pod["metadata"]["name"])
        await world.until(lambda: "Killing" in reasons(world, "Pod"))

    run(scenario)


def test_a_failing_instance_is_a_warning_that_counts(run):
    async def scenario(world):
        await world.apply(command=["false"], runtime=None, wait=False)
        await world.until(lambda: "Failed" in reasons(world, "Pod"))
        await world.until(lambda: "ExitCode1" in reasons(world, "Revision"))
        failed = next(event for event in world.store.list("Event", "default") if event["reason"] == "ExitCode1")
        assert (failed["type"], failed["message"]) == (
            "Warning",
            "Container failed with: exit code 1 and an empty log",
        )

    run(scenario)


def test_a_client_that_leaves_while_it_waits_gives_up_its_place(run):
    async def scenario(world):
        await world.apply(spec={"containerConcurrency": 1}, annotations={"autoscaling.knative.dev/max-scale": "1"})
        pool = world.serving.pools()["default", "hello-00001"]
        slow = asyncio.create_task(world.call("/slow?1"))
        await world.until(lambda: pool._scaler.load == 1)
        with pytest.raises(TimeoutError):
            await world.call("/", timeout=aiohttp.ClientTimeout(total=0.1))
        await world.until(lambda: pool._scaler.load == 1, 0.8)
        assert pool._line.length == 0
        assert (await slow)[0] == 200
        await world.until(lambda: pool._scaler.load == 0)

    run(scenario)


def test_a_request_for_a_tag_that_is_being_added_waits_for_it(run):
    async def scenario(world):
        await world.apply(env={"VERSION": "1"})
        tagged = [{"revisionName": "hello-00001", "percent": 100, "tag": "blue"}]
        await world.apply(env={"VERSION": "1"}, traffic=tagged, wait=False)
        assert (await world.call(name="blue-hello"))[0] == 200
        assert (await world.call(name="green-hello"))[0] == 404

    run(scenario)


def test_a_request_right_after_the_creation_of_a_service_waits_for_it(run):
    async def scenario(world):
        await world.apply(wait=False)
        assert (await world.call())[0] == 200

    run(scenario)


def test_requests_per_second_have_a_target_of_their_own():
    rps = settings_of({"autoscaling.knative.dev/metric": "rps"}, 0)
    assert (rps.metric, rps.target) == ("rps", pytest.approx(140.0))  # 200 by config-autoscaler, 70 % utilisation
    given = {"autoscaling.knative.dev/metric": "rps", "autoscaling.knative.dev/target": "10"}
    assert settings_of(given, 5).target == pytest.approx(7.0)
    assert settings_of({"autoscaling.knative.dev/target": "10"}, 5).target == pytest.approx(3.5)


def test_requests_per_second_scale_a_revision_up(run):
    async def scenario(world):
        await world.apply(annotations={"autoscaling.knative.dev/metric": "rps", "autoscaling.knative.dev/target": "10"})
        pool = world.serving.pools()["default", "hello-00001"]

        async def busy():
            while pool.ready < 3:
                await world.call()

        await asyncio.wait_for(busy(), 20)

    run(scenario)
