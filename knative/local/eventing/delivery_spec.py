"""The delivery spec of a resource: checked and defaulted at admission, its dead-letter sink resolved later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zeroflow.knative.local.eventing import destinations
from zeroflow.knative.local.eventing.conditions import Conditions
from zeroflow.knative.local.eventing.delivery import DeliveryPolicy, parse_policy
from zeroflow.knative.local.eventing.destinations import Destination, Resolver
from zeroflow.knative.local.eventing.errors import InvalidSpec, Unresolved


def default_delivery(spec: dict[str, Any], namespace: str, path: str = "spec.delivery") -> None:
    """Check `delivery` of a spec and give its dead-letter sink the owner's namespace; raise InvalidSpec."""
    delivery = spec.get("delivery")
    if delivery is None:
        return
    if not isinstance(delivery, dict):
        raise InvalidSpec(path, "must be an object")
    parse_policy(delivery, path)
    if delivery.get("deadLetterSink") is not None:
        destinations.validate(delivery["deadLetterSink"], f"{path}.deadLetterSink")
        delivery["deadLetterSink"] = destinations.with_namespace(delivery["deadLetterSink"], namespace)


def policy_of(delivery: Mapping[str, Any]) -> DeliveryPolicy:
    """Return the policy of a delivery spec; raise InvalidSpec."""
    return parse_policy({name: value for name, value in delivery.items() if name != "deadLetterSink"})


def dead_letter(
    resolver: Resolver, delivery: Mapping[str, Any], namespace: str, conditions: Conditions
) -> Destination | None:
    """Resolve the dead-letter sink and mark DeadLetterSinkResolved; None when there is none or it is missing."""
    sink = delivery.get("deadLetterSink")
    if not sink:
        conditions.true("DeadLetterSinkResolved", "DeadLetterSinkNotConfigured", "no dead letter sink is configured")
        return None
    try:
        destination = resolver.resolve(sink, namespace)
    except Unresolved as error:
        conditions.false("DeadLetterSinkResolved", error.why, str(error))
        return None
    conditions.true("DeadLetterSinkResolved")
    return destination
