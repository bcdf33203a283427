"""Fixtures of the eventing tests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from eventing.rooms import Room, room

Scenario = Callable[[Room], Awaitable[None]]


@pytest.fixture
def run_room(tmp_path: Path) -> Callable[..., None]:
    """Run a scenario (an async function of a Room) in a room of its own; options are those of `rooms.room`."""

    def run(scenario: Scenario, **options: Any) -> None:
        async def main() -> None:
            async with asyncio.timeout(60), room(tmp_path, **options) as opened:
                await scenario(opened)

        asyncio.run(main())

    return run
