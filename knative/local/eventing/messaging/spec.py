"""What Channels, Subscriptions, Sequences and Parallels must look like: defaults and refusals.

Source: knative.dev/eventing pkg/apis/messaging/v1 and pkg/apis/flows/v1 (validation, defaults). This host has one kind
of channel; a template that names another is refused here, where a cluster would say so in a condition.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zeroflow.knative.local.api.objects import Object
from zeroflow.knative.local.eventing import destinations
from zeroflow.knative.local.eventing.delivery_spec import default_delivery
from zeroflow.knative.local.eventing.errors import InvalidSpec

API_VERSION = "messaging.knative.dev/v1"
CHANNEL_KINDS = ("Channel", "InMemoryChannel")
SUBSCRIBABLE = "messaging.knative.dev/subscribable"
_DEFAULT_TEMPLATE = {"apiVersion": API_VERSION, "kind": "InMemoryChannel"}


def check_channel(new: Object, old: Object | None) -> Object:
    """Default the template of a Channel, which never changes."""
    spec = _spec(new)
    spec["channelTemplate"] = _template(spec.get("channelTemplate") or dict(_DEFAULT_TEMPLATE), ("InMemoryChannel",))
    before = ((old or {}).get("spec") or {}).get("channelTemplate")
    if old is not None and before not in (None, spec["channelTemplate"]):
        raise InvalidSpec("spec.channelTemplate", "Immutable fields changed (-old +new)")
    default_delivery(spec, _namespace(new))
    return new


def check_in_memory_channel(new: Object, old: Object | None) -> Object:
    """Mark the channel as one that takes subscribers."""
    default_delivery(_spec(new), _namespace(new))
    new["metadata"]["annotations"] = {**(new["metadata"].get("annotations") or {}), SUBSCRIBABLE: "v1"}
    return new


def check_subscription(new: Object, old: Object | None) -> Object:
    """Check the channel, and that somebody gets the events; only subscriber and reply may change."""
    spec, namespace = _spec(new), _namespace(new)
    channel = spec.get("channel")
    if not channel:
        raise InvalidSpec("spec.channel", "missing: the Subscription must reference a channel")
    if not isinstance(channel, dict):
        raise InvalidSpec("spec.channel", "must be an object with apiVersion, kind and name")
    for field in ("apiVersion", "kind", "name"):
        if not isinstance(channel.get(field), str) or not channel[field]:
            raise InvalidSpec(f"spec.channel.{field}", "missing")
    if channel["kind"] not in CHANNEL_KINDS or not channel["apiVersion"].startswith("messaging.knative.dev/"):
        raise InvalidSpec("spec.channel.kind", _only(channel["kind"], CHANNEL_KINDS))
    if channel.get("namespace") not in (None, "", namespace):
        raise InvalidSpec("spec.channel.namespace", "must not be set: cross-namespace-event-links is disabled")
    if not spec.get("subscriber") and not spec.get("reply"):
        raise InvalidSpec(
            "spec.reply, spec.subscriber",
            "missing: the Subscription must reference at least one of (reply or a subscriber)",
        )
    for field in ("subscriber", "reply"):
        _destination(spec, field, namespace)
    default_delivery(spec, namespace)
    before = (old or {}).get("spec") or {}
    for field in ("channel", "delivery"):
        if old is not None and before.get(field) != spec.get(field):
            raise InvalidSpec(f"spec.{field}", "Immutable fields changed (-old +new)")
    return new


def check_sequence(new: Object, old: Object | None) -> Object:
    """Check steps, channel template and reply."""
    spec, namespace = _spec(new), _namespace(new)
    if not spec.get("steps"):
        raise InvalidSpec("spec.steps", "missing")
    for index, step in enumerate(spec["steps"]):
        where = f"spec.steps[{index}]"
        destinations.validate(step, where)
        spec["steps"][index] = destinations.with_namespace(step, namespace)
        default_delivery(spec["steps"][index], namespace, f"{where}.delivery")
    spec["channelTemplate"] = _template(spec.get("channelTemplate") or dict(_DEFAULT_TEMPLATE))
    _destination(spec, "reply", namespace)
    return new


def check_parallel(new: Object, old: Object | None) -> Object:
    """Check branches, channel template and reply."""
    spec, namespace = _spec(new), _namespace(new)
    if not spec.get("branches"):
        raise InvalidSpec("spec.branches", "missing")
    for index, branch in enumerate(spec["branches"]):
        where = f"spec.branches[{index}]"
        if not isinstance(branch, dict):
            raise InvalidSpec(where, "must be an object with a subscriber")
        destinations.validate(branch.get("subscriber"), f"{where}.subscriber")
        for field in ("filter", "subscriber", "reply"):
            _destination(branch, field, namespace, where)
        default_delivery(branch, namespace, f"{where}.delivery")
    spec["channelTemplate"] = _template(spec.get("channelTemplate") or dict(_DEFAULT_TEMPLATE))
    _destination(spec, "reply", namespace)
    return new


CHECKS: dict[str, Callable[[Object, Object | None], Object]] = {
    "Channel.messaging.knative.dev": check_channel,
    "InMemoryChannel.messaging.knative.dev": check_in_memory_channel,
    "Subscription.messaging.knative.dev": check_subscription,
    "Sequence.flows.knative.dev": check_sequence,
    "Parallel.flows.knative.dev": check_parallel,
}


def _spec(obj: Object) -> dict[str, Any]:
    spec: dict[str, Any] = obj.get("spec") or {}
    obj["spec"] = spec
    return spec


def _namespace(obj: Object) -> str:
    return str(obj["metadata"].get("namespace", ""))


def _destination(spec: dict[str, Any], field: str, namespace: str, where: str = "spec") -> None:
    if not spec.get(field):
        spec.pop(field, None)
        return
    destinations.validate(spec[field], f"{where}.{field}")
    spec[field] = destinations.with_namespace(spec[field], namespace)


def _template(template: Any, kinds: tuple[str, ...] = CHANNEL_KINDS) -> dict[str, Any]:
    if not isinstance(template, dict):
        raise InvalidSpec("spec.channelTemplate", "must be an object with apiVersion and kind")
    for field in ("apiVersion", "kind"):
        if not template.get(field):
            raise InvalidSpec(f"spec.channelTemplate.{field}", "missing")
    if template["kind"] not in kinds or not template["apiVersion"].startswith("messaging.knative.dev/"):
        raise InvalidSpec("spec.channelTemplate.kind", _only(template["kind"], kinds))
    return template


def _only(kind: str, kinds: tuple[str, ...]) -> str:
    return f"{kind} is not available on this host: use {' or '.join(kinds)} ({API_VERSION}), which is durable here"
