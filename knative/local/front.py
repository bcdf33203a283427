"""The one door: which part of the host answers a request.

By Host header a request goes to a Service (`<service>.<namespace>.localhost`); on the bare host it goes by path. A page
in a browser cannot use the platform behind its user's back: foreign Host headers (DNS rebinding) and foreign Origins
(cross-site requests) are refused. Off loopback every request needs a bearer token: the platform's, a person's or a
service account's; what the latter may do is said by their roles (`identity`).
"""

import hmac
import logging
import re
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Protocol, cast
from urllib.parse import urlsplit

from aiohttp import web
from multidict import MultiMapping

from zeroflow.errors import InvalidInput
from zeroflow.knative.local.api.rest.access import CALLER
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.http1.connection import Answering, Begin, Client
from zeroflow.knative.local.http1.head import Head
from zeroflow.knative.local.identity.authentication import Authenticator
from zeroflow.knative.local.identity.authorization import Authorizer
from zeroflow.knative.local.identity.callers import OWNER, Caller
from zeroflow.knative.local.identity.gate import Gate
from zeroflow.knative.local.serving.caller_http1 import PASSPORT
from zeroflow.knative.local.serving.caller_http2 import Asked, Http2Caller
from zeroflow.knative.local.serving.caller_plain import PlainCaller
from zeroflow.knative.local.urls import Target, target_of
from zeroflow.predictions import tokens

logger = logging.getLogger(__name__)

PATHS_ANNOTATION = "zeroflow.dev/paths"
"""On a Service of the platform's namespace: the path prefixes of the bare host that it answers."""

PLATFORM_NAMESPACE = "zeroflow"
RESOURCE_PATHS = ("/api", "/apis", "/openapi", "/version", "/livez", "/readyz")
SYSTEM_HOSTS = {
    Target("knative-eventing", "broker-ingress"): "/eventing",
    Target("knative-eventing", "job-sink"): "/jobsinks",
    Target("knative-eventing", "request-reply"): "/requestreplies",
}
CHANNEL_SUFFIX = "-kn-channel"
"""A channel on a cluster is the host `<channel>-kn-channel.<namespace>.svc.cluster.local`."""
PREDICTOR = Caller("zeroflow:predictor", ())
"""Whoever has a predictor's own token: beyond loopback it may send its events to a broker, and nothing else."""
SERVICE_PROXY = re.compile(
    r"/api/v1/namespaces/(?P<namespace>[^/:]+)/services/(?:https?:)?(?P<name>[^/:]+)(?::[^/]*)?/proxy(?:/+(?P<rest>.*))?$"
)
"""The API server's way to a Service, as kubectl and `kfp.Client()` without a host go it."""
PATHS_OF_SERVICES = ("ml-pipeline",)
"""Services of a Kubeflow cluster whose paths are those of the bare host here, in whichever namespace."""
ASKING_THEMSELVES = ("pipeline",)
"""Functions of the platform that ask what a caller may do at their paths here, namespace by namespace."""
WELCOME = """Zeroflow runs here.

  KFP API            {base}/apis/v2beta1
  Model Registry     {base}/api/model_registry/v1alpha3
  Kubernetes API     {base}/api, /apis    (kubectl --kubeconfig {kubeconfig})
  events             POST {base}/eventing/zeroflow/default
  a Service          {base}/serving/<namespace>/<service>/
"""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Request(Protocol):
    """What is asked, by HTTP/1.1 or HTTP/2."""

    @property
    def method(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def headers(self) -> MultiMapping[str]: ...


class Services(Protocol):
    """What answers for a Service (serving's activator)."""

    async def serve(self, request: web.Request, namespace: str, name: str, path: str) -> web.StreamResponse:
        """Stream the request to the Service and its answer back."""

    def begin(self, caller: PlainCaller, namespace: str, name: str, target: str) -> Answering:
        """Begin to answer a plain request; `target` is path and query."""

    async def serve_http2(self, asked: Asked, namespace: str, name: str, target: str) -> None:
        """The same for a request on an HTTP/2 stream; `target` is path and query."""

    def mapped(self, host: str) -> tuple[str, str] | None:
        """Return namespace and Service of a DomainMapping for a host name."""


class Eventing(Protocol):
    """What answers for brokers, JobSinks, channels, EventTransforms and the event log."""

    async def accept(self, request: web.Request, namespace: str, broker: str) -> web.StreamResponse:
        """Take an event in."""

    async def job_sink(self, request: web.Request, namespace: str, name: str) -> web.StreamResponse:
        """Start, or tell of, the Job of an event."""

    async def channel(self, request: web.Request, namespace: str, name: str) -> web.StreamResponse:
        """Take an event in for a channel."""

    async def transform(self, request: web.Request, namespace: str, name: str) -> web.StreamResponse:
        """Rewrite an event."""

    async def request_reply(self, request: web.Request, namespace: str, name: str) -> web.StreamResponse:
        """Take an event in and answer with the one that is sent in return."""

    async def log(self, request: web.Request) -> web.StreamResponse:
        """Tell what became of events."""


@dataclass(frozen=True)
class Guard:
    """Who may come in."""

    allowed_hosts: Collection[str] = ()
    """Host names besides this machine's own loopback names."""
    token: str = ""
    """The platform's bearer token."""
    token_required: bool = False
    """Whether every request needs a token: beyond loopback."""
    authenticator: Authenticator | None = None
    """Who knows the tokens of people and of service accounts."""

    def target(self, request: Request) -> Target | None:
        """Return the Service that the Host header names; raise web.HTTPException when the request may not come in."""
        if request.host.rsplit(":", 1)[0].lower() in self.allowed_hosts:
            target = None
        else:
            try:
                target = target_of(request.host)
            except InvalidInput as error:
                raise web.HTTPMisdirectedRequest(text=f"{error}\n") from error
        self.check_caller(request)
        return target

    def check_caller(self, request: Request) -> None:
        """Raise web.HTTPException for a page of another site, and for a missing token where one is needed."""
        origin = request.headers.get("Origin")
        if origin and origin != "null" and not self._own(origin, request.host):
            raise web.HTTPForbidden(text=f"requests from pages of {origin} are refused\n")
        if origin == "null" or request.headers.get("Sec-Fetch-Site") == "cross-site":
            raise web.HTTPForbidden(text="cross-site requests are refused\n")
        if self.token_required and self.caller(request) is None:
            raise web.HTTPUnauthorized(
                text="this host listens beyond loopback: send Authorization: Bearer <token> "
                "(the owner's is in secrets/platform.token of the host's home; zeroflow users add NAME makes others)\n",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _own(self, origin: str, host: str) -> bool:
        """Say whether a page's origin is this host: one of its names, and the port that it was asked at."""
        page, asked = urlsplit(origin), urlsplit(f"//{host}")
        if page.port != asked.port:
            return False
        if (page.hostname or "") in self.allowed_hosts:
            return True
        try:
            target_of(page.hostname or "")
        except InvalidInput:
            return False
        return True

    def caller(self, request: Request) -> Caller | None:
        """Return who asks: on loopback the owner, where no token says otherwise; None for a token that nobody has."""
        authorization = request.headers.get("Authorization")
        if not authorization:
            return None if self.token_required else OWNER
        if self.is_platform(request):
            return OWNER
        found = self.authenticator.caller(authorization) if self.authenticator is not None else None
        return PREDICTOR if found is None and self.token_required and self._is_predictor(request) else found

    def _is_predictor(self, request: Request) -> bool:
        """Say whether a request is an event of a predictor, by its own token; the broker looks at it once more."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        event_type, source = request.headers.get("ce-type", ""), request.headers.get("ce-source", "")
        return scheme.lower() == "bearer" and tokens.allows(self.token, given.strip(), event_type, source)

    def is_platform(self, request: Request) -> bool:
        """Say whether the request carries the platform's token."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        known = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), self.token.encode())
        return scheme.lower() == "bearer" and bool(self.token) and known


def _is_event(request: Request) -> bool:
    """Say whether anybody could take the request for an event: rather too often than once too rarely."""
    if any("cloudevents" in value.lower() for value in request.headers.getall("Content-Type", [])):
        return True
    return any(name.lower().startswith("ce-") for name in request.headers)


class Front:
    """Routes requests to the parts of the host."""

    def __init__(
        self,
        *,
        store: Store,
        resources: Handler,
        services: Services,
        eventing: Eventing,
        guard: Guard,
        welcome: str,
    ) -> None:
        self._store, self._resources, self._services, self._eventing = store, resources, services, eventing
        self._guard, self._welcome = guard, welcome
        self._gate = Gate(Authorizer(store), guard.token)
        self._receivers = {
            "jobsinks": eventing.job_sink,
            "channels": eventing.channel,
            "transforms": eventing.transform,
            "requestreplies": eventing.request_reply,
        }

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        path = request.rel_url.raw_path
        service, path = self._addressed(request, path)
        if service is not None:
            return await self._services.serve(request, service.namespace, service.name, path)
        return await self._by_path(request, path)

    async def handle_http2(self, asked: Asked) -> bool:
        """Answer what is asked on an HTTP/2 stream; return False when it is not for a Service."""
        path, mark, query = asked.target.partition("?")
        try:
            service, path = self._addressed(asked, path)
        except web.HTTPException as refusal:
            await Http2Caller(asked).refuse(refusal.status, refusal.text or "", dict(refusal.headers))
            return True
        if service is not None:
            await self._services.serve_http2(asked, service.namespace, service.name, path + mark + query)
        return service is not None

    def find(self, head: Head) -> Begin | None:
        """Return what answers a plain request to a Service; None for any other, which `handle` answers or refuses."""
        path, mark, query = head.target.partition("?")
        try:
            service, path = self._addressed(head, path)
        except web.HTTPException:
            return None
        return None if service is None else partial(self._begin, service, (path or "/") + mark + query)

    def _begin(self, service: Target, target: str, client: Client, head: Head, body: bytes) -> Answering:
        return self._services.begin(PlainCaller(client, head, body), service.namespace, service.name, target)

    def _addressed(self, request: Request, path: str) -> tuple[Target | None, str]:
        """Return the Service that a request is for, None for the host itself, and the path there.

        Raises web.HTTPException when the request may not come in.
        """
        mapped = self._services.mapped(request.host.rsplit(":", 1)[0].lower())
        if mapped is not None:
            self._guard.check_caller(request)
            return self._admitted(request, Target(*mapped)), path
        target = self._guard.target(request)
        if target is not None:
            prefix = SYSTEM_HOSTS.get(target)
            if target.name.endswith(CHANNEL_SUFFIX):
                prefix, path = f"/channels/{target.namespace}/{target.name.removesuffix(CHANNEL_SUFFIX)}", ""
            if prefix is None:
                return self._admitted(request, target), path
            path = prefix + path
        if path.startswith("/serving/"):
            namespace, _, rest = path.removeprefix("/serving/").partition("/")
            name, _, rest = rest.partition("/")
            if namespace and name:
                return self._admitted(request, Target(namespace, name)), f"/{rest}"
        if (proxied := SERVICE_PROXY.match(path)) is not None:
            if proxied["name"] not in PATHS_OF_SERVICES:
                service = Target(proxied["namespace"], proxied["name"])
                return self._admitted(request, service), f"/{proxied['rest'] or ''}"
            path = f"/{proxied['rest'] or ''}"
        if (found := self._platform_service(path)) is not None:
            return self._told(request, Target(PLATFORM_NAMESPACE, found), asks=found not in ASKING_THEMSELVES), path
        return None, path

    def _admitted(self, request: Request, service: Target) -> Target:
        """Return the Service; the platform's own functions get events only through the broker."""
        service = self._told(request, service)
        if service.namespace == PLATFORM_NAMESPACE and _is_event(request) and not self._guard.is_platform(request):
            raise web.HTTPForbidden(
                text="the platform's functions take events from the broker alone: "
                f"POST to /eventing/{PLATFORM_NAMESPACE}/default\n"
            )
        return service

    def _told(self, request: Request, service: Target, *, asks: bool = True) -> Target:
        """Return the Service, which will be told who asks; raise 403 when they may not, unless it asks by itself."""
        caller = self._guard.caller(request)
        if caller is not OWNER and asks:
            self._gate.check_service(caller, request.method, service)
        if request.headers.get("Authorization"):
            passport = self._gate.passport(caller, platform=service.namespace == PLATFORM_NAMESPACE)
            if isinstance(request, web.BaseRequest):
                request[PASSPORT] = passport
            else:
                cast("Head | Asked", request).passport = passport
        return service

    async def _by_path(self, request: web.Request, path: str) -> web.StreamResponse:
        if path == "/":
            return web.Response(text=self._welcome)
        if path == "/healthz":
            return web.Response(text="ok")
        first, *rest = path.lstrip("/").split("/")
        caller = self._guard.caller(request)
        if f"/{first}" in RESOURCE_PATHS:
            request[CALLER] = caller
            return await self._resources(request)
        is_told = caller is PREDICTOR and first == "eventing" and rest[:1] not in ([], ["events"])
        if caller is not OWNER and not is_told:
            self._gate.check_path(caller, request.method, path)
        if first == "eventing":
            if not rest or rest[0] == "events":
                return await self._eventing.log(request)
            return await self._eventing.accept(request, rest[0], "/".join(rest[1:]))
        receive = self._receivers.get(first)
        if receive is not None and len(rest) >= 2:
            return await receive(request, rest[0], rest[1])
        raise web.HTTPNotFound(text=f"nothing answers {path} here; GET / lists what does\n")

    def _platform_service(self, path: str) -> str | None:
        """Return the Service with the longest path prefix that fits, ending at a slash or at the path's end."""
        best, found = "", None
        for service in self._store.peek("Service.serving.knative.dev", PLATFORM_NAMESPACE):
            prefixes = service["metadata"].get("annotations", {}).get(PATHS_ANNOTATION, "")
            for prefix in filter(None, (part.strip().rstrip("/") for part in prefixes.split(","))):
                fits = path == prefix or path.startswith((prefix + "/", prefix + ":"))
                if fits and len(prefix) > len(best):
                    best, found = prefix, service["metadata"]["name"]
        return found
