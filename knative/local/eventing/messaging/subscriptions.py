"""Subscriptions: a channel's events go to a subscriber, and the subscriber's answer to whoever is to get the reply.

Guarantees: a delivery and the reply that it brought are one transaction; the reply has a queue of its own, with the
subscription's retries and dead-letter sink. While a reference is missing, events wait on disk.
Source: knative.dev/eventing pkg/reconciler/subscription, pkg/channel/fanout.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from zeroflow.knative.local.api.objects import Object
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.eventing import destinations
from zeroflow.knative.local.eventing.conditions import Conditions
from zeroflow.knative.local.eventing.delivery_spec import policy_of
from zeroflow.knative.local.eventing.destinations import Destination, Reference, Resolver
from zeroflow.knative.local.eventing.dispatcher import Dispatcher, Subscriber
from zeroflow.knative.local.eventing.errors import Unresolved
from zeroflow.knative.local.eventing.log import EventLog
from zeroflow.knative.local.eventing.messaging.channels import Channels
from zeroflow.knative.local.eventing.status import StatusWriter
from zeroflow.knative.local.eventing.triggers import OIDC_OFF

SUBSCRIPTION = "Subscription.messaging.knative.dev"
REPLY = "/reply"
_CONDITIONS = ("ReferencesResolved", "AddedToChannel", "ChannelReady", "OIDCIdentityCreated")


def key_of(subscription: Object) -> str:
    """Return the key of a Subscription's deliveries in the log; its replies that wait have REPLY behind it."""
    metadata = subscription["metadata"]
    return f"subscription/{metadata['namespace']}/{metadata['name']}/{metadata['uid']}"


class SubscriptionReconciler:
    """Keeps channels, queues and status of Subscriptions."""

    def __init__(
        self,
        store: Store,
        log: EventLog,
        channels: Channels,
        dispatcher: Dispatcher,
        resolver: Resolver,
        status: StatusWriter,
    ) -> None:
        self._store, self._log, self._channels = store, log, channels
        self._dispatcher, self._resolver, self._status = dispatcher, resolver, status

    async def changed(self, subscription: Object) -> None:
        """Deliver as the Subscription says now, and write its status."""
        metadata, spec, key = subscription["metadata"], subscription["spec"], key_of(subscription)
        namespace, channel = metadata["namespace"], self._channel(subscription)
        conditions = Conditions(_CONDITIONS)
        conditions.true("OIDCIdentityCreated", OIDC_OFF)
        conditions.true("ReferencesResolved")
        self._judge_channel(spec, channel, conditions)
        # The subscription's own delivery replaces the channel's as a whole.
        delivery = spec.get("delivery") or ((channel or {}).get("spec") or {}).get("delivery") or {}
        to = self._resolve(spec.get("subscriber"), namespace, "SubscriberResolveFailed", conditions)
        reply = self._resolve(spec.get("reply"), namespace, "ReplyResolveFailed", conditions)
        last = self._resolve(delivery.get("deadLetterSink"), namespace, "DeadLetterSinkResolveFailed", conditions)
        self._channels.remove(key)
        self._channels.put(namespace, spec["channel"]["name"], key)
        whole = (
            (to is not None or not spec.get("subscriber"))
            and (reply is not None or not spec.get("reply"))
            and (last is not None or not delivery.get("deadLetterSink"))
        )
        first, second = _subscribers(to, reply, last, delivery, namespace) if whole else (None, None)
        self._dispatcher.subscribe(key, first)
        self._dispatcher.subscribe(key + REPLY, second)
        physical = {
            "subscriberUri": to.uri if to else None,
            "replyUri": reply.uri if reply else None,
            "deadLetterSinkUri": last.uri if last else None,
        }
        fields = {"physicalSubscription": {name: uri for name, uri in physical.items() if uri}}
        await self._status.write(conditions.written(subscription, fields))

    async def deleted(self, subscription: Object) -> None:
        """End what waits for the Subscription and for its replies."""
        key = key_of(subscription)
        self._channels.remove(key)
        for each in (key, key + REPLY):
            self._dispatcher.unsubscribe(each)
            await self._log.drop(each, "its subscription was deleted")

    def references(self, subscription: Object) -> set[Reference]:
        """Return channel, subscriber, reply and dead-letter sinks."""
        spec, namespace = subscription["spec"], subscription["metadata"]["namespace"]
        inherited = ((self._channel(subscription) or {}).get("spec") or {}).get("delivery") or {}
        sinks = [each.get("deadLetterSink") for each in (spec.get("delivery") or {}, inherited)]
        given = ({"ref": spec["channel"]}, spec.get("subscriber"), spec.get("reply"), *sinks)
        return destinations.references(namespace, *given)

    def _channel(self, subscription: Object) -> Object | None:
        namespace = subscription["metadata"]["namespace"]
        kind, _, name = next(iter(destinations.references(namespace, {"ref": subscription["spec"]["channel"]})))
        return self._store.find(kind, namespace, name)

    def _judge_channel(self, spec: Object, channel: Object | None, conditions: Conditions) -> None:
        if channel is None:
            given = spec["channel"]
            missing = f'{given["kind"]} "{given["name"]}" not found'
            conditions.false("ReferencesResolved", "ChannelReferenceFailed", f"Failed to get Spec.Channel: {missing}")
            return
        conditions.true("AddedToChannel")
        states = {each["type"]: each["status"] for each in (channel.get("status") or {}).get("conditions") or ()}
        if states.get("Ready") == "True":
            conditions.true("ChannelReady")
        else:
            conditions.unknown("ChannelReady", "ChannelNotReady", f"{channel['kind']} is not ready")

    def _resolve(self, given: Any, namespace: str, reason: str, conditions: Conditions) -> Destination | None:
        if not given:
            return None
        try:
            return self._resolver.resolve(given, namespace)
        except Unresolved as error:
            conditions.false("ReferencesResolved", reason, str(error))
            return None


def _subscribers(
    to: Destination | None, reply: Destination | None, last: Destination | None, delivery: Object, namespace: str
) -> tuple[Subscriber | None, Subscriber | None]:
    """Return whom events go to, and whom replies go to: without a subscriber the events themselves are replies."""
    policy = policy_of(delivery)
    replies = None if reply is None else Subscriber(reply, policy, namespace, last, replies=False)
    if to is None:
        return replies, replies
    return replace(Subscriber(to, policy, namespace, last), reply_to=reply, strict=False), replies
