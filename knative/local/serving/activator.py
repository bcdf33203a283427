"""The activator: takes a request for a Service, finds its revision, wakes it if it sleeps, and passes the request on.

Nothing is lost on the way: a request waits while nothing runs, it goes to another instance when the first has not
been given a byte of it, and a safe one (GET, HEAD, OPTIONS) also when the instance died before it answered. What
cannot be answered gets 404 (no such Service), 502 (the instance broke off), 503 (queue full, or nothing can be
started) or 504 (time is up).
Source: Knative activator and queue-proxy behaviour.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

import aiohttp
from aiohttp import web
from multidict import MultiMapping

from zeroflow.errors import InvalidInput, NotFound, Unavailable
from zeroflow.knative.local.http1.head import Head
from zeroflow.knative.local.serving import labels, websocket
from zeroflow.knative.local.serving.caller_http1 import Http1Caller
from zeroflow.knative.local.serving.caller_http2 import Asked, Http2Caller
from zeroflow.knative.local.serving.caller_plain import PlainCaller
from zeroflow.knative.local.serving.exchange import Broken, Exchange, NotSent, Outgoing
from zeroflow.knative.local.serving.failures import NoInstance
from zeroflow.knative.local.serving.headers import decoded, from_pod, to_pod
from zeroflow.knative.local.serving.limits import TIMED_OUT, Limits, within
from zeroflow.knative.local.serving.line import QueueFull
from zeroflow.knative.local.serving.observing import Observer
from zeroflow.knative.local.serving.passage import DirectPassage, Passage
from zeroflow.knative.local.serving.pod import Pod
from zeroflow.knative.local.serving.pool import Pool
from zeroflow.knative.local.serving.routes import RouteTable

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 1
TAG_HEADER = "Knative-Serving-Tag"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_ATTEMPTS = 5
_BREAKS = 1  # a request that kills whoever gets it must not go round
_DYING_S = 1.0  # on a busy machine a killed process takes a while to end
Caller = Http1Caller | Http2Caller | PlainCaller
_PLAIN = re.compile(r"/[!-~]*")


class Unreachable(Unavailable):
    """The Service could not be asked, or broke off; `status` is what an HTTP client would have been told."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Stopping(Unreachable):
    """The host stops; nothing of the request has been sent to anybody."""

    def __init__(self) -> None:
        super().__init__("the host is stopping", 503)


class Timeout(Unreachable):
    """No answer within the time."""


@dataclass(frozen=True)
class Answer:
    """What a Service has answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Activator:
    """Route requests to instances."""

    def __init__(
        self,
        routes: RouteTable,
        pool: Callable[[str, str], Pool | None],
        expected: Callable[[str, str], bool],
        changed: asyncio.Condition,
        observer: Observer | None = None,
    ) -> None:
        self._routes, self._pool, self._expected, self._changed = routes, pool, expected, changed
        self.observer = observer or Observer()
        self._session: aiohttp.ClientSession | None = None
        self._stopping = False
        self.tags_by_header = False
        """Whether a request may name a tag in `Knative-Serving-Tag` (feature tag-header-based-routing)."""

    def mapped(self, host: str) -> tuple[str, str] | None:
        """Return (namespace, Service) that a DomainMapping's host leads to."""
        return self._routes.host(host)

    async def serve(self, request: web.Request, namespace: str, name: str, path: str) -> web.StreamResponse:
        """Answer `request` from the Service, tag or mapped name; `path` replaces its path, the query stays."""
        query = request.rel_url.raw_query_string
        target = f"{path or '/'}?{query}" if query else path or "/"
        caller = Http1Caller(request)
        try:
            tag = self._tag(request.headers)
            pool = await self._resolve(namespace, name, outside=_from_outside(request.host), tag=tag)
            if websocket.wanted(request):
                return await self._websocket(request, pool, target)
            await self._serve(caller, pool, target)
        except (NotFound, Unreachable) as error:
            await _refuse(caller, error)
        return caller.response

    async def serve_http2(self, asked: Asked, namespace: str, name: str, target: str) -> None:
        """Answer what was asked on an HTTP/2 stream; `target` is path and query."""
        await self._answer(Http2Caller(asked), asked, namespace, name, target)

    def begin(self, caller: PlainCaller, namespace: str, name: str, target: str) -> Passage:
        """Begin to answer a plain request; `target` is path and query."""
        head = caller.head
        try:
            pool = self._find(namespace, name, outside=_from_outside(head.host), tag=self._tag(head.headers))
        except (NotFound, Unreachable):
            pool = None  # said below
        plain = pool is not None and pool.limits.until_head_s is None and not pool.observed
        if pool is not None and plain and (taken := pool.acquire_connected()) is not None:

            async def again(dead: Pod, left_s: float) -> None:
                await self._answer(caller, head, namespace, name, target, pool, left_s, dead)

            repeatable = head.method in SAFE_METHODS or pool.replayable
            direct = DirectPassage(caller, pool, *taken, again if repeatable else None)
            direct.start(target)
            return direct
        passage = Passage(caller)
        passage.in_task(self._answer(caller, head, namespace, name, target, pool))
        return passage

    async def _answer(
        self,
        caller: Caller,
        asked: Head | Asked,
        namespace: str,
        name: str,
        target: str,
        pool: Pool | None = None,
        limit_s: float = math.inf,
        dead: Pod | None = None,
    ) -> None:
        """Answer whoever asks; `dead` is an instance that broke off the same request before.

        A request stays with the revision that was picked for it, `pool`: one that is picked anew whenever its revision
        has nothing at hand would go to the busier one more often than its share says.
        """
        try:
            if dead is not None:
                await dead.gone(_DYING_S)  # a killed process may accept connections for a moment
            if pool is None or pool.closed:
                tag = self._tag(asked.headers)
                pool = await self._resolve(namespace, name, outside=_from_outside(asked.host), tag=tag)
            await self._serve(caller, pool, target, limit_s, broken=int(dead is not None))
        except (NotFound, Unreachable) as error:
            await _refuse(caller, error)

    async def post(
        self, namespace: str, name: str, path: str, headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> Answer:
        """POST to a Service from inside the host; raise NotFound, Unreachable or Timeout.

        The caller's task is canceled when the host stops before anything was sent: nothing was tried.
        """
        try:
            return await self._post(namespace, name, path, headers, body, timeout_s)
        except Stopping as stopping:
            raise asyncio.CancelledError from stopping

    async def _post(
        self, namespace: str, name: str, path: str, headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> Answer:
        pool = await self._resolve(namespace, name, timeout_s)
        given = [(name.encode("latin-1"), value.encode("utf-8", "surrogateescape")) for name, value in headers.items()]
        if any(b"\r" in word or b"\n" in word for pair in given for word in pair):
            raise InvalidInput("a header must not contain a line break")
        if not any(header.lower() == b"host" for header, _ in given):
            given.insert(0, (b"Host", f"{name}.{namespace}.svc.cluster.local".encode()))
        sent = Outgoing("POST", _target(path), to_pod(given, client="127.0.0.1", scheme="http"), body=body)
        limits = pool.limits
        try:
            async with asyncio.timeout(min(timeout_s, limits.total_s)) as clock:
                pod, exchange = await self._send(sent, pool, limits, clock)
                try:
                    chunks = []
                    while chunk := await exchange.read_chunk():
                        chunks.append(chunk)
                finally:
                    pod.connections.give(exchange)
                    pool.release(pod)
        except TimeoutError as error:
            raise Timeout(TIMED_OUT, 504) from error
        except Broken as error:
            raise Unreachable(str(error), 502) from error
        answered = {name.lower(): value for name, value in decoded(from_pod(exchange.headers))}
        return Answer(exchange.status, answered, b"".join(chunks))

    async def stop(self, pools: Iterable[Pool]) -> None:
        """Let nobody wait for an instance any more; requests that an instance has go on."""
        self._stopping = True
        for pool in pools:
            pool.turn_away(Stopping())
        async with self._changed:
            self._changed.notify_all()

    async def close(self) -> None:
        """Close what WebSockets have needed."""
        if self._session is not None:
            await self._session.close()

    def _tag(self, headers: MultiMapping[str]) -> str:
        """Return the tag that a request names in its header, "" for none."""
        return headers.get(TAG_HEADER, "") if self.tags_by_header else ""

    async def _resolve(
        self, namespace: str, label: str, timeout_s: float = 300.0, *, outside: bool = False, tag: str = ""
    ) -> Pool:
        """Return the pool for one request; wait for a Service that is still being deployed for the first time."""
        deadline_s = time.monotonic() + timeout_s
        while (pool := self._find(namespace, label, outside=outside, tag=tag)) is None:
            await self._wait_for_change(deadline_s)
        return pool

    def _find(self, namespace: str, label: str, *, outside: bool, tag: str = "") -> Pool | None:
        """Return the pool for one request; None for a Service that is still being deployed for the first time."""
        found = self._routes.find(namespace, label)
        if found is None or not found[0].targets:
            if found is None and not self._expected(namespace, label):
                raise NotFound(f"no Service {label!r} in namespace {namespace!r}")
            if found is not None and found[0].message:
                raise Unreachable(f"Service {found[0].service} has no ready revision: {found[0].message}", 503)
            return None
        entry, picked = found
        if outside and entry.local:
            raise NotFound(f"Service {label!r} in namespace {namespace!r} is {labels.CLUSTER_LOCAL}")
        revision = (entry.tagged(tag) if tag and picked == entry.service else None) or entry.pick(picked)
        pool = self._pool(namespace, revision) if revision is not None else None
        if pool is None:
            raise Unreachable(f"Service {entry.service} routes to revision {revision}, which is gone", 503)
        return pool

    async def _wait_for_change(self, deadline_s: float) -> None:
        if self._stopping:
            raise Stopping
        try:
            async with asyncio.timeout(max(0.0, deadline_s - time.monotonic())), self._changed:
                await self._changed.wait()
        except TimeoutError as error:
            raise Unreachable("context deadline exceeded", 503) from error

    async def _serve(
        self, caller: Caller, pool: Pool, target: str, limit_s: float = math.inf, *, broken: int = 0
    ) -> None:
        limits = pool.limits
        try:
            async with asyncio.timeout(min(limit_s, limits.total_s)) as clock:
                sent = await caller.outgoing(target)
                pod, exchange = await self._send(sent, pool, limits, clock, broken)
                try:
                    await caller.answer(exchange, limits.idle_s)
                    await exchange.finish()
                except BaseException:
                    exchange.abort()
                    await exchange.finish()
                    raise
                finally:
                    pod.connections.give(exchange)
                    pool.release(pod)
        except TimeoutError as error:
            raise Timeout(TIMED_OUT, 504) from error
        except Broken as error:
            raise Unreachable(str(error), 502) from error
        except ConnectionError:  # the client has gone
            return

    async def _send(
        self, sent: Outgoing, pool: Pool, limits: Limits, clock: asyncio.Timeout, broken: int = 0
    ) -> tuple[Pod, Exchange]:
        """Give the request to an instance and return both when the head of the answer is there.

        `broken` is how often an instance has broken it off before.
        """
        if not pool.observed or sent.method != "POST":
            return await self._attempt(sent, pool, limits, clock, broken)
        came, status = time.perf_counter(), 502
        try:
            pod, exchange = await self._attempt(sent, pool, limits, clock, broken)
            status = exchange.status
        except Unreachable as error:
            status = error.status
            raise
        except TimeoutError:
            status = 504
            raise
        except asyncio.CancelledError:
            status = 504 if clock.expired() else 0  # else the client has gone, which nobody is to blame for
            raise
        finally:
            if status:
                self.observer.answered(pool.revision, status, sent.began or came)
        return pod, exchange

    async def _attempt(
        self, sent: Outgoing, pool: Pool, limits: Limits, clock: asyncio.Timeout, broken: int
    ) -> tuple[Pod, Exchange]:
        for attempt in range(_ATTEMPTS):
            pod = pool.acquire_now() or await self._acquire(pool, clock)
            try:
                async with within(limits.until_head_s):
                    sent.began = time.perf_counter()
                    exchange = await pod.connections.send(sent)
                pod.answered = True
                return pod, exchange
            except NotSent as error:
                pool.found_dead(pod)
                pool.release(pod)
                if attempt == _ATTEMPTS - 1:
                    raise Unreachable(str(error), 502) from error
            except Broken:
                pool.release(pod)
                broken += 1
                safe = sent.method in SAFE_METHODS or pool.replayable
                if not safe or not sent.repeatable or broken > _BREAKS:
                    raise
                await pod.gone(_DYING_S)  # a killed process may accept connections for a moment
            except BaseException:
                pool.release(pod)
                raise
        raise AssertionError("unreachable")

    async def _acquire(self, pool: Pool, clock: asyncio.Timeout) -> Pod:
        """Wait for an instance until the time of `clock`, which stands still meanwhile: too long a wait is 503."""
        if self._stopping:
            raise Stopping
        when = clock.when()
        assert when is not None
        clock.reschedule(None)
        try:
            return await pool.acquire(when - asyncio.get_running_loop().time())
        except TimeoutError as error:
            raise Unreachable("context deadline exceeded", 503) from error
        except (QueueFull, NoInstance) as error:
            raise Unreachable(str(error), 503) from error
        finally:
            clock.reschedule(when)

    async def _websocket(self, request: web.Request, pool: Pool, target: str) -> web.StreamResponse:
        limits = pool.limits
        if self._session is None:
            self._session = aiohttp.ClientSession(auto_decompress=False)
        try:
            async with asyncio.timeout(limits.total_s) as clock:
                pod = pool.acquire_now() or await self._acquire(pool, clock)
                try:
                    return await websocket.relay(request, self._session, pod.connections.port, target)
                finally:
                    pool.release(pod)
        except TimeoutError as error:
            raise Timeout(TIMED_OUT, 504) from error
        except aiohttp.ClientError as error:
            raise Unreachable(f"websocket: {error}", 502) from error


def _from_outside(host: str) -> bool:
    """Return whether a host name is one by which a Service is known outside the cluster."""
    name = host.rsplit(":", 1)[0].lower()
    return name not in ("localhost", "127.0.0.1", "[::1]") and not name.endswith(".svc.cluster.local")


def _target(path: str) -> str:
    """Return a request target that stays on its line, whatever the caller has decoded."""
    if _PLAIN.fullmatch(path):
        return path
    return quote(path, safe="/?%:@!$&'()*+,;=~-._[]") if path.startswith("/") else _target(f"/{path}")


async def _refuse(caller: Caller, error: NotFound | Unreachable) -> None:
    """Tell whoever asked what has become of the request."""
    if isinstance(error, NotFound):
        await caller.refuse(404, f"{error}\n")
        return
    await caller.refuse(error.status, str(error), {"Retry-After": str(RETRY_AFTER_S)} if error.status == 503 else None)
