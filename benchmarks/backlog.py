"""A backlog that drains in constant memory: 10,000, then 50,000, then 100,000 events wait for a subscriber that opens.

Run: `python -m benchmarks backlog`, or `python -m benchmarks.backlog EVENTS...` for other numbers.
Per number a new broker (as in `broker`: its room in a process of its own) takes all events while its subscriber answers
nothing; then the subscriber opens. Printed are events accepted and drained per second and the broker's memory: with
1,000 events waiting, with all of them waiting, and the most while they drain. The limit: what 100,000 need beyond
1,000, at most 32 MiB.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from typing import Any

import aiohttp

from benchmarks import broker

NUMBERS = (10_000, 50_000, 100_000)
FEW, LANES = 1_000, 32
LIMIT_MB = 32.0


async def measure(events: int) -> tuple[float, float, list[float]]:
    """Return events accepted and drained per second, and memory: with few, with all waiting, at most while draining."""
    with tempfile.TemporaryDirectory(prefix="zeroflow-bench-") as home:
        children: list[tuple[asyncio.subprocess.Process, str]] = []
        try:
            children.append(await broker.child("subscriber", "closed"))
            receiver = children[0][1]
            children.append(await broker.child("broker", home, receiver))
            ingress = children[1][1]
            async with aiohttp.ClientSession() as session:

                async def state() -> dict[str, Any]:
                    async with session.get(f"{ingress}/waiting") as response:
                        return dict(await response.json())

                url = f"{ingress}/eventing/default/default"
                await broker.flood(url, FEW, LANES)
                few = await state()
                accept_s, _ = await broker.flood(url, events - FEW, LANES, first=FEW)
                full = await state()
                assert full["waiting"] == events, full
                started, most = time.perf_counter(), full["rss_mb"]
                async with session.post(f"{receiver}/open"):
                    pass
                while (now := await state())["waiting"]:
                    most = max(most, now["rss_mb"])
                    await asyncio.sleep(0.25)
                drain_s = time.perf_counter() - started
                async with session.get(f"{receiver}/count") as response:
                    assert (await response.json())["count"] >= events
                return (events - FEW) / accept_s, events / drain_s, [few["rss_mb"], full["rss_mb"], most]
        finally:
            for process, _ in children:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()


def main(numbers: tuple[int, ...] = NUMBERS) -> None:
    """Print a line for each number; fail beyond the limit."""
    print(f"{'waiting':>9}{'accepted/s':>13}{'drained/s':>12}{'MB at 1,000':>14}{'all wait':>11}{'draining':>11}")
    grown = 0.0
    for number in numbers:
        accepted, drained, (few, full, most) = asyncio.run(measure(number))
        print(f"{number:>9,}{accepted:>13,.0f}{drained:>12,.0f}{few:>14.1f}{full:>11.1f}{most:>11.1f}", flush=True)
        grown = max(grown, most - few)
    print(f"most memory beyond 1,000 events: {grown:.1f} MB (limit {LIMIT_MB:.0f} MB)")
    if grown > LIMIT_MB:
        raise SystemExit("BROKEN: memory grows with what waits")


if __name__ == "__main__":
    main(tuple(int(each) for each in sys.argv[1:]) or NUMBERS)
