"""Instances and fork servers that somebody kills: requests wait for others, only failed starts are refused."""

import asyncio
import os
import signal
from operator import lt

import pytest

KILLS = 6
STAYS = {"autoscaling.knative.dev/min-scale": "1"}


async def fresh(world, before=None):
    """Return the pid of a ready instance that is not `before`."""

    def ready():
        return [pod.pid for pool in world.serving.pools().values() for pod in pool.pods if pod.ready and pod.pid]

    await world.until(lambda: any(pid != before for pid in ready()))
    return next(pid for pid in ready() if pid != before)


async def healthy(world, killed=None):
    await fresh(world, killed)
    assert (await world.call())[0] == 200
    assert world.condition("Revision", "hello-00001", "ContainerHealthy")["status"] == "True"
    await world.ready()


@pytest.mark.parametrize(
    ("runtime", "command"),
    [
        ("test", None),
        (None, ["python", "-m", "http.server", "--bind", "127.0.0.1", "$(PORT)"]),
        (None, ["sh", "-c", "python -m http.server --bind 127.0.0.1 $PORT; exit $?"]),
    ],
    ids=["function", "command", "shell"],
)
def test_instances_that_are_killed_before_they_have_answered_are_no_failed_starts(run, runtime, command):
    async def scenario(world):
        await world.apply(annotations=STAYS, runtime=runtime, command=command)
        pid = None
        for _ in range(KILLS):
            pid = await fresh(world, pid)
            victim = pid
            if command and command[0] == "sh":  # the server, not its shell
                with open(f"/proc/{pid}/task/{pid}/children") as children:
                    victim = int(children.read().split()[0])
            os.kill(victim, signal.SIGKILL)
        await healthy(world, pid)

    run(scenario)


def test_every_request_is_answered_while_instances_are_killed(run):
    async def scenario(world):
        await world.apply()
        statuses, over = [[] for _ in range(8)], asyncio.Event()

        async def load(answered):
            while not over.is_set():  # HEAD: a kill between head and body of an answer is nobody's to repair
                async with world.session.head(f"{world.url}/default/hello/slow?0.02") as answer:
                    answered.append(answer.status)

        loads = [asyncio.create_task(load(answered)) for answered in statuses]
        pid = None
        for _ in range(KILLS):
            pid = await fresh(world, pid)
            before = [len(answered) for answered in statuses]
            # Each client has had an answer: a request that two kills have broken off is not asked a third time.
            await world.until(lambda before=before: all(map(lt, before, map(len, statuses))))
            os.kill(pid, signal.SIGKILL)
        await fresh(world, pid)
        over.set()
        await asyncio.gather(*loads)
        assert {status for answered in statuses for status in answered} == {200}
        await healthy(world)

    run(scenario)


def test_killed_fork_servers_are_no_failed_starts(run):
    async def scenario(world):
        await world.apply(annotations=STAYS)
        pid = None
        for _ in range(KILLS):
            pid = await fresh(world, pid)
            os.kill(world.launcher.parents()["test"], signal.SIGKILL)
        await healthy(world, pid)

    run(scenario)


def test_fork_servers_that_are_killed_while_they_load_are_no_failed_starts(run):
    async def scenario(world):
        await world.apply()
        os.kill(world.launcher.parents()["test"], signal.SIGKILL)
        await world.asleep()
        call, parent = asyncio.create_task(world.call()), None
        for _ in range(KILLS):
            await world.until(lambda before=parent: world.launcher.parents().get("test", before) != before)
            parent = world.launcher.parents()["test"]
            assert not world.launcher.warm("test")
            os.kill(parent, signal.SIGKILL)
        assert (await call)[0] == 200
        await healthy(world)

    run(scenario)


@pytest.mark.parametrize("blow", ["kill -KILL $$$$", "kill -SEGV $$$$", "exit 9"])
def test_a_program_that_does_not_come_up_is_told_and_waits_longer_each_time(run, tmp_path, blow):
    async def scenario(world):
        starts = tmp_path / "starts"
        command = ["sh", "-c", f"echo >> {starts}; {blow}"]
        await world.apply(runtime=None, command=command, wait=False)
        await world.until(lambda: world.condition("Revision", "hello-00001", "ContainerHealthy")["status"] == "False")
        await world.until(lambda: len(starts.read_text()) >= 4)
        status, body, headers = await world.call()
        assert (status, headers["Retry-After"]) == (503, "1")
        assert "Container failed with" in body
        pool = next(iter(world.serving.pools().values()))
        await world.until(lambda: pool.blocked)

    run(scenario)


def test_a_program_that_ends_itself_once_it_is_ready_is_a_crash_loop(run):
    async def scenario(world):
        server = "import os, http.server as s; h = s.HTTPServer(('127.0.0.1', int(os.environ['PORT'])), None); "
        command = ["python", "-c", server + "h.handle_request(); os._exit(4)"]  # the probe is all that it serves
        await world.apply(runtime=None, command=command, annotations=STAYS, wait=False)
        await world.until(lambda: world.condition("Revision", "hello-00001", "ContainerHealthy")["status"] == "False")
        assert world.condition("Revision", "hello-00001", "ContainerHealthy")["reason"] == "ExitCode4"

    run(scenario)
