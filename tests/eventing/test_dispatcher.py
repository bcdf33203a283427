"""The queues of a dispatcher, with a log that is asked at once."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

from zeroflow.knative.local.eventing.dispatcher import Dispatcher

COUNT = 5


def test_attempts_that_fail_together_are_all_made_again() -> None:
    """The first one's failure wakes the queue just when the others fail: they are settled, and still under way."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        deliveries: list[Any] = [SimpleNamespace(seq=seq, subscription="all") for seq in range(COUNT)]
        tries = dict.fromkeys(range(COUNT), 0)
        broken: asyncio.Future[None] = loop.create_future()
        done: set[int] = set()

        async def deliver(delivery: Any, _subscriber: Any) -> float | None:
            tries[delivery.seq] += 1
            if tries[delivery.seq] == 2:
                done.add(delivery.seq)
                return None
            if delivery.seq == 0:
                await asyncio.sleep(0.01)
                broken.set_result(None)
            else:
                await broken
            return time.time()

        async def waiting(_subscription: str, _limit: int) -> tuple[list[Any], None]:
            await asyncio.sleep(0.01)
            return [delivery for delivery in deliveries if delivery.seq not in done], None

        log: Any = SimpleNamespace(waiting=waiting)
        settings: Any = SimpleNamespace(in_flight=32, window=256)
        dispatcher = Dispatcher(log, deliver, settings)
        dispatcher.subscribe("all", SimpleNamespace(parallelism=None))  # type: ignore[arg-type]
        async with asyncio.timeout(5):
            while len(done) < COUNT:
                await asyncio.sleep(0.01)
        await dispatcher.close()

    asyncio.run(scenario())
