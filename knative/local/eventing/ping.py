"""PingSources: an event at each due time of a cron schedule.

Guarantees: a tick is on disk before anything is sent; ticks missed while the host was down are not replayed; one
timer, for the next due tick, exists while there is a ready PingSource, and none otherwise.
Source: Knative's multi-tenant PingSource adapter.
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from zeroflow.knative.local.api.objects import Object
from zeroflow.knative.local.clock import Clock, Handle, WallClock
from zeroflow.knative.local.eventing import destinations, overrides
from zeroflow.knative.local.eventing.cloudevent import Attribute, Event, timestamp
from zeroflow.knative.local.eventing.conditions import Conditions
from zeroflow.knative.local.eventing.destinations import Reference
from zeroflow.knative.local.eventing.errors import InvalidSpec
from zeroflow.knative.local.eventing.ping_spec import event_data, schedule_of
from zeroflow.knative.local.eventing.sinks import Sinks
from zeroflow.knative.local.eventing.status import StatusWriter
from zeroflow.knative.local.eventing.triggers import OIDC_OFF
from zeroflow.knative.local.schedules import Schedule

logger = logging.getLogger(__name__)

PING_SOURCE = "PingSource.sources.knative.dev"
EVENT_TYPE = "dev.knative.sources.ping"


def knative_jitter_s() -> float:
    """Return the random delay of a tick, which keeps all ticks of a full minute from starting at once."""
    return random.randrange(500) / 1000  # noqa: S311 - spreads load


@dataclass(slots=True)
class _Entry:
    source: Object
    schedule: Schedule
    due: datetime


class PingSources:
    """Reconciles PingSources and lets them tick."""

    def __init__(
        self,
        sinks: Sinks,
        status: StatusWriter,
        clock: Clock | None = None,
        jitter_s: Callable[[], float] = knative_jitter_s,
    ) -> None:
        self._sinks, self._status, self._clock, self._jitter_s = sinks, status, clock or WallClock(), jitter_s
        self._entries: dict[str, _Entry] = {}
        self._timer: Handle | None = None
        self._ticks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def changed(self, source: Object) -> None:
        """Schedule the source as it is now and write its status."""
        conditions = Conditions(("SinkProvided", "Deployed", "OIDCIdentityCreated"))
        metadata = source["metadata"]
        sink = self._sinks.provide(source, conditions)
        conditions.true("OIDCIdentityCreated", OIDC_OFF)
        try:
            schedule = schedule_of(source["spec"])
            event_data(source["spec"])
            conditions.true("Deployed")
        except InvalidSpec as error:
            conditions.false("Deployed", "InvalidSpec", str(error))
        if conditions.ready:
            before = self._entries.get(metadata["uid"])
            due = before.due if before and before.schedule == schedule else schedule.after(self._clock.now())
            if due is None:
                self._entries.pop(metadata["uid"], None)
                conditions.true("Deployed", "NeverDue", "the schedule has no due time within years")
            else:
                self._entries[metadata["uid"]] = _Entry(source, schedule, due)
        else:
            self._entries.pop(metadata["uid"], None)
        self._arm()
        fields = {
            "sinkUri": sink.uri if sink else None,
            "ceAttributes": [{"type": EVENT_TYPE, "source": event_source(source)}],
        }
        await self._status.write(conditions.written(source, fields))

    async def deleted(self, source: Object) -> None:
        """Tick no more."""
        self._entries.pop(source["metadata"]["uid"], None)
        self._arm()
        await self._sinks.remove(source)

    def references(self, source: Object) -> set[Reference]:
        """Return the sink."""
        return destinations.references(source["metadata"]["namespace"], source["spec"].get("sink"))

    async def close(self) -> None:
        """Stop the timer; ticks that are being written are finished."""
        self._closed = True
        self._arm()
        if self._ticks:
            await asyncio.wait(self._ticks)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._entries and not self._closed:
            due = min(entry.due for entry in self._entries.values())
            self._timer = self._clock.call_at(due, self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = self._clock.now()
        for uid, entry in list(self._entries.items()):
            if entry.due <= now:
                task = asyncio.get_running_loop().create_task(self._tick(entry.source, entry.due))
                self._ticks.add(task)
                task.add_done_callback(self._ticks.discard)
                following = entry.schedule.after(now)
                if following is None:
                    del self._entries[uid]
                else:
                    entry.due = following
        self._arm()

    async def _tick(self, source: Object, due: datetime) -> None:
        try:
            delay = self._jitter_s()
            if delay > 0:
                await asyncio.sleep(delay)
            await self._sinks.send(source, tick_event(source, due, self._clock.now()))
        except Exception:
            logger.exception("tick lost: source=%s", event_source(source))


def tick_event(source: Object, due: datetime, now: datetime) -> Event:
    """Build the event of one tick; its id follows from source and due time, so one tick is one event."""
    data, content_type = event_data(source["spec"])
    attributes: dict[str, Attribute] = {
        "specversion": "1.0",
        "id": str(uuid.uuid5(uuid.UUID(source["metadata"]["uid"]), due.isoformat())),
        "source": event_source(source),
        "type": EVENT_TYPE,
        "time": timestamp(now),
        **overrides.extensions(source["spec"]),
    }
    if data is not None and content_type:
        attributes["datacontenttype"] = content_type
    return Event(attributes, data)


def event_source(source: Object) -> str:
    """Return the source attribute of a PingSource's events."""
    return f"/apis/v1/namespaces/{source['metadata']['namespace']}/pingsources/{source['metadata']['name']}"
