"""What Brokers, Triggers, sources and JobSinks must look like: defaults and refusals, before anything is stored.

Source: Knative Eventing's defaulting and validating webhooks; the CRDs alone check little.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from zeroflow.knative.local.api.errors import BadRequest
from zeroflow.knative.local.api.objects import Object, copy
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.eventing import destinations, filters
from zeroflow.knative.local.eventing.apiserver_spec import check_apiserver_source
from zeroflow.knative.local.eventing.container_source import check_container_source
from zeroflow.knative.local.eventing.delivery import BROKER_DEFAULT
from zeroflow.knative.local.eventing.delivery_spec import default_delivery
from zeroflow.knative.local.eventing.errors import InvalidSpec
from zeroflow.knative.local.eventing.event_types import EVENT_TYPE, check_event_type
from zeroflow.knative.local.eventing.jobsink_spec import check_job_sink
from zeroflow.knative.local.eventing.messaging import spec as messaging
from zeroflow.knative.local.eventing.ping_spec import check_ping_source
from zeroflow.knative.local.eventing.request_replies import REQUEST_REPLY, check_request_reply
from zeroflow.knative.local.eventing.sinkbinding import check_sink_binding
from zeroflow.knative.local.eventing.transforms.spec import check_event_transform

BROKER_CLASS_ANNOTATION = "eventing.knative.dev/broker.class"
BROKER_CLASS = "MTChannelBasedBroker"
BROKER_LABEL = "eventing.knative.dev/broker"
DEPENDENCY_ANNOTATION = "knative.dev/dependency"
PARALLELISM_ANNOTATION = "zeroflow.dev/parallelism"
MAX_PARALLELISM = 1000
INJECTION_ANNOTATION = "eventing.knative.dev/injection"
_DENIED = 'admission webhook "validation.webhook.eventing.knative.dev" denied the request: validation failed: '

Check = Callable[[Object, Object | None], Object]


def install(store: Store) -> None:
    """Register the hooks of every kind of this room."""
    checks: dict[str, Check] = {
        "Broker.eventing.knative.dev": check_broker,
        "Trigger.eventing.knative.dev": check_trigger,
        "PingSource.sources.knative.dev": check_ping_source,
        "ApiServerSource.sources.knative.dev": check_apiserver_source,
        "JobSink.sinks.knative.dev": check_job_sink,
        "SinkBinding.sources.knative.dev": check_sink_binding,
        "ContainerSource.sources.knative.dev": check_container_source,
        "EventTransform.eventing.knative.dev": check_event_transform,
        EVENT_TYPE: check_event_type,
        REQUEST_REPLY: check_request_reply,
        **messaging.CHECKS,
    }
    for kind, check in checks.items():
        store.admit(kind, _hook(check))


def _hook(check: Check) -> Callable[[Object, Object | None], Object]:
    """Return `check` as an admission webhook: what it finds is told as Knative's FieldError, `message: path`."""

    def admit(new: Object, old: Object | None) -> Object:
        if (new.get("metadata") or {}).get("deletionTimestamp"):
            return new
        try:
            if not isinstance(new.get("spec") or {}, dict):
                raise InvalidSpec("spec", "must be an object")
            return check(copy(new), old)
        except InvalidSpec as error:
            raise BadRequest(_DENIED + _fault(error)) from error

    return admit


def _fault(error: InvalidSpec) -> str:
    if error.problem.partition(": ")[0] != "missing":
        return f"{error.problem}: {error.field}"
    details = error.problem.partition(": ")[2]
    return f"missing field(s): {error.field}" + (f"\n{details}" if details else "")


def check_broker(new: Object, old: Object | None) -> Object:
    """Default class and delivery; refuse a change of class."""
    annotations = new["metadata"].setdefault("annotations", {})
    spec = new["spec"] = new.get("spec") or {}
    before = ((old or {}).get("metadata") or {}).get("annotations") or {}
    path = f"metadata.annotations[{BROKER_CLASS_ANNOTATION}]"
    if old is not None and BROKER_CLASS_ANNOTATION in before:
        annotations.setdefault(BROKER_CLASS_ANNOTATION, before[BROKER_CLASS_ANNOTATION])
        if annotations[BROKER_CLASS_ANNOTATION] != before[BROKER_CLASS_ANNOTATION]:
            raise InvalidSpec(path, "immutable: delete the broker and create it with the other class")
    annotations.setdefault(BROKER_CLASS_ANNOTATION, BROKER_CLASS)
    if spec.get("delivery") is None:
        spec["delivery"] = dict(BROKER_DEFAULT)
    default_delivery(spec, new["metadata"].get("namespace", ""))
    return new


def check_trigger(new: Object, old: Object | None) -> Object:
    """Default references to the trigger's namespace; check filters, subscriber, delivery; the broker never changes."""
    metadata = new["metadata"]
    spec, namespace = new.get("spec") or {}, metadata.get("namespace", "")
    if spec.get("brokerRef"):
        raise InvalidSpec("spec.brokerRef", "must not be set: cross-namespace-event-links is disabled; use spec.broker")
    broker = spec.get("broker")
    if not isinstance(broker, str) or not broker:
        raise InvalidSpec("spec.broker", "missing: the name of a Broker in the trigger's namespace")
    if old is not None and (was := (old.get("spec") or {}).get("broker")) != broker:
        raise InvalidSpec(
            "spec.broker", f"immutable (was {was!r}): delete the trigger and create it for the other broker"
        )
    destinations.validate(spec.get("subscriber"), "spec.subscriber")
    spec["subscriber"] = destinations.with_namespace(spec["subscriber"], namespace)
    if spec.get("filter") is not None and not isinstance(spec["filter"], dict):
        raise InvalidSpec("spec.filter", "must be an object with attributes")
    filters.compile_spec(spec)
    if spec.get("filter") is None:
        spec["filter"] = {}
    default_delivery(spec, namespace)
    _check_annotations(metadata, namespace, broker)
    metadata["labels"] = {**(metadata.get("labels") or {}), BROKER_LABEL: broker}
    return new


def parallelism_of(metadata: Object) -> int | None:
    """Return how many deliveries of a trigger may be under way at once, or None when it leaves that to the host."""
    text = (metadata.get("annotations") or {}).get(PARALLELISM_ANNOTATION)
    if text is None:
        return None
    if not str(text).isdecimal() or not 1 <= int(text) <= MAX_PARALLELISM:
        raise InvalidSpec(
            f"metadata.annotations[{PARALLELISM_ANNOTATION}]", f"expected 1 <= N <= {MAX_PARALLELISM}, got {text!r}"
        )
    return int(text)


def _check_annotations(metadata: dict[str, Any], namespace: str, broker: str) -> None:
    annotations = metadata.get("annotations") or {}
    injection = annotations.get(INJECTION_ANNOTATION)
    if injection is not None:
        path = f"metadata.annotations[{INJECTION_ANNOTATION}]"
        if injection not in {"enabled", "disabled"}:
            raise InvalidSpec(path, f'must be "enabled" or "disabled", not {injection!r}')
        if broker != "default":
            raise InvalidSpec(path, f"applies to the broker named default only, not to {broker!r}")
    parallelism_of(metadata)
    text = annotations.get(DEPENDENCY_ANNOTATION)
    if text is None:
        return
    path = f"metadata.annotations[{DEPENDENCY_ANNOTATION}]"
    try:
        reference = json.loads(text)
    except ValueError as error:
        raise InvalidSpec(path, f"must be an object reference in JSON: {error}") from error
    if not isinstance(reference, dict):
        raise InvalidSpec(path, "must be an object reference in JSON")
    for field in ("kind", "name", "apiVersion"):
        if not reference.get(field):
            raise InvalidSpec(f"{path}.{field}", "missing")
    if reference.get("namespace") not in {None, "", namespace}:
        raise InvalidSpec(f"{path}.namespace", f"must be empty or the trigger's namespace {namespace!r}")
