"""Where requests go: (namespace, label) -> revisions with their shares.

A label is a Service's name, `<tag>-<service>`, or the first part of a DomainMapping's name. The activator reads this
table for every request; the reconciler alone writes it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A revision and its share of the traffic; a tag makes it reachable by itself."""

    revision: str
    percent: int
    tag: str = ""


@dataclass(frozen=True)
class Entry:
    """What a Service routes to. Without targets it is not ready yet, or it has failed (`message`)."""

    service: str
    targets: tuple[Target, ...] = ()
    message: str = ""
    local: bool = False
    """Whether it answers inside the cluster only."""

    def tagged(self, tag: str) -> str | None:
        """Return the revision that has a tag; None when none has it."""
        return next((target.revision for target in self.targets if target.tag == tag), None)

    def pick(self, label: str) -> str | None:
        """Return the revision for one request to `label`, at random by the shares."""
        if label != self.service:
            return self.tagged(label.removesuffix(f"-{self.service}"))
        if len(self.targets) == 1:
            return self.targets[0].revision
        drawn = random.random() * 100  # noqa: S311 - a share, not a secret
        for target in self.targets:
            drawn -= target.percent
            if drawn < 0:
                return target.revision
        return None


class RouteTable:
    """All routes of the host."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], Entry] = {}
        self._labels: dict[tuple[str, str], str] = {}  # tagged names -> service
        self._hosts: dict[str, tuple[str, str]] = {}  # mapped names -> (namespace, service)

    def set(self, namespace: str, entry: Entry) -> None:
        """Replace the route of a Service."""
        self.remove(namespace, entry.service)
        self._entries[namespace, entry.service] = entry
        for target in entry.targets:
            if target.tag:
                self._labels[namespace, f"{target.tag}-{entry.service}"] = entry.service

    def remove(self, namespace: str, service: str) -> None:
        """Forget a Service."""
        self._entries.pop((namespace, service), None)
        for key in [key for key, value in self._labels.items() if key[0] == namespace and value == service]:
            del self._labels[key]

    def map_host(self, host: str, namespace: str, service: str | None) -> None:
        """Let a name of the user's own lead to a Service; None forgets it."""
        if service is None:
            self._hosts.pop(host, None)
        else:
            self._hosts[host] = (namespace, service)

    def host(self, host: str) -> tuple[str, str] | None:
        """Return (namespace, service) that a mapped name leads to."""
        return self._hosts.get(host)

    def find(self, namespace: str, label: str) -> tuple[Entry, str] | None:
        """Return the route for a label and the label to pick by: a Service, a tagged one, or a mapped name."""
        entry = self._entries.get((namespace, label))
        if entry is not None:
            return entry, label
        if (service := self._labels.get((namespace, label))) is not None:
            return self._entries[namespace, service], label
        for host in self._mapped(namespace, label):
            service = self._hosts[host][1]
            if (entry := self._entries.get((namespace, service))) is not None:
                return entry, service
        return None

    def _mapped(self, namespace: str, label: str) -> Iterable[str]:
        prefix = f"{label}.{namespace}."
        return (host for host, (home, _) in self._hosts.items() if home == namespace and host.startswith(prefix))
