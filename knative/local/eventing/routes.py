"""Which brokers exist and which triggers want which events; the hot path's view of what is declared."""

from __future__ import annotations

from collections.abc import Callable

from zeroflow.knative.local.eventing.cloudevent import Event
from zeroflow.knative.local.eventing.filters import Wants


class Routes:
    """Brokers and compiled triggers in memory; `controllers` keeps them current."""

    def __init__(self, exists: Callable[[str, str], bool]) -> None:
        self._exists = exists
        self._triggers: dict[tuple[str, str], dict[str, Wants]] = {}

    def has_broker(self, namespace: str, name: str) -> bool:
        """Tell whether a Broker of this host has the name."""
        return self._exists(namespace, name)

    def matching(self, namespace: str, broker: str, event: Event) -> list[str]:
        """Return the subscriptions of the triggers that want the event."""
        triggers = self._triggers.get((namespace, broker))
        if not triggers:
            return []
        return [subscription for subscription, wants in triggers.items() if wants(event.attributes)]

    def put(self, namespace: str, broker: str, subscription: str, wants: Wants) -> None:
        """Add or replace a trigger."""
        self._triggers.setdefault((namespace, broker), {})[subscription] = wants

    def remove(self, subscription: str) -> None:
        """Forget a trigger."""
        for key, triggers in list(self._triggers.items()):
            if triggers.pop(subscription, None) is not None and not triggers:
                del self._triggers[key]
