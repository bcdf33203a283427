"""Runs a test's coroutine against a small host of its own."""

import asyncio
import importlib.util
from pathlib import Path

import pytest


def _load(name):
    spec = importlib.util.spec_from_file_location(f"serving_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def worlds():
    return _load("world")


@pytest.fixture
def run(worlds, tmp_path):
    """Run `scenario(world)` on a host with these settings."""

    def runner(scenario, **settings):
        async def main():
            async with worlds.world(tmp_path / "home", **settings) as world:
                return await asyncio.wait_for(scenario(world), 150)

        return asyncio.run(main())

    return runner
