"""The door of the resource API: which handler answers which path, and errors as Status bodies.

`ResourceApi(store, home).handle` is mounted by the host's front for /api, /apis/<group of Kubernetes>, /openapi,
/version, /readyz and /livez. The front says who asks; what they may do is decided here, by their roles.
"""

from __future__ import annotations

import asyncio
import logging
import platform
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from zeroflow.errors import Unavailable, ZeroflowError
from zeroflow.knative.local.api.errors import MethodNotAllowed, NotAcceptable, NotFound, Unauthorized
from zeroflow.knative.local.api.rest import access, logs, parameters, reads, status
from zeroflow.knative.local.api.rest.access import CALLER
from zeroflow.knative.local.api.rest.discovery import UNKEPT, Discovery
from zeroflow.knative.local.api.rest.logs import LogFiles
from zeroflow.knative.local.api.rest.metrics import API_VERSION as METRICS
from zeroflow.knative.local.api.rest.metrics import Metrics, Usage
from zeroflow.knative.local.api.rest.openapi import OpenApi
from zeroflow.knative.local.api.rest.replies import reply
from zeroflow.knative.local.api.rest.reviews import Reviewer
from zeroflow.knative.local.api.rest.scale import Scaler
from zeroflow.knative.local.api.rest.streams import command, forwarding
from zeroflow.knative.local.api.rest.streams.pods import Pods
from zeroflow.knative.local.api.rest.target import NOWHERE, Target, parse
from zeroflow.knative.local.api.rest.watch import Watch
from zeroflow.knative.local.api.rest.writes import Writer
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.identity.authentication import Authenticator
from zeroflow.knative.local.identity.authorization import Authorizer
from zeroflow.knative.local.identity.callers import OWNER

logger = logging.getLogger(__name__)

KUBERNETES_MINOR: Final = "32"  # the API level that clients may assume
UNAVAILABLE: Final = 503
RETRY_AFTER_S: Final = "1"
STREAMS: Final = ("exec", "attach", "portforward")
NOT_ALLOWED: Final = "the server does not allow this method on the requested resource"


class ResourceApi:
    """The HTTP handler over a store. `home` tells where containers write their logs, `pods` reaches into them,
    `usage` measures them."""

    def __init__(
        self,
        store: Store,
        home: LogFiles,
        pods: Pods | None = None,
        version: str = "0.1.0",
        authenticator: Authenticator | None = None,
        usage: Usage | None = None,
    ) -> None:
        self._store = store
        self._home, self._pods = home, pods
        self._authorizer = Authorizer(store)
        self._reviewer = Reviewer(store, self._authorizer, authenticator)
        self._metrics = Metrics(store, self._authorizer, usage) if usage is not None else None
        self.version = f"v1.{KUBERNETES_MINOR}.0+zeroflow.{version}"
        """What clients are told of the Kubernetes that this is like."""
        self._discovery = Discovery(store.kinds)
        self._openapi = OpenApi(store)
        self._writer = Writer(store, self._authorizer)
        self._scaler = Scaler(store)
        self._streams: set[asyncio.Task[object]] = set()
        self._closing = False

    @property
    def groups(self) -> frozenset[str]:
        """The API groups that exist now: what the front routes here under /apis."""
        return frozenset(self._store.kinds.groups()) | {group for group, _ in UNKEPT}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a request; every error becomes a metav1.Status."""
        try:
            return await self._route(request)
        except ZeroflowError as error:
            body = status.failure(error)
            answer = reply(body, int(body["code"]))
            if answer.status == UNAVAILABLE:
                answer.headers["Retry-After"] = RETRY_AFTER_S
                answer.force_close()
            return answer
        except (web.HTTPException, asyncio.CancelledError, ConnectionResetError):
            raise
        except Exception:
            logger.exception("request failed method=%s path=%s", request.method, request.path)
            return reply(status.crashed(), 500)

    async def close(self) -> None:
        """End the watches and followed logs that are open and take no more, so that the server can stop."""
        self._closing = True
        for task in list(self._streams):
            task.cancel()
        if self._streams:
            await asyncio.wait(self._streams)

    async def _route(self, request: web.Request) -> web.StreamResponse:
        parts = [part for part in request.path.split("/") if part]
        if request.get(CALLER, OWNER) is None:
            raise Unauthorized("Unauthorized")
        access.impersonate(self._authorizer, request)
        match parts:
            case ["readyz" | "livez", *_]:
                return web.Response(text="ok")
            case ["version"]:
                return self._read(request, self._version_info)
            case ["openapi", "v2"]:
                return self._read(request, lambda: self._openapi.v2(request))
            case ["openapi", "v3"]:
                return self._read(request, self._openapi.index)
            case ["openapi", "v3", *rest]:
                return self._read(request, lambda: self._openapi.v3(rest))
            case ["api"]:
                return self._read(request, lambda: self._discovery.core(request))
            case ["apis"]:
                return self._read(request, lambda: self._discovery.groups(request))
            case ["apis", group]:
                return self._read(request, lambda: self._discovery.group(group))
            case ["api", version]:
                return self._read(request, lambda: self._discovery.resources("", version))
            case ["apis", group, version]:
                return self._read(request, lambda: self._discovery.resources(group, version))
            case ["api", version, *rest]:
                return await self._object(request, rest, "", version)
            case ["apis", group, version, *rest]:
                if (answer := self._unkept(request, rest, group, version)) is not None:
                    return await answer
                return await self._object(request, rest, group, version)
        raise NotFound(NOWHERE)

    def _unkept(
        self, request: web.Request, asked: list[str], group: str, version: str
    ) -> Awaitable[web.StreamResponse] | None:
        """Return what answers for a review or for metrics; None when the path is none's."""
        parts, namespace = asked, None
        if len(parts) == 3 and parts[0] == "namespaces":
            namespace, parts = parts[1], parts[2:]
        if self._metrics is not None and f"{group}/{version}" == METRICS:
            return self._metrics.answer(request, asked)
        for one in UNKEPT.get((group, version), ()):
            if parts == [one.plural] and (namespace is not None) == one.namespaced:
                return self._reviewer.review(request, f"{group}/{version}", one.kind, one.plural, namespace)
        return None

    def _read(self, request: web.Request, answer: Callable[[], web.Response]) -> web.Response:
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(NOT_ALLOWED)
        return answer()

    def _version_info(self) -> web.Response:
        return reply(
            {
                "major": "1",
                "minor": KUBERNETES_MINOR,
                "gitVersion": self.version,
                "gitCommit": "",
                "gitTreeState": "clean",
                "buildDate": "1970-01-01T00:00:00Z",
                "goVersion": "none",
                "compiler": "cpython",
                "platform": f"{platform.system().lower()}/{platform.machine()}",
            }
        )

    async def _object(self, request: web.Request, parts: list[str], group: str, version: str) -> web.StreamResponse:
        target = parse(parts, group, version, self._store.kinds)
        access.check(self._authorizer, request, target)
        if target.subresource == "token":
            return await self._reviewer.request_token(request, target)
        if target.subresource == "log":
            if request.method not in ("GET", "HEAD"):
                raise MethodNotAllowed(NOT_ALLOWED)
            return await self._streaming(lambda: logs.log(self._store, self._home, request, target))
        if target.subresource in STREAMS:
            return await self._streaming(lambda: self._reach_into(request, target))
        if not parameters.accepts_json(request):
            raise NotAcceptable("only the following media types are accepted: application/json")
        if target.subresource == "scale":
            return await self._scaler.handle(request, target)
        if target.name is None:
            return await self._collection(request, target)
        match request.method:
            case "GET" | "HEAD":
                if parameters.flag(request, "watch"):
                    return await self._streaming(Watch(self._store, request, target).serve)
                return reads.get(self._store, request, target)
            case "PUT":
                return await self._writer.replace(request, target)
            case "PATCH":
                return await self._writer.patch(request, target)
            case "DELETE" if not target.subresource:
                return await self._writer.delete(request, target)
        raise MethodNotAllowed(NOT_ALLOWED)

    async def _reach_into(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Serve exec, attach and port-forward."""
        if request.method not in ("GET", "POST") or self._pods is None:
            raise MethodNotAllowed(NOT_ALLOWED)
        namespace, name = target.namespace or "", target.name or ""
        pod = self._store.find(target.kind, namespace, name)
        if pod is None:
            raise NotFound.named("pods", name)
        if target.subresource == "portforward":
            return await forwarding.forward(request, self._pods, namespace, name)
        container = logs.container_of(pod, request.query.get("container"))
        attach = target.subresource == "attach"
        return await command.execute(request, self._pods, namespace, name, container, attach=attach)

    async def _collection(self, request: web.Request, target: Target) -> web.StreamResponse:
        match request.method:
            case "GET" | "HEAD":
                if parameters.flag(request, "watch"):
                    return await self._streaming(Watch(self._store, request, target).serve)
                return reads.listing(self._store, request, target)
            case "POST":
                return await self._writer.create(request, target)
            case "DELETE":
                return await self._writer.delete_collection(request, target)
        raise MethodNotAllowed(NOT_ALLOWED)

    async def _streaming(self, answer: Callable[[], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        if self._closing:
            raise Unavailable("the host is stopping")
        task = asyncio.current_task()
        assert task is not None
        self._streams.add(task)
        try:
            return await answer()
        finally:
            self._streams.discard(task)
