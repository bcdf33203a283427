"""A room in a process of its own, to be killed: `serve.py HOME RECEIVER_BASE`; prints its base URL when it is ready."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from eventing.rooms import Receiver, room, service_ref, trigger


async def main(home: Path, receiver_base: str) -> None:
    receiver = Receiver()
    receiver.base = receiver_base
    async with room(home, receiver) as opened:
        if not opened.store.list("Broker.eventing.knative.dev"):
            await opened.broker(delivery={"retry": 5, "backoffDelay": "PT0.05S"})
            await opened.trigger("work", "work", filter={"attributes": {"type": "work"}})
            await opened.service("done")
            subscriber = {"ref": service_ref("done")}
            await opened.store.create(trigger("done", filter={"attributes": {"type": "done"}}, subscriber=subscriber))
            await opened.ready("Trigger.eventing.knative.dev", "done")
        print(opened.base, flush=True)
        await asyncio.Event().wait()


asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
