"""A host that stops while instances are starting: it waits for nothing that nobody needs any more."""

import asyncio
import time

import pytest

from zeroflow.knative.local.processes.runtimes import Runtime

LOADING_S = 60.0


@pytest.fixture
def loading(tmp_path, monkeypatch):
    """A runtime whose parent takes a minute to load."""
    (tmp_path / "takes_a_minute.py").write_text(f"import time\n\ntime.sleep({LOADING_S})\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return {"test": Runtime(("takes_a_minute",))}


def test_who_waits_for_an_instance_is_told_and_what_was_not_tried_is_left(run, loading):
    async def scenario(world):
        await world.apply(wait=False)
        waiting = asyncio.ensure_future(world.call())
        posting = asyncio.ensure_future(world.serving.activator.post("default", "hello", "/", {}, b"", 60.0))
        await world.until(lambda: any(pool.starting for pool in world.serving.pools().values()))
        await world.until(lambda: world.serving.pools()["default", "hello-00001"].present)
        await world.serving.stop()
        status, body, _ = await waiting
        assert (status, body) == (503, "the host is stopping")
        with pytest.raises(asyncio.CancelledError):
            await posting
        began = time.monotonic()
        await world.serving.close(30.0)
        assert time.monotonic() - began < LOADING_S / 4

    run(scenario, runtimes=loading)
