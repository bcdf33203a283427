"""The broker's front door: POST one CloudEvent, 202 when it is on disk.

Source: Knative broker ingress (codes, OPTIONS, ttl, knativearrivaltime, pass-through headers) and CloudEvents HTTP
1.0.2.
"""

from __future__ import annotations

import hmac
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Mapping

from aiohttp import web

from zeroflow.errors import ZeroflowError
from zeroflow.knative.local.eventing.cloudevent import Attribute, Event, from_http, timestamp
from zeroflow.knative.local.eventing.destinations import ToService
from zeroflow.knative.local.eventing.dispatcher import Subscriber
from zeroflow.knative.local.eventing.errors import (
    BrokerNotFound,
    ChannelNotFound,
    EventExpired,
    EventForbidden,
    InvalidEvent,
    LogClosed,
    RequestReplyNotFound,
)
from zeroflow.knative.local.eventing.log import EventLog, NewEvent, Record
from zeroflow.knative.local.eventing.routes import Routes
from zeroflow.knative.local.eventing.settings import EventingSettings
from zeroflow.predictions import tokens

logger = logging.getLogger(__name__)

TTL_EXTENSION = "knativebrokerttl"
ARRIVAL_EXTENSION = "knativearrivaltime"
TTL_MAX = 255
PLATFORM_PREFIX = "dev.zeroflow."
_ALLOW = {"Allow": "POST, OPTIONS"}
_WEBHOOK = {**_ALLOW, "WebHook-Allowed-Origin": "*", "WebHook-Allowed-Rate": "*"}
_PASSED = frozenset({"x-request-id", "retry-after", "traceparent", "tracestate"})
_PASSED_PREFIXES = ("knative-", "x-b3-")

Take = Callable[[Event, Mapping[str, str]], Awaitable[None]]
"""Stores an event; the headers are those that reach subscribers."""


class Ingress:
    """Accepts events for brokers, from HTTP and from inside the host."""

    def __init__(self, log: EventLog, routes: Routes, settings: EventingSettings, token: str) -> None:
        self._log, self._routes, self._settings, self._token = log, routes, settings, token
        self.listeners: list[Callable[[str, str, Event], None]] = []
        """Told of each event that a broker takes: its namespace, its name, the event."""

    async def handle(self, request: web.Request, namespace: str, broker: str) -> web.Response:
        """Answer one request to /<namespace>/<broker>."""

        async def take(event: Event, headers: Mapping[str, str]) -> None:
            await self.accept(namespace, broker, event, None, headers)

        if request.method == "POST" and not (namespace and broker):
            return refusal(404, "post to /<namespace>/<broker>")
        missing = None if self._routes.has_broker(namespace, broker) else BrokerNotFound(namespace, broker)
        return await self.receive(request, take, missing)

    async def receive(self, request: web.Request, take: Take, missing: ZeroflowError | None) -> web.Response:
        """Answer one request to a receiver of events: `take` stores the event; `missing`: the receiver is not there."""
        if request.method == "OPTIONS":
            return web.Response(status=200, headers=_WEBHOOK)
        if request.method != "POST":
            return refusal(405, f"{request.method} is not allowed: POST an event", _ALLOW)
        try:
            if missing is not None:
                raise missing
            event = from_http(request.headers.items(), await read_body(request, self._settings.max_event_bytes))
            self.check_publisher(event, request.headers)
            await take(event, passed_headers(request.headers.items()))
        except (BrokerNotFound, ChannelNotFound, RequestReplyNotFound) as error:
            return refusal(404, str(error))
        except EventForbidden as error:
            return refusal(403, str(error))
        except (InvalidEvent, EventExpired) as error:
            return refusal(400, str(error))
        except (sqlite3.Error, LogClosed) as error:
            logger.error("event not accepted: path=%s error=%s", request.path, error)
            return refusal(503, f"the event could not be stored: {error}", {"Retry-After": "1"})
        return web.Response(status=202, headers=_ALLOW)

    async def accept(
        self, namespace: str, broker: str, event: Event, ttl: int | None, headers: Mapping[str, str]
    ) -> int:
        """Store an event and its deliveries, return its number; `ttl`: its hop count, None reads the extension."""
        new = self.admit(namespace, broker, event, ttl, headers)
        return await self._log.accept(new)

    def admit(self, namespace: str, broker: str, event: Event, ttl: int | None, headers: Mapping[str, str]) -> NewEvent:
        """Count the hop, stamp the arrival and find the subscriptions; raise BrokerNotFound or EventExpired."""
        if not self._routes.has_broker(namespace, broker):
            raise BrokerNotFound(namespace, broker)
        hops = next_ttl(event.attributes.get(TTL_EXTENSION) if ttl is None else ttl)
        event = event.extended({TTL_EXTENSION: None, ARRIVAL_EXTENSION: timestamp()})
        for listener in self.listeners:
            listener(namespace, broker, event)
        return NewEvent(namespace, broker, event, hops, headers, self._routes.matching(namespace, broker, event))

    def admit_reply(self, record: Record, reply: Event, subscriber: Subscriber) -> NewEvent:
        """Prepare a reply for the broker of its event: its hop count; the platform's types from the platform only."""
        self.check_replier(reply, subscriber)
        return self.admit(record.namespace, record.broker, reply, record.ttl, reply_headers(record))

    def check_replier(self, reply: Event, subscriber: Subscriber) -> None:
        """Raise EventForbidden when a subscriber that is not the platform replies with a type of the platform."""
        target = subscriber.destination.target
        trusted = isinstance(target, ToService) and target.namespace == self._settings.platform_namespace
        if reply.type.startswith(PLATFORM_PREFIX) and not trusted:
            raise EventForbidden(reply.type)

    def check_publisher(self, event: Event, headers: Mapping[str, str]) -> None:
        """Raise EventForbidden when the type is the platform's and the request carries no token that allows it.

        The platform's own token allows every event, a predictor's token what predictors say of their answers.
        """
        if not event.type.startswith(PLATFORM_PREFIX):
            return
        scheme, _, given = headers.get("Authorization", "").partition(" ")
        given = given.strip()
        known = hmac.compare_digest(given.encode("utf-8", "replace"), self._token.encode())
        allowed = known or tokens.allows(self._token, given, event.type, event.source)
        if scheme.lower() != "bearer" or not self._token or not allowed:
            raise EventForbidden(event.type)


def reply_headers(record: Record) -> dict[str, str]:
    """Return the headers of an event that go on with a reply to it."""
    return {name: value for name, value in record.headers.items() if name != "retry-after"}


async def read_body(request: web.Request, limit: int) -> bytes:
    """Read a body up to the limit, whatever the application's own limit is; raise 413, or 415 when it is compressed."""
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity":
        raise web.HTTPUnsupportedMediaType(
            text=f"content encoding {encoding!r} is not accepted: send the event as it is\n"
        )
    too_large = f"the event is larger than {limit} bytes: keep large data in the object store and send its URI\n"
    if request.content_length is not None and request.content_length > limit:
        raise web.HTTPRequestEntityTooLarge(limit, request.content_length, text=too_large)
    body = bytearray()
    async for chunk in request.content.iter_chunked(64 * 1024):
        body += chunk
        if len(body) > limit:
            raise web.HTTPRequestEntityTooLarge(limit, len(body), text=too_large)
    return bytes(body)


def next_ttl(given: Attribute | None) -> int:
    """Return the hop count that is left after this broker; raise EventExpired when none is."""
    try:
        hops = int(given) if given is not None and not isinstance(given, bool) else None
    except ValueError:
        hops = None
    if hops is None or hops > TTL_MAX:
        return TTL_MAX
    if hops <= 1:
        raise EventExpired
    return hops - 1


def passed_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the headers of a producer that reach subscribers: tracing, request id, Knative's own."""
    passed = {}
    for name, value in headers:
        lowered = name.lower()
        if lowered in _PASSED or lowered.startswith(_PASSED_PREFIXES):
            passed[lowered] = value
    return passed


def refusal(status: int, message: str, headers: Mapping[str, str] = {}) -> web.Response:
    """Answer with one line of text that says why."""
    return web.Response(status=status, text=message + "\n", headers=headers)
