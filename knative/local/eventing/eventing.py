"""The eventing room of the embedded host: brokers, triggers, sources and sinks behind one object.

Guarantees: admission applies from construction on; after `start` every declared object is in force and what an
earlier process had accepted and not finished is being delivered; `close` leaves nothing half-written and nothing
running.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.clock import Clock
from zeroflow.knative.local.eventing import admission
from zeroflow.knative.local.eventing.apiserver import APISERVER_SOURCE, ApiServerSources
from zeroflow.knative.local.eventing.cloudevent import Event, from_document
from zeroflow.knative.local.eventing.controllers import Controllers, Reconciler
from zeroflow.knative.local.eventing.courier import Courier
from zeroflow.knative.local.eventing.destinations import (
    BROKER,
    CHANNEL,
    EVENT_TRANSFORM,
    IN_MEMORY_CHANNEL,
    JOB_SINK,
    PARALLEL,
    SEQUENCE,
    Resolver,
)
from zeroflow.knative.local.eventing.dispatcher import Dispatcher
from zeroflow.knative.local.eventing.event_types import EVENT_TYPE, EventTypeReconciler
from zeroflow.knative.local.eventing.history import History
from zeroflow.knative.local.eventing.ingress import Ingress
from zeroflow.knative.local.eventing.jobsink import JobSinks
from zeroflow.knative.local.eventing.log import EventLog
from zeroflow.knative.local.eventing.messaging.channels import ChannelReconciler, Channels, InMemoryChannelReconciler
from zeroflow.knative.local.eventing.messaging.flows import ParallelReconciler, SequenceReconciler
from zeroflow.knative.local.eventing.messaging.subscriptions import SUBSCRIPTION, SubscriptionReconciler
from zeroflow.knative.local.eventing.outside import OutsideClient
from zeroflow.knative.local.eventing.ping import PING_SOURCE, PingSources, knative_jitter_s
from zeroflow.knative.local.eventing.poster import Poster, Subscribers
from zeroflow.knative.local.eventing.replay import Replay
from zeroflow.knative.local.eventing.request_replies import REQUEST_REPLY, RequestReplies
from zeroflow.knative.local.eventing.retention import Retention
from zeroflow.knative.local.eventing.rooms import Rooms
from zeroflow.knative.local.eventing.routes import Routes
from zeroflow.knative.local.eventing.settings import EventingSettings
from zeroflow.knative.local.eventing.sinkbinding import SINK_BINDING, BindingReconciler, SinkBindings
from zeroflow.knative.local.eventing.sinks import Sinks
from zeroflow.knative.local.eventing.status import StatusWriter
from zeroflow.knative.local.eventing.transforms.transforms import Transforms
from zeroflow.knative.local.eventing.triggers import TRIGGER, BrokerReconciler, TriggerReconciler, is_ours
from zeroflow.knative.local.home import Home
from zeroflow.knative.local.urls import Urls

logger = logging.getLogger(__name__)


class Eventing:
    """What the host puts behind /eventing and /jobsinks; `subscribers` posts to Services (serving's activator)."""

    def __init__(
        self,
        store: Store,
        subscribers: Subscribers,
        urls: Urls,
        home: Home,
        token: str,
        settings: EventingSettings | None = None,
        clock: Clock | None = None,
        jitter_s: Callable[[], float] = knative_jitter_s,
    ) -> None:
        self._store, self._subscribers, self._urls, self._home, self._token = store, subscribers, urls, home, token
        self._settings, self._clock, self._jitter_s = settings or EventingSettings(), clock, jitter_s
        self._parts: _Parts | None = None
        admission.install(store)
        resolver = Resolver(store, urls, allow_loopback=self._settings.allow_loopback)
        self._bindings = SinkBindings(store, resolver)

    async def start(self) -> None:
        """Open the log, put what is declared in force, go on with what waits."""
        log = await EventLog.open(self._home.db / "broker.sqlite", self._settings.inline_bytes)
        self._parts = _Parts(self, log)
        await self._parts.start()

    async def close(self, grace_s: float = 5.0) -> None:
        """Take no more events, give attempts under way some time, close the log; the rest waits for the next start."""
        parts, self._parts = self._parts, None
        if parts is not None:
            await parts.close(grace_s)

    async def accept(self, request: web.Request, namespace: str, broker: str) -> web.StreamResponse:
        """Serve the ingress of a broker."""
        return await self._started.ingress.handle(request, namespace, broker)

    async def job_sink(self, request: web.Request, namespace: str, name: str) -> web.StreamResponse:
        """Serve a JobSink, and the Location of its events: any path that holds /namespaces/N/name/S/sources/X/ids/I."""
        return await self._started.jobsinks.handle(request, namespace, name)

    async def channel(self, request: web.Request, namespace: str, name: str) -> web.StreamResponse:
        """Serve the receiver of a channel."""
        return await self._started.channels.handle(request, namespace, name)

    async def transform(self, request: web.Request, namespace: str, name: str) -> web.StreamResponse:
        """Serve an EventTransform."""
        return await self._started.transforms.handle(request, namespace, name)

    async def request_reply(self, request: web.Request, namespace: str, name: str) -> web.StreamResponse:
        """Serve a RequestReply."""
        return await self._started.request_replies.handle(request, namespace, name)

    async def log(self, request: web.Request) -> web.StreamResponse:
        """Serve the event log: GET reads it, POST sends one of its events again."""
        parts = self._started
        return await (parts.replay.handle(request) if request.method == "POST" else parts.history.handle(request))

    async def publish(self, namespace: str, broker: str, event: Event | Mapping[str, Any]) -> int:
        """Accept an event of the host itself, which may be given in the JSON format (`data` inside); return its number
        once it is on disk. Raises BrokerNotFound and InvalidEvent.
        """
        read = event if isinstance(event, Event) else from_document(event)
        return await self._started.ingress.accept(namespace, broker, read, None, {})

    @property
    def under_way(self) -> int:
        """How many delivery attempts run now."""
        return self._started.dispatcher.under_way

    @property
    def _started(self) -> _Parts:
        if self._parts is None:
            raise web.HTTPServiceUnavailable(text="eventing is starting or stopping\n", headers={"Retry-After": "1"})
        return self._parts

    def _broker_exists(self, namespace: str, name: str) -> bool:
        return any(
            broker["metadata"]["name"] == name and is_ours(broker) for broker in self._store.peek(BROKER, namespace)
        )


class _Parts:
    """What exists between start and close."""

    def __init__(self, room: Eventing, log: EventLog) -> None:
        store, urls, settings = room._store, room._urls, room._settings
        self._log = log
        self._routes = Routes(room._broker_exists)
        self.ingress = Ingress(log, self._routes, settings, room._token)
        self._outside = OutsideClient(settings.max_event_bytes, allow_loopback=settings.allow_loopback)
        poster = Poster(room._subscribers, self._outside)
        resolver = Resolver(store, urls, allow_loopback=settings.allow_loopback)
        status = StatusWriter(store)
        self.jobsinks = JobSinks(
            store, self.ingress, status, urls, room._home.root / "jobsinks", settings.max_event_bytes
        )
        self.channels = Channels(store, log, self.ingress)
        self.request_replies = RequestReplies(store, self.ingress, status, urls)
        self.transforms = Transforms(store, resolver, status, urls, poster, settings.max_event_bytes)
        rooms = poster.receivers = Rooms(log, self.ingress, self.channels, self.jobsinks, self.transforms)
        self.dispatcher = Dispatcher(log, Courier(log, poster, rooms).deliver, settings)
        sinks = Sinks(log, self.ingress, self.dispatcher, resolver)
        self._pings = PingSources(sinks, status, room._clock, room._jitter_s)
        self._apiservers = ApiServerSources(store, log, sinks, status, urls)
        subscriptions = SubscriptionReconciler(store, log, self.channels, self.dispatcher, resolver, status)
        triggers = TriggerReconciler(store, log, self._routes, self.dispatcher, resolver, status)
        # Reconciled at the start in this order, so that references are there before what refers to them.
        reconcilers: dict[str, Reconciler] = {
            JOB_SINK: self.jobsinks,
            EVENT_TRANSFORM: self.transforms,
            BROKER: BrokerReconciler(urls, resolver, status),
            IN_MEMORY_CHANNEL: InMemoryChannelReconciler(urls, resolver, status),
            CHANNEL: ChannelReconciler(store, resolver, status),
            SUBSCRIPTION: subscriptions,
            SEQUENCE: SequenceReconciler(store, status),
            PARALLEL: ParallelReconciler(store, status),
            TRIGGER: triggers,
            PING_SOURCE: self._pings,
            APISERVER_SOURCE: self._apiservers,
            SINK_BINDING: BindingReconciler(room._bindings, status),
            EVENT_TYPE: EventTypeReconciler(store, status),
            REQUEST_REPLY: self.request_replies,
        }
        self._controllers = Controllers(store, reconcilers, self.jobsinks, self._apiservers)
        self._retention = Retention(log, settings)
        self.history = History(log)
        self.replay = Replay(log, self.ingress)

    async def start(self) -> None:
        self.jobsinks.sweep()
        await self._controllers.start()
        for subscription in await self._log.subscriptions() - self.dispatcher.subscriptions:
            await self._log.drop(subscription, "its trigger or source was deleted")
        self._retention.start()

    async def close(self, grace_s: float) -> None:
        self._log.end_waiting()
        self.request_replies.close()
        await self._controllers.close()
        await self.transforms.close()
        await self._pings.close()
        await self._apiservers.close()
        await self._retention.close()
        await self.dispatcher.close(grace_s)
        await self._outside.close()
        await self._log.close()
