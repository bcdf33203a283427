"""A whole eventing room for tests: real store, SQLite and HTTP on both sides; Services are paths of one receiver."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from zeroflow.knative.local.api import crds
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.eventing.eventing import Eventing
from zeroflow.knative.local.eventing.outside import Reply
from zeroflow.knative.local.eventing.settings import EventingSettings
from zeroflow.knative.local.home import Home
from zeroflow.knative.local.urls import Urls

TOKEN = "platform-secret"
Answering = Callable[["Received"], "web.Response | Awaitable[web.Response]"]


@dataclass(frozen=True)
class Received:
    """One delivery as a subscriber saw it; header names in lower case."""

    namespace: str
    service: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def id(self) -> str:
        return self.headers.get("ce-id", "")


class Receiver:
    """Plays all Services. `answers[name]` decides; without one it is 200 and an empty body."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: dict[str, Answering] = {}
        self.base = ""
        self._changed = asyncio.Event()

    async def handle(self, request: web.Request) -> web.Response:
        namespace, service = request.match_info["namespace"], request.match_info["service"]
        path = request.path_qs.removeprefix(f"/{namespace}/{service}") or "/"
        headers = {name.lower(): value for name, value in request.headers.items()}
        got = Received(namespace, service, path, headers, await request.read())
        self.received.append(got)
        self._changed.set()
        answer = self.answers.get(service, lambda _: web.Response())(got)
        return await answer if inspect.isawaitable(answer) else answer

    def of(self, service: str) -> list[Received]:
        return [each for each in self.received if each.service == service]

    async def until(self, condition: Callable[[], bool], deadline_s: float = 10.0) -> None:
        """Wait until a condition over what was received holds."""
        async with asyncio.timeout(deadline_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def count(self, service: str, number: int, deadline_s: float = 10.0) -> list[Received]:
        await self.until(lambda: len(self.of(service)) >= number, deadline_s)
        return self.of(service)


class Posting:
    """What serving's activator is to the host: posts to a Service."""

    def __init__(self, base: str, session: aiohttp.ClientSession) -> None:
        self._base, self._session = base, session

    async def post(
        self, namespace: str, name: str, path: str, headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> Reply:
        url = f"{self._base}/{namespace}/{name}{path}"
        async with self._session.post(url, headers=headers, data=body) as response:
            return Reply(response.status, dict(response.headers), await response.read())


@dataclass
class Room:
    store: Store
    eventing: Eventing
    receiver: Receiver
    session: aiohttp.ClientSession
    base: str
    home: Home

    async def broker(self, name: str = "default", namespace: str = "default", **spec: Any) -> None:
        await self.store.create(
            {
                "apiVersion": "eventing.knative.dev/v1",
                "kind": "Broker",
                "metadata": {"name": name, "namespace": namespace},
                "spec": spec,
            }
        )

    async def service(self, name: str, namespace: str = "default") -> None:
        container = {"name": "user-container", "image": "none"}
        await self.store.create(
            {
                "apiVersion": "serving.knative.dev/v1",
                "kind": "Service",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"template": {"spec": {"containers": [container]}}},
            }
        )

    async def trigger(self, name: str, service: str | None = None, namespace: str = "default", **spec: Any) -> None:
        """Create a trigger (and its Service, when one is named) and wait until it is ready."""
        if service is not None:
            if self.store.find("Service.serving.knative.dev", namespace, service) is None:
                await self.service(service, namespace)
            spec["subscriber"] = {"ref": service_ref(service), **({"uri": spec.pop("uri")} if "uri" in spec else {})}
        await self.store.create(trigger(name, namespace, **spec))
        await self.ready("Trigger.eventing.knative.dev", name, namespace)

    async def ready(self, kind: str, name: str, namespace: str = "default") -> dict[str, Any]:
        return await self.condition(kind, name, "Ready", "True", namespace)

    async def condition(
        self, kind: str, name: str, condition: str, status: str, namespace: str = "default"
    ) -> dict[str, Any]:
        """Wait until a condition has a status; return the object."""
        last: Any = None
        async with asyncio.timeout(5):
            with contextlib.suppress(asyncio.TimeoutError):
                async with self.store.subscribe([kind]) as changes:
                    async for change in changes:
                        metadata = change.object["metadata"]
                        if (metadata["namespace"], metadata["name"]) != (namespace, name):
                            continue
                        last = change.object
                        for each in (last.get("status") or {}).get("conditions") or ():
                            if each["type"] == condition and each["status"] == status:
                                return last
        raise AssertionError(f"{kind} {name}: {condition} did not become {status}: {last}")

    async def post(
        self, headers: Mapping[str, str], body: bytes = b"", broker: str = "default", namespace: str = "default"
    ) -> tuple[int, str]:
        async with self.session.post(
            f"{self.base}/eventing/{namespace}/{broker}", headers=headers, data=body
        ) as response:
            return response.status, await response.text()

    async def send(self, event_id: str = "1", event_type: str = "t", **more: str) -> None:
        status, text = await self.post(binary(event_id, event_type, **more), b'{"n":1}')
        assert status == 202, text

    async def story(self, event_id: str) -> dict[str, Any]:
        async with self.session.get(f"{self.base}/eventing", params={"id": event_id}) as response:
            found = await response.json()
            assert response.status == 200, found
        return found["events"][0]

    async def declare(self, api_version: str, kind: str, name: str, **spec: Any) -> dict[str, Any]:
        """Create an object of the namespace `default` and wait until it is ready."""
        metadata = {"name": name, "namespace": "default"}
        await self.store.create({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec})
        return await self.ready(f"{kind}.{api_version.partition('/')[0]}", name)

    async def settled(self, event_id: str, number: int = 1, deadline_s: float = 10.0) -> list[dict[str, Any]]:
        """Wait until all deliveries of an event are finished; return them."""
        end = time.monotonic() + deadline_s
        while True:
            deliveries = (await self.story(event_id))["deliveries"]
            if len(deliveries) >= number and all(each["state"] != "waiting" for each in deliveries):
                return deliveries
            if time.monotonic() > end:
                raise AssertionError(f"event {event_id} is not settled: {deliveries}")
            await asyncio.sleep(0.01)


def service_ref(name: str, namespace: str | None = None) -> dict[str, str]:
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "name": name,
        **({"namespace": namespace} if namespace else {}),
    }


def broker_ref(name: str = "default", namespace: str | None = None) -> dict[str, str]:
    return {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Broker",
        "name": name,
        **({"namespace": namespace} if namespace else {}),
    }


def trigger(name: str, namespace: str = "default", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"broker": "default", **spec},
    }


def binary(event_id: str = "1", event_type: str = "t", source: str = "/test", **more: str) -> dict[str, str]:
    """Headers of a binary-mode event; further attributes as keywords."""
    extra = {f"ce-{name}": value for name, value in more.items()}
    return {
        "ce-specversion": "1.0",
        "ce-id": event_id,
        "ce-type": event_type,
        "ce-source": source,
        "content-type": "application/json",
        **extra,
    }


@contextlib.asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[str]:
    """Serve an application on a free port; yield its base URL."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def receiving(receiver: Receiver) -> AsyncIterator[Receiver]:
    app = web.Application()
    app.router.add_post("/{namespace}/{service}", receiver.handle)
    app.router.add_post("/{namespace}/{service}/{rest:.*}", receiver.handle)
    async with served(app) as receiver.base:
        yield receiver


def front(room: Callable[[], Eventing]) -> web.Application:
    """Mount a room as the host does."""
    app = web.Application()

    async def accept(request: web.Request) -> web.StreamResponse:
        return await room().accept(request, request.match_info["namespace"], request.match_info["name"])

    async def job_sink(request: web.Request) -> web.StreamResponse:
        return await room().job_sink(request, request.match_info["namespace"], request.match_info["name"])

    async def log(request: web.Request) -> web.StreamResponse:
        return await room().log(request)

    async def channel(request: web.Request) -> web.StreamResponse:
        return await room().channel(request, request.match_info["namespace"], request.match_info["name"])

    async def transform(request: web.Request) -> web.StreamResponse:
        return await room().transform(request, request.match_info["namespace"], request.match_info["name"])

    async def request_reply(request: web.Request) -> web.StreamResponse:
        return await room().request_reply(request, request.match_info["namespace"], request.match_info["name"])

    app.router.add_route("*", "/requestreplies/{namespace}/{name}", request_reply)
    app.router.add_route("*", "/channels/{namespace}/{name}", channel)
    app.router.add_route("*", "/transforms/{namespace}/{name}", transform)
    app.router.add_route("*", "/eventing", log)
    app.router.add_route("*", "/eventing/{namespace}/{name}", accept)
    app.router.add_route("*", "/jobsinks/{namespace}/{name}", job_sink)
    app.router.add_route("*", "/jobsinks/{namespace}/{name}/{rest:.*}", job_sink)
    return app


async def open_store(home: Home) -> Store:
    store = Store(home.db / "resources.sqlite")
    for definition in crds.bundled():
        await store.apply(definition)
    if store.find("Namespace", None, "zeroflow") is None:
        await store.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "zeroflow"}})
    return store


@contextlib.asynccontextmanager
async def room(
    root: Path, receiver: Receiver | None = None, settings: EventingSettings | None = None, **options: Any
) -> AsyncIterator[Room]:
    """Run a room on a home (which may be one that an earlier room left)."""
    home = Home(root)
    home.prepare()
    async with contextlib.AsyncExitStack() as stack:
        heard = receiver or Receiver()
        if not heard.base:
            await stack.enter_async_context(receiving(heard))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        rooms: list[Eventing] = []
        base = await stack.enter_async_context(served(front(lambda: rooms[0])))
        store = await open_store(home)
        stack.push_async_callback(store.close)
        urls = Urls(int(base.rsplit(":", 1)[1]))
        chosen = settings or EventingSettings(allow_loopback=True)
        eventing = Eventing(store, Posting(heard.base, session), urls, home, TOKEN, chosen, **options)
        await eventing.start()
        stack.push_async_callback(eventing.close, 0.0)
        rooms.append(eventing)
        yield Room(store, eventing, heard, session, base, home)
