"""Ten thousand events that wait: they lie on disk, survive a kill, and are all delivered."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from eventing.rooms import Received, Receiver, binary, receiving
from eventing.test_durability import broker_process

EVENTS, LANES = 10_000, 16
GROWTH_BYTES = 32 << 20
DEADLINE_S = 400.0


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


@pytest.mark.scale
@pytest.mark.timeout(900)  # 40,000 commits on whatever disk there is
def test_ten_thousand_waiting_events_survive_a_kill_and_take_no_memory(tmp_path: Path) -> None:
    async def main() -> None:
        receiver, closed = Receiver(), asyncio.Event()
        opened: list[bool] = []

        async def answer(_: Received) -> web.Response:
            if not opened:
                await closed.wait()  # a subscriber that takes no more until it has been killed away from
            return web.Response()

        receiver.answers["work"] = answer  # type: ignore[assignment]

        async def lane(session: aiohttp.ClientSession, base: str, numbers: range) -> None:
            for number in numbers:
                url, headers = f"{base}/eventing/default/default", binary(f"e{number}", "work")
                async with session.post(url, headers=headers, data=b'{"some": "data"}') as answered:
                    assert answered.status == 202

        async with receiving(receiver), aiohttp.ClientSession() as session:
            async with broker_process(tmp_path, receiver, DEADLINE_S) as (process, base):
                await lane(session, base, range(2000))
                few = resident_bytes(process.pid)
                await asyncio.gather(*(lane(session, base, range(2000 + n, EVENTS, LANES)) for n in range(LANES)))
                grown = resident_bytes(process.pid) - few
                process.send_signal(signal.SIGKILL)
                await process.wait()
            opened.append(True)
            closed.set()
            async with broker_process(tmp_path, receiver, DEADLINE_S) as (process, base):
                everything = {f"e{number}" for number in range(EVENTS)}
                begun = asyncio.get_running_loop().time()
                await receiver.until(lambda: len(receiver.received) >= EVENTS, 300)
                await receiver.until(lambda: {got.id for got in receiver.of("work")} >= everything, 60)
                took = asyncio.get_running_loop().time() - begun
            times = Counter(got.id for got in receiver.of("work"))
            print(f"10,000 waiting events: +{grown / 2**20:.0f} MiB while they wait, delivered in {took:.1f} s")
            assert set(times) == everything
            assert max(times.values()) <= 2
            assert grown < GROWTH_BYTES

    asyncio.run(main())
