"""Requests through the activator: waking, waiting, streaming, limits, deaths."""

import asyncio
import io
import os
import re
import signal
import time
from pathlib import Path

import aiohttp
import pytest

from zeroflow.knative.local.api.errors import BadRequest
from zeroflow.knative.local.processes.runtimes import Runtime


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it ends while it is looked at
        return False


def children(pid):
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def test_a_sleeping_function_answers_and_falls_asleep_again(run):
    async def scenario(world):
        await world.apply()
        await world.asleep()
        assert world.condition("Revision", "hello-00001", "Active")["reason"] == "NoTraffic"
        assert world.condition("Service", "hello", "Ready")["status"] == "True"
        started = time.perf_counter()
        status, body, _ = await world.call()
        assert status == 200
        assert time.perf_counter() - started < 2.0  # 0.02 s when nothing else runs here
        await world.asleep()
        assert not alive(body["pid"])

    run(scenario, window_s=0.3)


def test_the_next_process_is_loaded_before_the_last_one_goes(run, worlds):
    """A runtime of which one process serves has its modules loaded anew by each process."""
    alone = {"test": Runtime(worlds.PRELOADED, alone=True)}

    async def scenario(world):
        await world.apply()
        await world.asleep()
        parent = world.launcher.parents()["test"]
        for _ in range(3):
            (spare,) = children(parent)
            assert (await world.call())[1]["pid"] == spare, "what was loaded while the last one ended"
            await world.until(lambda spare=spare: len(children(parent) - {spare}) == 1)
            assert alive(spare), "the next one is there while this one has not gone"
            await world.asleep()

    run(scenario, window_s=0.3, runtimes=alone)


def test_no_request_is_lost_while_a_function_scales_to_zero_and_back(run):
    async def scenario(world):
        await world.apply()
        statuses, pids = [], set()

        async def client(number):
            for turn in range(10):
                status, body, _ = await world.call(method="POST", data=b"x" * number)
                statuses.append(status)
                pids.add(body["pid"])
                await asyncio.sleep(0.02 * ((number + turn) % 12))

        for _ in range(3):
            await asyncio.gather(*(client(number) for number in range(16)))
            await world.asleep()
        assert statuses == [200] * (16 * 10 * 3)
        assert len(pids) >= 3

    run(scenario, window_s=0.15)


def test_a_hundred_first_requests_are_all_answered(run):
    async def scenario(world):
        await world.apply()
        await world.asleep()
        answers = await asyncio.gather(*(world.call() for _ in range(100)))
        assert [status for status, _, _ in answers] == [200] * 100

    run(scenario, window_s=0.3)


def test_concurrency_of_one_is_kept_and_more_instances_come(run):
    async def scenario(world):
        await world.apply(spec={"containerConcurrency": 1}, annotations={"autoscaling.knative.dev/max-scale": "4"})
        most = 0

        async def watch():
            nonlocal most
            while True:
                most = max(most, *(pod.in_flight for pool in world.serving.pools().values() for pod in pool.pods), 0)
                await asyncio.sleep(0.005)

        watcher = asyncio.ensure_future(watch())
        answers = await asyncio.gather(*(world.call("/slow?0.1") for _ in range(24)))
        watcher.cancel()
        assert [status for status, _, _ in answers] == [200] * 24
        assert most == 1
        assert 2 <= len({body["pid"] for _, body, _ in answers}) <= 4

    run(scenario)


def test_load_brings_instances_and_its_end_takes_them_away(run):
    async def scenario(world):
        await world.apply(annotations={"autoscaling.knative.dev/target": "2"}, threads=2)
        requests = [asyncio.ensure_future(world.call("/slow?0.4")) for _ in range(12)]
        await world.until(lambda: world.get("Revision", "hello-00001")["status"].get("actualReplicas", 0) >= 3)
        assert [status for status, _, _ in await asyncio.gather(*requests)] == [200] * 12
        await world.asleep()

    run(scenario, window_s=0.5)


def test_an_instance_in_the_middle_of_a_request_finishes_it_before_it_is_told_to_end(run):
    async def scenario(world):
        await world.apply(runtime=None, command=["python", "-m", "abrupt"])
        first = asyncio.ensure_future(world.call("/slow"))
        await world.until(lambda: any(p.in_flight for pool in world.serving.pools().values() for p in pool.pods))
        await world.store.delete("Pod", "default", world.pods()[0]["metadata"]["name"])
        await world.until(lambda: any(p.draining for pool in world.serving.pools().values() for p in pool.pods))
        status, second, _ = await world.call()
        assert status == 200
        assert not first.done()
        status, pid, _ = await first
        assert status == 200
        assert pid != second
        await world.until(lambda: not alive(int(pid)))

    run(scenario)


def test_an_instance_that_is_killed_is_replaced_at_the_next_request(run):
    async def scenario(world):
        await world.apply()
        for _ in range(2):
            pid = (await world.call())[1]["pid"]
            os.killpg(pid, signal.SIGKILL)
            status, body, _ = await world.call()
            assert status == 200
            assert body["pid"] != pid

    run(scenario)


def test_an_instance_that_dies_in_a_request_is_answered_for_with_502(run):
    async def scenario(world):
        await world.apply()
        status, body, _ = await world.call("/die", method="POST")
        assert (status, "closed the connection" in body) == (502, True)
        assert (await world.call())[0] == 200

    run(scenario)


def test_instances_die_with_a_killed_fork_server_and_come_back_from_a_new_one(run):
    async def scenario(world):
        await world.apply()
        pid = (await world.call())[1]["pid"]
        parent = world.launcher.parents()["test"]
        os.kill(parent, signal.SIGKILL)
        await world.until(lambda: not alive(pid))
        assert (await world.call())[0] == 200
        assert world.launcher.parents()["test"] != parent

    run(scenario)


def test_instances_that_are_killed_at_work_again_and_again_are_replaced_without_a_refusal(run):
    async def scenario(world):
        await world.apply()
        for _ in range(6):
            status, answer, _ = await world.call()
            assert status == 200
            killed = {pod["metadata"]["name"] for pod in world.pods()}
            os.kill(answer["pid"], signal.SIGKILL)
            await world.until(lambda names=killed: not names & {pod["metadata"]["name"] for pod in world.pods()})
        assert (await world.call())[0] == 200
        assert world.condition("Service", "hello", "Ready")["status"] == "True"

    run(scenario)


def test_a_crash_loop_is_told_instead_of_waited_for(run, tmp_path):
    async def scenario(world):
        gate = tmp_path / "gate"
        gate.touch()
        command = ["sh", "-c", f"test -e {gate} && exec gunicorn hello:application; echo closed; exit 9"]
        await world.apply(runtime=None, command=command, container={"args": []})
        await world.asleep()
        gate.unlink()
        status, body, headers = await world.call()
        assert (status, headers["Retry-After"]) == (503, "1")
        assert "ExitCode9: Container failed with: closed" in body
        await world.until(
            lambda: world.condition("Revision", "hello-00001", "ContainerHealthy").get("reason") == "ExitCode9"
        )
        gate.touch()
        await world.until(lambda: True)
        deadline = time.monotonic() + 10
        while (await world.call())[0] != 200:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        await world.until(lambda: world.condition("Service", "hello", "Ready")["status"] == "True")

    run(scenario, window_s=0.5)


def test_a_plain_command_is_given_a_port_and_polled(run):
    async def scenario(world):
        await world.apply(runtime=None, command=["python", "-m", "http.server", "--bind", "127.0.0.1", "$(PORT)"])
        status, body, _ = await world.call("/")
        assert status == 200
        assert "Directory listing" in body

    run(scenario)


def test_a_function_that_never_becomes_ready_exceeds_the_deadline(run, worlds):
    async def scenario(world):
        probe = {"httpGet": {"path": "/health/readiness"}}
        await world.apply(env={"NEVER_READY": "1"}, container={"readinessProbe": probe}, wait=False)
        await world.until(lambda: world.condition("Service", "hello", "Ready")["status"] == "False")
        condition = world.condition("Revision", "hello-00001", "ResourcesAvailable")
        assert condition["reason"] == "ProgressDeadlineExceeded"

    run(scenario, pace=worlds.Pace(tick_s=0.1, backoff_s=0.1, progress_deadline_s=0.4))


def test_a_command_that_listens_elsewhere_is_told_of_port_at_its_own_deadline(run):
    async def scenario(world):
        deadline = {"serving.knative.dev/progress-deadline": "4s"}
        command = ["python", "-m", "http.server", "--bind", "127.0.0.1", "0"]
        await world.apply(runtime=None, command=command, annotations=deadline, wait=False)
        await world.until(lambda: world.condition("Service", "hello", "Ready")["status"] == "False", 10)
        message = world.condition("Service", "hello", "Ready")["message"]
        assert re.search(r"it listens on port \d+, and neither on the port that PORT names", message)
        with pytest.raises(BadRequest, match="progress-deadline"):
            await world.apply(annotations={"serving.knative.dev/progress-deadline": "soon"}, wait=False)

    run(scenario)


def test_a_slow_request_is_answered_with_504_at_its_time_limit(run):
    async def scenario(world):
        await world.apply(spec={"timeoutSeconds": 1})
        status, body, _ = await world.call("/slow?5")
        assert (status, body) == (504, "activator request timeout")
        assert (await world.call())[0] == 200

    run(scenario)


def test_a_request_that_waits_too_long_is_answered_with_503(run):
    async def scenario(world):
        await world.apply(
            spec={"containerConcurrency": 1}, annotations={"autoscaling.knative.dev/max-scale": "1"}, threads=1
        )
        first = asyncio.ensure_future(world.call("/slow?0.6"))
        await world.until(lambda: any(p.in_flight for pool in world.serving.pools().values() for p in pool.pods))
        with pytest.raises(Exception, match="context deadline exceeded") as refused:
            await world.serving.activator.post("default", "hello", "/", {}, b"", 0.2)
        assert refused.value.status == 503
        assert (await first)[0] == 200

    run(scenario)


def test_an_answer_that_stalls_is_cut_off(run):
    async def scenario(world):
        await world.apply(spec={"idleTimeoutSeconds": 1, "timeoutSeconds": 20})
        with pytest.raises(aiohttp.ClientPayloadError):
            await world.call("/stall")

    run(scenario)


def test_server_sent_events_arrive_as_they_are_sent(run):
    async def scenario(world):
        await world.apply()
        times = []
        async with world.session.get(f"{world.url}/default/hello/stream?5") as response:
            assert response.headers["Content-Type"] == "text/event-stream"
            async for line in response.content:
                if line.strip():
                    times.append((time.perf_counter(), line))
        assert [line for _, line in times] == [b"data: %d\n" % number for number in range(5)]
        assert times[-1][0] - times[0][0] > 0.1

    run(scenario)


def test_large_and_chunked_bodies_pass_through(run):
    async def scenario(world):
        await world.apply()
        big = b"z" * 3_000_000
        assert (await world.call(method="PUT", data=io.BytesIO(big)))[1]["body"] == len(big)

        async def chunks():
            for _ in range(20):
                yield b"y" * 10_000

        status, body, _ = await world.call(method="POST", data=chunks())
        assert (status, body["body"]) == (200, 200_000)
        status, body, headers = await world.call(method="HEAD")
        assert (status, body) == (200, None)
        assert int(headers["Content-Length"]) > 0
        assert (await world.call())[0] == 200

    run(scenario)


def test_websockets_pass_through(run):
    async def scenario(world):
        await world.apply(runtime=None, command=["python", "-m", "echo_socket"])
        url, forged = f"{world.url}/default/hello/ws", {"Zeroflow-Caller": "ada"}
        async with world.session.ws_connect(url, protocols=["b", "a"], headers=forged) as socket:
            assert socket.protocol == "a"
            await socket.send_str("who")
            assert (await socket.receive()).data == "nobody"
            await socket.send_str("hi")
            assert (await socket.receive()).data == "echo hi"
            await socket.send_bytes(b"\x00\x01")
            assert (await socket.receive()).data == b"\x00\x01"
            await socket.send_str("close")
            assert (await socket.receive()).type == aiohttp.WSMsgType.CLOSE
            assert socket.close_code == 4000
        assert (await world.call("/not-a-socket"))[0] == 400

    run(scenario)


def test_post_from_inside_the_host_wakes_and_answers(run):
    async def scenario(world):
        await world.apply()
        await world.asleep()
        post = world.serving.activator.post
        answer = await post("default", "hello", "/events", {"ce-id": "1", "Content-Type": "text/plain"}, b"data", 10.0)
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert b'"body": "data"' in answer.body
        assert b'"ce_id": "1"' in answer.body
        with pytest.raises(Exception, match="activator request timeout") as late:
            await post("default", "hello", "/slow?3", {}, b"", 0.3)
        assert late.value.status == 504
        with pytest.raises(Exception, match="no Service 'nobody'"):
            await post("default", "nobody", "/", {}, b"", 1.0)

    run(scenario, window_s=0.3)


def test_a_liveness_probe_that_fails_replaces_the_instance(run):
    async def scenario(world):
        probe = {"httpGet": {"path": "/missing"}, "periodSeconds": 1, "failureThreshold": 1}
        await world.apply(container={"livenessProbe": probe})
        pid = (await world.call())[1]["pid"]
        await world.until(lambda: not alive(pid))
        assert (await world.call())[0] == 200

    run(scenario)
