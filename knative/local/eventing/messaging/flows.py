"""Sequences and Parallels: channels and subscriptions that lead an event from one subscriber to the next.

A Sequence has a channel before each step; the reply of a step is the event of the next. A Parallel has one channel
that all branches filter, and one behind each filter. Both own what they are made of, so that it goes with them.
Source: knative.dev/eventing pkg/reconciler/{sequence,parallel} (names, status), pkg/apis/flows/v1 (conditions).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from zeroflow.knative.local.api.errors import BadRequest, NotFound
from zeroflow.knative.local.api.objects import Object, controller_of
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.eventing.conditions import Conditions, ready_of
from zeroflow.knative.local.eventing.destinations import CHANNEL, IN_MEMORY_CHANNEL, Reference
from zeroflow.knative.local.eventing.messaging.spec import API_VERSION
from zeroflow.knative.local.eventing.messaging.subscriptions import SUBSCRIPTION
from zeroflow.knative.local.eventing.status import StatusWriter
from zeroflow.resources.owners import owned_by

_CONDITIONS = ("ChannelsReady", "SubscriptionsReady", "Addressable")
_PARTS = (CHANNEL, IN_MEMORY_CHANNEL, SUBSCRIPTION)


class Plan(NamedTuple):
    """What a flow consists of; the first channel is where its events come in."""

    channels: list[Object]
    subscriptions: list[Object]


class FlowReconciler:
    """What both kinds have in common: make the parts, remove others, show their state."""

    def __init__(self, store: Store, status: StatusWriter) -> None:
        self._store, self._status = store, status

    def plan(self, flow: Object) -> Plan:
        """Return the parts that a flow should have."""
        raise NotImplementedError

    def told(self, channels: list[Object], subscriptions: list[Object]) -> dict[str, Any]:
        """Return what status says of the parts."""
        raise NotImplementedError

    async def changed(self, flow: Object) -> None:
        """Make the parts what the flow says, and write its status."""
        if flow["metadata"].get("deletionTimestamp"):
            return  # its parts go first
        plan = self.plan(flow)
        await self._prune(flow, plan)
        channels = [await self._ensure(each) for each in plan.channels]
        subscriptions = [await self._ensure(each) for each in plan.subscriptions]
        conditions = Conditions(_CONDITIONS)
        for condition, parts in (("Channels", channels), ("Subscriptions", subscriptions)):
            if all(_ready(part)["status"] == "True" for part in parts):
                conditions.true(f"{condition}Ready")
            else:
                message = f"{condition} are not ready yet, or there are none"
                conditions.unknown(f"{condition}Ready", f"{condition}NotReady", message)
        address = (channels[0].get("status") or {}).get("address")
        if address:
            conditions.true("Addressable")
        else:
            conditions.unknown("Addressable", "emptyAddress", "addressable is nil")
        fields = {"address": address, **self.told(channels, subscriptions)}
        await self._status.write(conditions.written(flow, fields))

    async def deleted(self, flow: Object) -> None:
        """Its parts go with it, as what it owns."""

    def references(self, flow: Object) -> set[Reference]:
        """Return the parts."""
        plan = self.plan(flow)
        return {_key(each) for each in (*plan.channels, *plan.subscriptions)}

    async def _ensure(self, wanted: Object) -> Object:
        """Apply a part; one whose fixed fields are to change is made anew, as Knative does."""
        try:
            return await self._store.apply(wanted, manager="flows-controller")
        except BadRequest:
            kind, namespace, name = _key(wanted)
            await self._store.delete(kind, namespace, name)
            return await self._store.apply(wanted, manager="flows-controller")

    async def _prune(self, flow: Object, plan: Plan) -> None:
        wanted, namespace = (
            {_key(each) for each in (*plan.channels, *plan.subscriptions)},
            flow["metadata"]["namespace"],
        )
        for kind in _PARTS:
            for part in self._store.list(kind, namespace):
                if controller_of(part) == flow["metadata"]["uid"] and _key(part) not in wanted:
                    try:
                        await self._store.delete(kind, namespace, part["metadata"]["name"])
                    except NotFound:
                        continue


class SequenceReconciler(FlowReconciler):
    """One channel and one subscription for each step."""

    def plan(self, flow: Object) -> Plan:
        name, spec = flow["metadata"]["name"], flow["spec"]
        steps = spec["steps"]
        names = [f"{name}-kn-sequence-{index}" for index in range(len(steps))]
        subscriptions = []
        for index, step in enumerate(steps):
            subscriber = {field: step[field] for field in ("ref", "uri") if step.get(field)}
            reply = _reference(flow, names[index + 1]) if index + 1 < len(steps) else spec.get("reply")
            subscriptions.append(
                _subscription(flow, names[index], names[index], subscriber, reply, step.get("delivery"))
            )
        return Plan([_channel(flow, each) for each in names], subscriptions)

    def told(self, channels: list[Object], subscriptions: list[Object]) -> dict[str, Any]:
        return {
            "channelStatuses": [{"channel": _named(each), "ready": _ready(each)} for each in channels],
            "subscriptionStatuses": [{"subscription": _named(each), "ready": _ready(each)} for each in subscriptions],
        }


class ParallelReconciler(FlowReconciler):
    """One channel for all, then a filter, a channel and a subscription for each branch."""

    def plan(self, flow: Object) -> Plan:
        name, spec = flow["metadata"]["name"], flow["spec"]
        entry = f"{name}-kn-parallel"
        channels, filters, subscriptions = [_channel(flow, entry)], [], []
        for index, branch in enumerate(spec["branches"]):
            behind = f"{entry}-{index}"
            channels.append(_channel(flow, behind))
            filtered = f"{entry}-filter-{index}"
            filters.append(_subscription(flow, filtered, entry, branch.get("filter"), _reference(flow, behind)))
            reply = branch.get("reply") or spec.get("reply")
            subscriptions.append(
                _subscription(flow, behind, behind, branch["subscriber"], reply, branch.get("delivery"))
            )
        return Plan(channels, [*filters, *subscriptions])

    def told(self, channels: list[Object], subscriptions: list[Object]) -> dict[str, Any]:
        half = len(subscriptions) // 2
        branches = zip(channels[1:], subscriptions[:half], subscriptions[half:], strict=True)
        return {
            "ingressChannelStatus": {"channel": _named(channels[0]), "ready": _ready(channels[0])},
            "branchStatuses": [
                {
                    "filterChannelStatus": {"channel": _named(channel), "ready": _ready(channel)},
                    "filterSubscriptionStatus": {"subscription": _named(before), "ready": _ready(before)},
                    "subscriberSubscriptionStatus": {"subscription": _named(after), "ready": _ready(after)},
                }
                for channel, before, after in branches
            ],
        }


def _ready(part: Object) -> dict[str, Any]:
    """Return the Ready condition of a part, Unknown before it has one."""
    if (found := ready_of(part)) is not None:
        return dict(found)
    message = f"{part['kind']} does not have Ready condition"
    return {"type": "Ready", "status": "Unknown", "reason": "NoReady", "message": message}


def _channel(flow: Object, name: str) -> Object:
    template = flow["spec"]["channelTemplate"]
    return {
        "apiVersion": template["apiVersion"],
        "kind": template["kind"],
        "metadata": _metadata(flow, name),
        "spec": template.get("spec") or {},
    }


def _subscription(flow: Object, name: str, channel: str, subscriber: Any, reply: Any, delivery: Any = None) -> Object:
    template = flow["spec"]["channelTemplate"]
    given = {"subscriber": subscriber, "reply": reply, "delivery": delivery}
    return {
        "apiVersion": API_VERSION,
        "kind": "Subscription",
        "metadata": _metadata(flow, name),
        "spec": {
            "channel": {"apiVersion": template["apiVersion"], "kind": template["kind"], "name": channel},
            **{field: value for field, value in given.items() if value},
        },
    }


def _reference(flow: Object, channel: str) -> dict[str, Any]:
    template, namespace = flow["spec"]["channelTemplate"], flow["metadata"]["namespace"]
    named = {"apiVersion": template["apiVersion"], "kind": template["kind"], "name": channel, "namespace": namespace}
    return {"ref": named}


def _metadata(flow: Object, name: str) -> dict[str, Any]:
    return {"name": name, "namespace": flow["metadata"]["namespace"], "ownerReferences": owned_by(flow)}


def _named(part: Object) -> dict[str, str]:
    fields = ("name", "namespace")
    return {"apiVersion": part["apiVersion"], "kind": part["kind"], **{key: part["metadata"][key] for key in fields}}


def _key(part: Object) -> Reference:
    group = str(part["apiVersion"]).rpartition("/")[0]
    return f"{part['kind']}.{group}", part["metadata"]["namespace"], part["metadata"]["name"]
