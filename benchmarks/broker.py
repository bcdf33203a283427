"""Durable deliveries per second through the broker: POST -> disk -> subscriber -> disk, one no-op subscriber.

Three processes: this one sends, one is the broker's room, one the subscriber.
Run: `python benchmarks/broker.py [EVENTS] [LANES]`.
Counted is an event that was accepted (202 after its commit), delivered over HTTP and settled (committed again).
Then a steady 300 events a second: the time from the sender's POST to the subscriber's receipt.
The peer in the same run: the same events through the same HTTP client and server without any broker in between.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

EVENTS, LANES = 10_000, 32
STEADY_PER_S, STEADY_S = 300, 10
HEADERS = {"ce-specversion": "1.0", "ce-type": "bench", "ce-source": "/bench", "content-type": "application/json"}
BODY = json.dumps({"run": "0123456789abcdef", "task": "train", "parameters": {"alpha": 0.1}}).encode()


async def serve(app: web.Application) -> str:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


async def subscriber(*, closed: bool = False) -> None:
    app, state = web.Application(), {"count": 0}
    took_s: list[float] = []
    opened = asyncio.Event()
    if not closed:
        opened.set()

    async def take(request: web.Request) -> web.Response:
        await request.read()
        await opened.wait()
        state["count"] += 1
        if sent := request.headers.get("ce-sent"):
            took_s.append(time.time() - float(sent))
        return web.Response()

    async def count(_: web.Request) -> web.Response:
        return web.json_response({**state, "took_s": took_s})

    async def open_up(_: web.Request) -> web.Response:
        opened.set()
        return web.Response()

    app.router.add_post("/open", open_up)
    app.router.add_post("/{tail:.*}", take)
    app.router.add_get("/count", count)
    print(await serve(app), flush=True)
    await asyncio.Event().wait()


async def broker(home: Path, receiver: str) -> None:
    from zeroflow.knative.local.api import crds
    from zeroflow.knative.local.api.store import Store
    from zeroflow.knative.local.eventing.eventing import Eventing
    from zeroflow.knative.local.eventing.outside import Reply
    from zeroflow.knative.local.home import Home
    from zeroflow.knative.local.urls import Urls

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    class Posting:
        async def post(
            self, namespace: str, name: str, path: str, headers: Mapping[str, str], body: bytes, timeout_s: float
        ) -> Reply:
            async with session.post(f"{receiver}/{name}", headers=headers, data=body) as response:
                return Reply(response.status, dict(response.headers), await response.read())

    place = Home(home)
    place.prepare()
    store = Store(place.db / "resources.sqlite")
    for definition in crds.bundled():
        await store.apply(definition)
    app = web.Application()
    url = await serve_later(app, store, Posting(), place, Eventing, Urls)
    container: dict[str, Any] = {"name": "c", "image": "none"}
    for kind, version, name, spec in (
        ("Broker", "eventing.knative.dev/v1", "default", {}),
        ("Service", "serving.knative.dev/v1", "sub", {"template": {"spec": {"containers": [container]}}}),
        (
            "Trigger",
            "eventing.knative.dev/v1",
            "all",
            {
                "broker": "default",
                "subscriber": {"ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "sub"}},
            },
        ),
    ):
        metadata = {"name": name, "namespace": "default"}
        await store.create({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})
    await asyncio.sleep(0.2)
    print(url, flush=True)
    await asyncio.Event().wait()


async def serve_later(app: web.Application, store: Any, posting: Any, home: Any, eventing: Any, urls: Any) -> str:
    room = eventing(store, posting, urls(0), home, "token")

    async def accept(request: web.Request) -> web.StreamResponse:
        answer: web.StreamResponse = await room.accept(request, "default", "default")
        return answer

    async def waiting(_: web.Request) -> web.Response:
        log = room._started._log
        query = "SELECT count(*) FROM delivery WHERE state = 0"
        left = await log.read(lambda connection: connection.execute(query).fetchone()[0])
        return web.json_response({"waiting": left, "rss_mb": rss_mb()})

    app.router.add_post("/eventing/default/default", accept)
    app.router.add_get("/waiting", waiting)
    await room.start()
    return await serve(app)


def rss_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


async def flood(url: str, events: int, lanes: int, first: int = 0) -> tuple[float, list[float]]:
    """Send events, numbered from `first`, on keep-alive connections; return seconds and each request's latency."""
    taken: list[float] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def lane(number: int) -> None:
            for index in range(first + number, first + events, lanes):
                begun = time.perf_counter()
                async with session.post(url, headers={**HEADERS, "ce-id": str(index)}, data=BODY) as response:
                    assert response.status in {200, 202}, await response.text()
                    await response.read()
                taken.append(time.perf_counter() - begun)

        started = time.perf_counter()
        await asyncio.gather(*(lane(number) for number in range(lanes)))
        return time.perf_counter() - started, taken


async def steady(url: str, receiver: str) -> list[float]:
    """Send at an even pace, whatever the answers take; return the seconds until each event was delivered."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def send(number: int) -> None:
            await asyncio.sleep(number / STEADY_PER_S)
            headers = {**HEADERS, "ce-id": f"steady-{number}", "ce-sent": f"{time.time():.6f}"}
            async with session.post(url, headers=headers, data=BODY) as response:
                assert response.status == 202, await response.text()

        await asyncio.gather(*(send(number) for number in range(STEADY_PER_S * STEADY_S)))
        while True:
            async with session.get(f"{receiver}/count") as response:
                took_s: list[float] = (await response.json())["took_s"]
            if len(took_s) >= STEADY_PER_S * STEADY_S:
                return took_s
            await asyncio.sleep(0.1)


async def measure(events: int, lanes: int) -> dict[str, Any]:
    """Run the benchmark and return its figures."""
    with tempfile.TemporaryDirectory(prefix="zeroflow-bench-") as home:
        children = []
        try:
            children.append(await child("subscriber"))
            children.append(await child("broker", home, children[0][1]))
            receiver, ingress = children[0][1], children[1][1]
            await flood(f"{ingress}/eventing/default/default", 500, lanes)
            direct_s, _ = await flood(f"{receiver}/direct", events, lanes)
            started = time.perf_counter()
            accept_s, taken = await flood(f"{ingress}/eventing/default/default", events, lanes)
            async with aiohttp.ClientSession() as session:
                while True:
                    async with session.get(f"{ingress}/waiting") as response:
                        state = await response.json()
                    if state["waiting"] == 0:
                        break
                    await asyncio.sleep(0.02)
            total_s = time.perf_counter() - started
            steady_s = await steady(f"{ingress}/eventing/default/default", receiver)
            return {
                "events": events,
                "lanes": lanes,
                "accepted_per_s": round(events / accept_s),
                "durable_deliveries_per_s": round(events / total_s),
                "accept_p50_ms": round(statistics.median(taken) * 1000, 2),
                "accept_p99_ms": round(statistics.quantiles(taken, n=100)[98] * 1000, 2),
                "steady_per_s": STEADY_PER_S,
                "steady_delivered_p50_ms": round(statistics.median(steady_s) * 1000, 2),
                "steady_delivered_p99_ms": round(statistics.quantiles(steady_s, n=100)[98] * 1000, 2),
                "direct_http_per_s": round(events / direct_s),
                "ratio_to_direct_http": round(direct_s / total_s, 3),
                "broker_rss_mb": round(state["rss_mb"], 1),
            }
        finally:
            for process, _ in children:
                process.kill()
                await process.wait()


async def child(*arguments: str) -> tuple[asyncio.subprocess.Process, str]:
    process = await asyncio.create_subprocess_exec(sys.executable, __file__, *arguments, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    return process, (await process.stdout.readline()).decode().strip()


def main() -> None:
    match sys.argv[1:]:
        case ["subscriber", *how]:
            asyncio.run(subscriber(closed=how == ["closed"]))
        case ["broker", home, receiver]:
            asyncio.run(broker(Path(home), receiver))
        case given:
            numbers = [int(each) for each in given if each.isdecimal()]
            events, lanes = numbers + [EVENTS, LANES][len(numbers) :]
            print(json.dumps(asyncio.run(measure(events, lanes))))


if __name__ == "__main__":
    main()
