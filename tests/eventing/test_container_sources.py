"""A ContainerSource's program runs, knows where its events go, is started again, and ends with its source."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from eventing.rooms import Room, broker_ref
from zeroflow.images import Images
from zeroflow.knative.local.api.errors import BadRequest
from zeroflow.knative.local.api.happenings import Recorder
from zeroflow.knative.local.eventing.container_source import CONTAINER_SOURCE, ContainerSources
from zeroflow.knative.local.eventing.destinations import Resolver
from zeroflow.knative.local.processes.launcher import Launcher
from zeroflow.knative.local.processes.pods import PodContext
from zeroflow.knative.local.urls import Urls

Run = Callable[..., None]
SENDS = """
import json, os, time, urllib.request
extensions = json.loads(os.environ["K_CE_OVERRIDES"])["extensions"]
headers = {"ce-specversion": "1.0", "ce-type": "beat", "ce-source": "/program", "ce-id": str(os.getpid())}
headers |= {f"ce-{name}": value for name, value in extensions.items()}
urllib.request.urlopen(urllib.request.Request(os.environ["K_SINK"], b"{}", headers), timeout=10)
print("sent", flush=True)
time.sleep(600)
"""


def source(script: str = SENDS, **spec: Any) -> dict[str, Any]:
    container = {"name": "program", "image": "any", "command": [sys.executable, "-c", script]}
    return {
        "apiVersion": "sources.knative.dev/v1",
        "kind": "ContainerSource",
        "metadata": {"name": "beats", "namespace": "default"},
        "spec": {
            "template": {"spec": {"containers": [container]}},
            "sink": {"ref": broker_ref()},
            "ceOverrides": {"extensions": {"place": "here"}},
        }
        | spec,
    }


@asynccontextmanager
async def programs(room: Room) -> AsyncIterator[Launcher]:
    launcher = Launcher()
    context = PodContext(
        room.store, room.store.find, launcher, room.home, Recorder(room.store, "t"), Images(room.home.root)
    )
    resolver = Resolver(room.store, Urls(int(room.base.rsplit(":", 1)[1])), allow_loopback=False)
    sources = ContainerSources(room.store, context, resolver, backoff_s=(0.05, 0.1))
    await sources.start()
    try:
        yield launcher
    finally:
        await sources.close()
        await launcher.close()


def pods(room: Room) -> list[dict[str, Any]]:
    return room.store.list("Pod", "default")


def test_a_program_sends_to_its_sink_and_is_started_again_when_it_dies(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        async with programs(room):
            await room.store.create(source())
            found = await room.condition(CONTAINER_SOURCE, "beats", "SinkBindingReady", "False")
            assert pods(room) == []
            assert {each["type"] for each in found["status"]["conditions"]} == {
                "ReceiveAdapterReady",
                "Ready",
                "SinkBindingReady",
            }
            await room.broker()
            await room.trigger("all", "all")
            made = await room.ready(CONTAINER_SOURCE, "beats")
            assert made["status"]["sinkUri"].endswith("/eventing/default/default")
            (first,) = await room.receiver.count("all", 1)
            assert first.headers["ce-place"] == "here"
            (pod,) = pods(room)
            assert pod["metadata"]["name"].startswith("beats-deployment-")
            assert pod["metadata"]["ownerReferences"][0]["kind"] == "ContainerSource"
            os.kill(int(first.id), signal.SIGKILL)
            second = (await room.receiver.count("all", 2))[1]
            assert second.id != first.id
            await room.store.delete(CONTAINER_SOURCE, "default", "beats")
            async with asyncio.timeout(10):
                while pods(room) or os.path.exists(f"/proc/{second.id}"):
                    await asyncio.sleep(0.01)

    run_room(scenario)


def test_a_changed_source_runs_anew_and_a_failing_one_says_why(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        async with programs(room):
            await room.broker()
            await room.store.create(source("raise SystemExit(7)"))
            found = await room.condition(CONTAINER_SOURCE, "beats", "ReceiveAdapterReady", "False")
            (told,) = [each for each in found["status"]["conditions"] if each["type"] == "ReceiveAdapterReady"]
            assert (told["reason"], "exit code 7" in told["message"]) == ("CrashLoopBackOff", True)
            await room.trigger("all", "all")
            live = room.store.get(CONTAINER_SOURCE, "default", "beats")
            live["spec"] = source()["spec"]
            await room.store.update(live)
            await room.receiver.count("all", 1)
            await room.ready(CONTAINER_SOURCE, "beats")

    run_room(scenario)


def test_the_program_ends_with_the_host(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        await room.trigger("all", "all")
        async with programs(room):
            await room.store.create(source())
            (got,) = await room.receiver.count("all", 1)
        assert not os.path.exists(f"/proc/{got.id}")
        async with programs(room):
            await room.receiver.count("all", 2)

    run_room(scenario)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"template": {"spec": {"containers": []}}}, "missing field(s): spec.containers"),
        ({"template": {"spec": {"containers": [{"name": "a"}]}}}, "missing field(s): spec.containers[0].image"),
        ({"sink": {}}, "spec.sink"),
        ({"ceOverrides": {"extensions": {"No": "x"}}}, "spec.ceOverrides.extensions"),
    ],
    ids=["containers", "image", "sink", "extensions"],
)
def test_what_cannot_work_is_refused(run_room: Run, spec: dict[str, Any], words: str) -> None:
    async def scenario(room: Room) -> None:
        with pytest.raises(BadRequest) as refused:
            await room.store.create(source(**spec))
        assert words in str(refused.value)
        assert json.dumps(spec)

    run_room(scenario)
