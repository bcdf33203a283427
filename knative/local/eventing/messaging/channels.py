"""Channels: what is posted to one goes to every subscription of it.

Guarantees: an event is accepted when it and its deliveries are on disk, as a broker's; unlike on a cluster it survives
the host. A Channel is realised by the InMemoryChannel of its name, which it owns. Events count their hops here too,
so that channels which feed each other end.
Source: knative.dev/eventing pkg/channel (receiver), pkg/apis/messaging/v1 (conditions).
"""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from zeroflow.knative.local.api.objects import Object, controller_of
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.eventing import destinations
from zeroflow.knative.local.eventing.cloudevent import Event
from zeroflow.knative.local.eventing.conditions import Conditions, ready_of
from zeroflow.knative.local.eventing.delivery_spec import dead_letter
from zeroflow.knative.local.eventing.destinations import IN_MEMORY_CHANNEL, Reference, Resolver
from zeroflow.knative.local.eventing.errors import ChannelNotFound
from zeroflow.knative.local.eventing.ingress import TTL_MAX, Ingress, next_ttl
from zeroflow.knative.local.eventing.log import EventLog, NewEvent
from zeroflow.knative.local.eventing.messaging.spec import API_VERSION
from zeroflow.knative.local.eventing.status import StatusWriter
from zeroflow.knative.local.urls import Urls
from zeroflow.resources.owners import owned_by

_OFF = ("EventPoliciesSkipped", 'feature "authentication-oidc" is disabled')


class Channels:
    """The receivers of all channels; `subscriptions` keeps them current."""

    def __init__(self, store: Store, log: EventLog, ingress: Ingress) -> None:
        self._store, self._log, self._ingress = store, log, ingress
        self._subscriptions: dict[tuple[str, str], set[str]] = {}

    async def handle(self, request: web.Request, namespace: str, name: str) -> web.Response:
        """Answer one request to /<namespace>/<channel>."""

        async def take(event: Event, headers: Mapping[str, str]) -> None:
            await self._log.accept(self.admit(namespace, name, event, TTL_MAX, headers))

        missing = None if self._exists(namespace, name) else ChannelNotFound(namespace, name)
        return await self._ingress.receive(request, take, missing)

    def admit(self, namespace: str, name: str, event: Event, ttl: int, headers: Mapping[str, str]) -> NewEvent:
        """Count the hop and find the subscriptions; raise ChannelNotFound or EventExpired."""
        if not self._exists(namespace, name):
            raise ChannelNotFound(namespace, name)
        subscriptions = sorted(self._subscriptions.get((namespace, name), ()))
        return NewEvent(namespace, "", event, next_ttl(ttl), headers, subscriptions)

    def put(self, namespace: str, name: str, subscription: str) -> None:
        """Add a subscription to a channel."""
        self._subscriptions.setdefault((namespace, name), set()).add(subscription)

    def remove(self, subscription: str) -> None:
        """Forget a subscription."""
        for key, subscriptions in list(self._subscriptions.items()):
            subscriptions.discard(subscription)
            if not subscriptions:
                del self._subscriptions[key]

    def _exists(self, namespace: str, name: str) -> bool:
        kind = self._store.kinds.find(IN_MEMORY_CHANNEL)
        return kind is not None and self._store.look(kind, namespace, name) is not None


class InMemoryChannelReconciler:
    """Gives InMemoryChannels their address and conditions."""

    _conditions = (
        "DispatcherReady",
        "ServiceReady",
        "EndpointsReady",
        "Addressable",
        "ChannelServiceReady",
        "DeadLetterSinkResolved",
        "EventPoliciesReady",
    )

    def __init__(self, urls: Urls, resolver: Resolver, status: StatusWriter) -> None:
        self._urls, self._resolver, self._status = urls, resolver, status

    async def changed(self, channel: Object) -> None:
        """Write the status of an InMemoryChannel."""
        conditions = Conditions(self._conditions)
        for condition in self._conditions:
            conditions.true(condition)
        conditions.true("EventPoliciesReady", *_OFF)
        namespace, name = channel["metadata"]["namespace"], channel["metadata"]["name"]
        last = dead_letter(self._resolver, _delivery(channel), namespace, conditions)
        fields = {
            "address": {"name": "http", "url": self._urls.channel(namespace, name)},
            "deadLetterSinkUri": last.uri if last else None,
        }
        await self._status.write(conditions.written(channel, fields))

    async def deleted(self, channel: Object) -> None:
        """What waits for its subscriptions is still delivered."""

    def references(self, channel: Object) -> set[Reference]:
        """Return the dead-letter sink."""
        return destinations.references(channel["metadata"]["namespace"], _delivery(channel).get("deadLetterSink"))


class ChannelReconciler:
    """Gives each Channel the InMemoryChannel that it stands for."""

    def __init__(self, store: Store, resolver: Resolver, status: StatusWriter) -> None:
        self._store, self._resolver, self._status = store, resolver, status

    async def changed(self, channel: Object) -> None:
        """Make the backing channel and show its state."""
        conditions = Conditions(("BackingChannelReady", "Addressable", "DeadLetterSinkResolved"))
        metadata = channel["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        last = dead_letter(self._resolver, _delivery(channel), namespace, conditions)
        found = self._store.find(IN_MEMORY_CHANNEL, namespace, name)
        fields: dict[str, object] = {"deadLetterSinkUri": last.uri if last else None}
        if found is not None and controller_of(found) != metadata["uid"]:
            message = f'InMemoryChannel "{name}" is not owned by this Channel: give one of them another name'
            conditions.false("BackingChannelReady", "BackingChannelNotOwned", message)
            await self._status.write(conditions.written(channel, fields))
            return
        backing = await self._store.apply(_backing(channel), manager="channel-controller")
        fields["channel"] = {"apiVersion": API_VERSION, "kind": "InMemoryChannel", "name": name, "namespace": namespace}
        status = backing.get("status") or {}
        ready = ready_of(backing)
        if ready is None:
            conditions.unknown(
                "BackingChannelReady", "BackingChannelNotConfigured", "BackingChannel has not yet been reconciled."
            )
        elif ready["status"] == "True":
            conditions.true("BackingChannelReady")
        else:
            conditions.false("BackingChannelReady", ready.get("reason", ""), ready.get("message", ""))
        if address := status.get("address"):
            fields["address"] = address
            conditions.true("Addressable")
        else:
            conditions.false("Addressable", "EmptyHostname", "hostname is the empty string")
        await self._status.write(conditions.written(channel, fields))

    async def deleted(self, channel: Object) -> None:
        """Its InMemoryChannel goes with it, as what it owns."""

    def references(self, channel: Object) -> set[Reference]:
        """Return the dead-letter sink and the backing channel."""
        metadata = channel["metadata"]
        own = (IN_MEMORY_CHANNEL, metadata["namespace"], metadata["name"])
        return destinations.references(metadata["namespace"], _delivery(channel).get("deadLetterSink")) | {own}


def _backing(channel: Object) -> Object:
    metadata = channel["metadata"]
    spec = dict((channel["spec"]["channelTemplate"]).get("spec") or {})
    if delivery := _delivery(channel):
        spec["delivery"] = delivery
    own = {"name": metadata["name"], "namespace": metadata["namespace"], "ownerReferences": owned_by(channel)}
    return {"apiVersion": API_VERSION, "kind": "InMemoryChannel", "metadata": own, "spec": spec}


def _delivery(channel: Object) -> Object:
    return (channel.get("spec") or {}).get("delivery") or {}
