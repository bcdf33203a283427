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
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

import aiohttp
from aiohttp import web

from zeroflow.errors import InvalidInput, NotFound, Unavailable
from zeroflow.knative.local.serving import websocket
from zeroflow.knative.local.serving.failures import NoInstance
from zeroflow.knative.local.serving.headers import request_head, response_headers
from zeroflow.knative.local.serving.line import QueueFull
from zeroflow.knative.local.serving.pod import Pod
from zeroflow.knative.local.serving.pool import Pool
from zeroflow.knative.local.serving.proxy import (
    SAFE_METHODS,
    Limits,
    Outgoing,
    compose,
    finish,
    limits_of,
    outgoing,
    relay,
)
from zeroflow.knative.local.serving.routes import RouteTable
from zeroflow.knative.local.serving.upstream import Broken, Connection, NotSent

logger = logging.getLogger(__name__)

TIMED_OUT = "activator request timeout"
RETRY_AFTER_S = 1
_ATTEMPTS = 5
_BREAKS = 1  # a request that kills whoever gets it must not go round
_DYING_S = 0.2
_PLAIN = re.compile(r"/[!-~]*")


class Unreachable(Unavailable):
    """The Service could not be asked, or broke off; `status` is what an HTTP client would have been told."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


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
    ) -> None:
        self._routes, self._pool, self._expected, self._changed = routes, pool, expected, changed
        self._session: aiohttp.ClientSession | None = None

    def mapped(self, host: str) -> tuple[str, str] | None:
        """Return (namespace, Service) that a DomainMapping's host leads to."""
        return self._routes.host(host)

    async def serve(self, request: web.Request, namespace: str, name: str, path: str) -> web.StreamResponse:
        """Answer `request` from the Service, tag or mapped name; `path` replaces its path, the query stays."""
        target = (
            f"{path or '/'}?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else path or "/"
        )
        try:
            pool = await self._resolve(namespace, name)
            limits = limits_of(pool.revision["spec"])
            if websocket.wanted(request):
                return await self._websocket(request, pool, limits, target)
            return await self._serve(request, pool, limits, target)
        except NotFound as error:
            return web.Response(status=404, text=f"{error}\n")
        except Unreachable as error:
            headers = {"Retry-After": str(RETRY_AFTER_S)} if error.status == 503 else None
            return web.Response(status=error.status, text=str(error), headers=headers)

    async def post(
        self, namespace: str, name: str, path: str, headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> Answer:
        """POST to a Service from inside the host; raise NotFound, Unreachable or Timeout."""
        pool = await self._resolve(namespace, name, timeout_s)
        given = [(name.encode("latin-1"), value.encode("utf-8", "surrogateescape")) for name, value in headers.items()]
        if any(b"\r" in word or b"\n" in word for pair in given for word in pair):
            raise InvalidInput("a header must not contain a line break")
        if not any(header.lower() == b"host" for header, _ in given):
            given.insert(0, (b"Host", f"{name}.{namespace}.svc.cluster.local".encode()))
        head = request_head("POST", _target(path), given, client="127.0.0.1", scheme="http", length=len(body))
        limits = limits_of(pool.revision["spec"])
        sent = Outgoing("POST", head, body, None)
        try:
            async with asyncio.timeout(min(timeout_s, limits.total_s)) as clock:
                pod, connection = await self._send(sent, pool, limits, clock)
                try:
                    chunks = []
                    while chunk := await connection.read_chunk():
                        chunks.append(chunk)
                finally:
                    pod.connections.give(connection)
                    pool.release(pod)
        except TimeoutError as error:
            raise Timeout(TIMED_OUT, 504) from error
        except Broken as error:
            raise Unreachable(str(error), 502) from error
        answered = {name.lower(): value for name, value in response_headers(connection.headers)}
        return Answer(connection.status, answered, b"".join(chunks))

    async def close(self) -> None:
        """Close what WebSockets have needed."""
        if self._session is not None:
            await self._session.close()

    async def _resolve(self, namespace: str, label: str, timeout_s: float = 300.0) -> Pool:
        """Return the pool for one request; wait for a Service that is still being deployed for the first time."""
        deadline_s = time.monotonic() + timeout_s
        while (found := self._routes.find(namespace, label)) is None or not found[0].targets:
            if found is None and not self._expected(namespace, label):
                raise NotFound(f"no Service {label!r} in namespace {namespace!r}")
            if found is not None and found[0].message:
                raise Unreachable(f"Service {found[0].service} has no ready revision: {found[0].message}", 503)
            await self._wait_for_change(deadline_s)
        entry, picked = found
        revision = entry.pick(picked)
        pool = self._pool(namespace, revision) if revision is not None else None
        if pool is None:
            raise Unreachable(f"Service {entry.service} routes to revision {revision}, which is gone", 503)
        return pool

    async def _wait_for_change(self, deadline_s: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, deadline_s - time.monotonic())), self._changed:
                await self._changed.wait()
        except TimeoutError as error:
            raise Unreachable("context deadline exceeded", 503) from error

    async def _serve(self, request: web.Request, pool: Pool, limits: Limits, target: str) -> web.StreamResponse:
        response: web.StreamResponse | None = None
        try:
            async with asyncio.timeout(limits.total_s) as clock:
                sent = await outgoing(request, target)
                pod, connection = await self._send(sent, pool, limits, clock)
                try:
                    response = compose(request, connection)
                    await relay(request, response, connection, limits.idle_s)
                    await finish(connection)
                except BaseException:
                    connection.abort()
                    await finish(connection)
                    raise
                finally:
                    pod.connections.give(connection)
                    pool.release(pod)
        except TimeoutError as error:
            return _cut(request, response, Timeout(TIMED_OUT, 504), error)
        except Broken as error:
            return _cut(request, response, Unreachable(str(error), 502), error)
        except ConnectionError:  # the client has gone
            return response if response is not None else web.Response(status=499)
        return response

    async def _send(self, sent: Outgoing, pool: Pool, limits: Limits, clock: asyncio.Timeout) -> tuple[Pod, Connection]:
        """Give the request to an instance and return both when the head of the answer is there."""
        broken = 0
        for attempt in range(_ATTEMPTS):
            pod = pool.acquire_now() or await self._acquire(pool, clock)
            try:
                async with asyncio.timeout(limits.response_start_s or None):
                    connection = await sent.send(pod.connections)
                pod.answered = True
                return pod, connection
            except NotSent as error:
                pool.found_dead(pod)
                pool.release(pod)
                if attempt == _ATTEMPTS - 1:
                    raise Unreachable(str(error), 502) from error
            except Broken:
                pool.release(pod)
                broken += 1
                if sent.method not in SAFE_METHODS or not sent.repeatable or broken > _BREAKS:
                    raise
                await pod.gone(_DYING_S)  # a killed process may accept connections for a moment
            except BaseException:
                pool.release(pod)
                raise
        raise AssertionError("unreachable")

    async def _acquire(self, pool: Pool, clock: asyncio.Timeout) -> Pod:
        """Wait for an instance until the time of `clock`, which stands still meanwhile: too long a wait is 503."""
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

    async def _websocket(self, request: web.Request, pool: Pool, limits: Limits, target: str) -> web.StreamResponse:
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


def _target(path: str) -> str:
    """Return a request target that stays on its line, whatever the caller has decoded."""
    if _PLAIN.fullmatch(path):
        return path
    return quote(path, safe="/?%:@!$&'()*+,;=~-._[]") if path.startswith("/") else _target(f"/{path}")


def _cut(
    request: web.Request, response: web.StreamResponse | None, answer: Unreachable, cause: Exception
) -> web.StreamResponse:
    """Tell the client: raise `answer`, or cut the connection when another answer has begun already."""
    if response is None or not response.prepared:
        raise answer from cause
    logger.info("%s %s: cut off in the middle of the answer: %s", request.method, request.path, answer)
    if request.transport is not None:
        request.transport.abort()
    return response
