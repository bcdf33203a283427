"""Kubernetes Events: what happened to an object, for `kubectl describe` and `kubectl get events`.

`Recorder.note` returns at once and never fails its caller: an Event is news, not state. The same news about the same
object again counts up in one Event. Events live in memory, the newest few hundred. Source: Kubernetes core/v1 Event;
reasons as the kubelet, the Job controller and Knative write them.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from typing import Any, Final, Protocol

from zeroflow.errors import ZeroflowError
from zeroflow.knative.local.api.objects import now

Object = dict[str, Any]
logger = logging.getLogger(__name__)

REMEMBERED: Final = 500
MAX_MESSAGE: Final = 1024


class EventStore(Protocol):
    """Where Events are kept."""

    async def create(self, obj: Object) -> Object: ...
    async def update(self, obj: Object) -> Object: ...


class Recorder:
    """Writes Events on behalf of one component."""

    def __init__(self, store: EventStore, component: str) -> None:
        self._store, self._component = store, component
        self._known: OrderedDict[tuple[str, str, str], Object] = OrderedDict()
        self._waiting: list[tuple[Object, bool]] = []
        self._writer: asyncio.Task[None] | None = None

    def note(self, about: Object, reason: str, message: str, *, warning: bool = False) -> None:
        """Say what has happened to an object."""
        meta = about["metadata"]
        key = (str(meta.get("uid") or meta["name"]), reason, message)
        at = now()
        event = self._known.pop(key, None)
        again = event is not None
        if event is None:
            event = self._event(about, reason, message[:MAX_MESSAGE], warning, at)
        else:
            event |= {"count": event["count"] + 1, "lastTimestamp": at}
        self._known[key] = event
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        self._waiting.append(({**event}, again))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        while self._waiting:
            event, again = self._waiting.pop(0)
            try:
                await (self._store.update(event) if again else self._store.create(event))
            except ZeroflowError as error:  # its namespace is going, or the Event made room for later ones
                logger.debug("event %s: %s", event["metadata"]["name"], error)

    def _event(self, about: Object, reason: str, message: str, warning: bool, at: str) -> Object:
        meta = about["metadata"]
        involved = {
            "apiVersion": about.get("apiVersion", "v1"),
            "kind": about["kind"],
            "name": meta["name"],
            "namespace": meta.get("namespace", "default"),
            "uid": meta.get("uid", ""),
        }
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{meta['name'][:230]}.{secrets.token_hex(8)}", "namespace": involved["namespace"]},
            "involvedObject": involved,
            "reason": reason,
            "message": message,
            "type": "Warning" if warning else "Normal",
            "source": {"component": self._component, "host": "localhost"},
            "reportingComponent": self._component,
            "reportingInstance": "localhost",
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        }
