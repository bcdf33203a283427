"""Reconciles Brokers and Triggers: routes, queues and status conditions follow what is declared.

A trigger whose subscriber (or dead-letter sink) cannot be resolved yet keeps its events waiting on disk; they are
delivered when it can. Deleting a trigger ends what waits for it. Source: Knative's Broker and Trigger reconcilers.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from zeroflow.knative.local.api.objects import Object
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.eventing import destinations
from zeroflow.knative.local.eventing.admission import (
    BROKER_CLASS,
    BROKER_CLASS_ANNOTATION,
    DEPENDENCY_ANNOTATION,
    parallelism_of,
)
from zeroflow.knative.local.eventing.conditions import Conditions
from zeroflow.knative.local.eventing.delivery import DeliveryPolicy
from zeroflow.knative.local.eventing.delivery_spec import dead_letter, policy_of
from zeroflow.knative.local.eventing.destinations import BROKER, Destination, Reference, Resolver, reference_key
from zeroflow.knative.local.eventing.dispatcher import Dispatcher, Subscriber
from zeroflow.knative.local.eventing.errors import InvalidSpec, Unresolved
from zeroflow.knative.local.eventing.filters import compile_spec
from zeroflow.knative.local.eventing.log import EventLog
from zeroflow.knative.local.eventing.routes import Routes
from zeroflow.knative.local.eventing.status import StatusWriter
from zeroflow.knative.local.urls import Urls

logger = logging.getLogger(__name__)

TRIGGER = "Trigger.eventing.knative.dev"
_BROKER_CONDITIONS = (
    "IngressReady",
    "TriggerChannelReady",
    "FilterReady",
    "Addressable",
    "DeadLetterSinkResolved",
    "EventPoliciesReady",
)
_TRIGGER_CONDITIONS = (
    "BrokerReady",
    "SubscriptionReady",
    "DependencyReady",
    "SubscriberResolved",
    "DeadLetterSinkResolved",
    "OIDCIdentityCreated",
)
OIDC_OFF = "authentication-oidc feature disabled"


def is_ours(broker: Mapping[str, Any]) -> bool:
    """Tell whether this host realises the Broker."""
    annotations = broker["metadata"].get("annotations") or {}
    return bool(annotations.get(BROKER_CLASS_ANNOTATION, BROKER_CLASS) == BROKER_CLASS)


def subscription_of(trigger: Object) -> str:
    """Return the key of a trigger's deliveries in the log."""
    metadata = trigger["metadata"]
    return f"trigger/{metadata['namespace']}/{metadata['name']}/{metadata['uid']}"


class BrokerReconciler:
    """Gives Brokers their address and conditions."""

    def __init__(self, urls: Urls, resolver: Resolver, status: StatusWriter) -> None:
        self._urls, self._resolver, self._status = urls, resolver, status

    async def changed(self, broker: Object) -> None:
        """Write the status of a Broker."""
        conditions = Conditions(_BROKER_CONDITIONS)
        namespace, name = broker["metadata"]["namespace"], broker["metadata"]["name"]
        if not is_ours(broker):
            found = (broker["metadata"].get("annotations") or {}).get(BROKER_CLASS_ANNOTATION)
            message = f"broker class {found!r} is not available on this host: use {BROKER_CLASS}"
            conditions.false("IngressReady", "UnsupportedBrokerClass", message)
            await self._status.write(conditions.written(broker, {}))
            return
        for condition in ("IngressReady", "TriggerChannelReady", "FilterReady", "Addressable"):
            conditions.true(condition)
        conditions.true("EventPoliciesReady", "EventPoliciesSkipped", 'feature "authentication-oidc" is disabled')
        delivery = (broker.get("spec") or {}).get("delivery") or {}
        sink = dead_letter(self._resolver, delivery, namespace, conditions)
        url = self._urls.broker(namespace, name)
        fields = {
            "address": {"name": "http", "url": url},
            "deadLetterSinkUri": sink.uri if sink else None,
        }
        await self._status.write(conditions.written(broker, fields))

    async def deleted(self, broker: Object) -> None:
        """Nothing is kept of a Broker: its triggers are reconciled."""

    def references(self, broker: Object) -> set[Reference]:
        """Return the dead-letter sink."""
        delivery = (broker.get("spec") or {}).get("delivery") or {}
        return destinations.references(broker["metadata"]["namespace"], delivery.get("deadLetterSink"))


class TriggerReconciler:
    """Keeps routes, queues and status of Triggers."""

    def __init__(
        self,
        store: Store,
        log: EventLog,
        routes: Routes,
        dispatcher: Dispatcher,
        resolver: Resolver,
        status: StatusWriter,
    ) -> None:
        self._store, self._log, self._routes = store, log, routes
        self._dispatcher, self._resolver, self._status = dispatcher, resolver, status

    async def changed(self, trigger: Object) -> None:
        """Route and deliver as the trigger says now, and write its status."""
        metadata, spec = trigger["metadata"], trigger["spec"]
        namespace, subscription = metadata["namespace"], subscription_of(trigger)
        conditions = Conditions(_TRIGGER_CONDITIONS)
        broker = self._store.find(BROKER, namespace, spec["broker"])
        self._judge_broker(broker, spec["broker"], conditions)
        conditions.true("OIDCIdentityCreated", OIDC_OFF)
        self._judge_dependency(trigger, conditions)
        destination = self._subscriber(spec, namespace, conditions)
        broker_delivery = ((broker or {}).get("spec") or {}).get("delivery") or {}
        delivery = spec.get("delivery") or broker_delivery
        last = dead_letter(self._resolver, delivery, namespace, conditions)
        subscriber = None
        try:
            policy = policy_of(delivery)
            self._routes.put(namespace, spec["broker"], subscription, compile_spec(spec))
        except InvalidSpec as error:  # stored before this version refused it
            conditions.false("SubscriberResolved", "InvalidSpec", str(error))
            policy = DeliveryPolicy()
        wants_sink = bool(delivery.get("deadLetterSink"))
        if destination is not None and (last is not None or not wants_sink):
            subscriber = Subscriber(destination, policy, namespace, last, parallelism=parallelism_of(metadata))
            conditions.true("SubscriptionReady")
        else:
            conditions.unknown("SubscriptionReady", "SubscriberUnresolved", "events wait on disk until it is resolved")
        self._dispatcher.subscribe(subscription, subscriber)
        fields = {
            "subscriberUri": destination.uri if destination else None,
            "deadLetterSinkUri": last.uri if last else self._fallback_sink(broker_delivery, namespace),
        }
        await self._status.write(conditions.written(trigger, fields))

    async def deleted(self, trigger: Object) -> None:
        """Stop routing to the trigger and end what waits for it."""
        subscription = subscription_of(trigger)
        self._routes.remove(subscription)
        self._dispatcher.unsubscribe(subscription)
        dropped = await self._log.drop(subscription, "its trigger was deleted")
        if dropped:
            logger.info("deliveries dropped with their trigger: subscription=%s count=%d", subscription, dropped)

    def references(self, trigger: Object) -> set[Reference]:
        """Return subscriber, broker, dead-letter sinks and what the trigger depends on."""
        spec, namespace = trigger["spec"], trigger["metadata"]["namespace"]
        delivery = spec.get("delivery") or {}
        broker = self._store.find(BROKER, namespace, spec["broker"])
        inherited = (((broker or {}).get("spec") or {}).get("delivery") or {}).get("deadLetterSink")
        dependency = _dependency(trigger)
        depends = {"ref": dependency} if dependency else None
        found = destinations.references(
            namespace, spec.get("subscriber"), delivery.get("deadLetterSink"), inherited, depends
        )
        return found | {(BROKER, namespace, spec["broker"])}

    def _subscriber(self, spec: Object, namespace: str, conditions: Conditions) -> Destination | None:
        try:
            destination = self._resolver.resolve(spec["subscriber"], namespace)
        except Unresolved as error:
            conditions.false("SubscriberResolved", error.why, str(error))
            return None
        conditions.true("SubscriberResolved")
        return destination

    def _fallback_sink(self, delivery: Mapping[str, Any], namespace: str) -> str | None:
        sink = delivery.get("deadLetterSink")
        try:
            return self._resolver.resolve(sink, namespace).uri if sink else None
        except Unresolved:
            return None

    def _judge_broker(self, broker: Object | None, name: str, conditions: Conditions) -> None:
        if broker is None:
            conditions.false("BrokerReady", "BrokerDoesNotExist", f'Broker "{name}" does not exist')
        elif not is_ours(broker):
            conditions.false("BrokerReady", "UnsupportedBrokerClass", f'Broker "{name}" has a class of another host')
        else:
            conditions.true("BrokerReady")

    def _judge_dependency(self, trigger: Object, conditions: Conditions) -> None:
        reference = _dependency(trigger)
        if reference is None:
            conditions.true("DependencyReady")
            return
        kind, namespace, name = reference_key({"ref": reference}, trigger["metadata"]["namespace"]) or ("", "", "")
        known = self._store.kinds.find(kind)
        found = self._store.find(known, namespace, name) if known else None
        if found is None:
            conditions.false(
                "DependencyReady", "DependencyDoesNotExist", f"{reference['kind']} {name!r} does not exist"
            )
            return
        states = {entry["type"]: entry["status"] for entry in (found.get("status") or {}).get("conditions") or ()}
        if states.get("Ready") == "True":
            conditions.true("DependencyReady")
        else:
            conditions.unknown("DependencyReady", "DependencyNotReady", f"{reference['kind']} {name!r} is not ready")


def _dependency(trigger: Object) -> dict[str, Any] | None:
    text = (trigger["metadata"].get("annotations") or {}).get(DEPENDENCY_ANNOTATION)
    if not text:
        return None
    reference: dict[str, Any] = json.loads(text)
    return reference
