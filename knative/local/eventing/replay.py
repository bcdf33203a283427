"""Sends an event of the log to its broker once more: `POST /eventing/events?id=ID[&trigger=NAME][&fresh=true]`.

It goes to whoever wants it now, or to one trigger alone. Under its old id a function that has handled it answers as it
did then and does nothing twice, for as long as it remembers (ZEROFLOW_EVENT_RETENTION_DAYS); with `fresh` it gets a
new id (and `replayof`, the old one), so the work is done again.
The platform's own types need the platform's token, as when they are published.
"""

from __future__ import annotations

import sqlite3
import uuid
from dataclasses import replace

import orjson
from aiohttp import web

from zeroflow.knative.local.eventing.errors import BrokerNotFound, EventForbidden
from zeroflow.knative.local.eventing.ingress import Ingress
from zeroflow.knative.local.eventing.log import EventLog, Record, record_of

REPLAY_EXTENSION = "replayof"


class Replay:
    """Accepts events of the log again."""

    def __init__(self, log: EventLog, ingress: Ingress) -> None:
        self._log, self._ingress = log, ingress

    async def handle(self, request: web.Request) -> web.Response:
        """Answer POST with the number and id under which the event was accepted, and who gets it."""
        event_id = request.query.get("id", "")
        record = await self._log.read(lambda connection: _latest(connection, event_id))
        if record is None:
            return _answer(404, {"error": f"the event log holds no event {event_id!r}"})
        if not record.broker:
            return _answer(409, {"error": f"event {event_id!r} went straight to a sink: only a broker's are replayed"})
        fresh = request.query.get("fresh", "").lower() in {"1", "true", "yes"}
        event = record.event
        if fresh:
            event = event.extended({"id": str(uuid.uuid4()), REPLAY_EXTENSION: event.id})
        try:
            self._ingress.check_publisher(event, request.headers)
            new = self._ingress.admit(record.namespace, record.broker, event, None, record.headers)
        except BrokerNotFound as error:
            return _answer(404, {"error": str(error)})
        except EventForbidden as error:
            return _answer(403, {"error": str(error)})
        if trigger := request.query.get("trigger"):
            mine = [key for key in new.subscriptions if key.startswith(f"trigger/{record.namespace}/{trigger}/")]
            if not mine:
                return _answer(404, {"error": f"no trigger {trigger!r} in {record.namespace} wants this event"})
            new = replace(new, subscriptions=mine)
        seq = await self._log.accept(new)
        names = [key.split("/", 3)[2] for key in new.subscriptions]
        return _answer(202, {"seq": seq, "id": event.id, "triggers": names})


def _latest(connection: sqlite3.Connection, event_id: str) -> Record | None:
    number = int(event_id) if event_id.isdecimal() and len(event_id) < 19 else -1
    row = connection.execute(
        "SELECT *, seq AS event_seq, length(data) AS size FROM event WHERE id = ? OR seq = ? ORDER BY seq DESC LIMIT 1",
        (event_id, number),
    ).fetchone()
    return None if row is None else record_of(row)


def _answer(status: int, document: object) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(document), content_type="application/json")
