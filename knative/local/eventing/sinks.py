"""How a source's events leave: into a broker of this host at once, or as a durable delivery of their own.

Guarantees: `send` returns when the event is on disk, with whatever the caller adds to the same transaction. A direct
delivery is tried as Knative's sources do: 5 retries, exponential from 50 ms; what fails for good stays visible in the
log.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from zeroflow.knative.local.api.objects import Object
from zeroflow.knative.local.eventing.cloudevent import Event
from zeroflow.knative.local.eventing.conditions import Conditions
from zeroflow.knative.local.eventing.delivery import SOURCE_POLICY
from zeroflow.knative.local.eventing.destinations import Destination, Resolver, ToBroker
from zeroflow.knative.local.eventing.dispatcher import Dispatcher, Subscriber
from zeroflow.knative.local.eventing.errors import BrokerNotFound, Unresolved
from zeroflow.knative.local.eventing.ingress import TTL_MAX, Ingress
from zeroflow.knative.local.eventing.log import EventLog, NewEvent

Also = Callable[[sqlite3.Connection], None]


class Sinks:
    """The sinks of all sources."""

    def __init__(self, log: EventLog, ingress: Ingress, dispatcher: Dispatcher, resolver: Resolver) -> None:
        self._log, self._ingress, self._dispatcher, self._resolver = log, ingress, dispatcher, resolver
        self._destinations: dict[str, Destination] = {}

    def provide(self, source: Object, conditions: Conditions) -> Destination | None:
        """Resolve a source's sink, mark SinkProvided, and direct the source's deliveries there."""
        key, namespace = subscription_of(source), source["metadata"]["namespace"]
        try:
            destination = self._resolver.resolve(source["spec"]["sink"], namespace)
        except Unresolved as error:
            conditions.false("SinkProvided", error.why, str(error))
            self._dispatcher.subscribe(key, None)
            return None
        conditions.true("SinkProvided")
        self._destinations[key] = destination
        self._dispatcher.subscribe(key, Subscriber(destination, SOURCE_POLICY, namespace, replies=False))
        return destination

    async def remove(self, source: Object) -> None:
        """Forget a source and end what it still had to deliver."""
        key = subscription_of(source)
        self._destinations.pop(key, None)
        self._dispatcher.unsubscribe(key)
        await self._log.drop(key, "its source was deleted")

    async def send(self, source: Object, event: Event, also: Also | None = None) -> int:
        """Make an event of a source durable, on its way to the sink."""
        key, namespace = subscription_of(source), source["metadata"]["namespace"]
        destination = self._destinations.get(key)
        if destination is not None and isinstance(destination.target, ToBroker):
            try:
                target = destination.target
                new = self._ingress.admit(target.namespace, target.name, event, None, {})
                return await self._log.accept(new, also)
            except BrokerNotFound:
                pass  # it went a moment ago: the direct delivery waits for it and shows the failure
        return await self._log.accept(NewEvent(namespace, "", event, TTL_MAX, {}, [key]), also)


def subscription_of(source: Object) -> str:
    """Return the key of a source's direct deliveries in the log."""
    metadata = source["metadata"]
    return f"{source['kind'].lower()}/{metadata['namespace']}/{metadata['name']}/{metadata['uid']}"
