"""The machine as a Node."""

import asyncio
import os

from zeroflow.knative.local import node
from zeroflow.knative.local.api.store import Store


def test_the_node_says_what_processes_may_use(monkeypatch):
    monkeypatch.setattr(node, "_gpus", lambda: 2)
    status = node.status("v1.32.0")
    assert status["capacity"]["cpu"] == str(len(os.sched_getaffinity(0)))
    assert status["allocatable"]["nvidia.com/gpu"] == "2"
    assert status["capacity"]["memory"].endswith("Ki")
    assert int(status["capacity"]["memory"][:-2]) > 100_000


def test_no_gpu_is_no_entry(monkeypatch):
    monkeypatch.setattr(node, "_gpus", lambda: 0)
    assert "nvidia.com/gpu" not in node.status("v1.32.0")["capacity"]


def test_a_node_is_there_once_after_each_start(tmp_path):
    async def start():
        store = Store(tmp_path / "resources.sqlite")
        await node.register(store, "v1.32.0", 8080)
        found = store.list("Node")
        await store.close()
        return found

    for _ in range(2):
        (found,) = asyncio.run(start())
        assert found["metadata"]["name"] == "localhost"
        assert found["status"]["conditions"][0]["status"] == "True"
