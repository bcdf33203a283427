"""The function app: what every function of the platform is made of.

A Flask application with the HTTP contract of Knative Functions - `POST /` takes a CloudEvent and may answer with one,
`GET /health/liveness` and `GET /health/readiness` answer 200 - that adds what the platform relies on:

* each `(source, id)` is handled once per function; a repeated delivery gets the first answer again (for as long as
  events.retention says);
* a handler's state change, the note that the event was handled, and the events that follow are one transaction;
* W3C trace context goes from the event to what follows from it.

Source: Knative Eventing data plane contract 1.0 (event delivery, replies); Knative Functions, Python (health paths).
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from cloudevents.core.base import BaseCloudEvent
from flask import Flask, Response, request
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Rule

from zeroflow.errors import InvalidInput, ZeroflowError, unexpected
from zeroflow.events.edge import Answer, EventEdge, Incoming
from zeroflow.events.http import data_of, from_record, to_message
from zeroflow.events.outbox import REPLIES, Outbox, Transaction
from zeroflow.events.publisher import NoSink, SinkPublisher
from zeroflow.events.retention import forget
from zeroflow.metadata import Database, now_ms
from zeroflow.metadata.events import EventRecord, HandledEvent
from zeroflow.settings import EVENT_RETENTION_DAYS, Settings

logger = logging.getLogger(__name__)

HTTP_STATUS = {"InvalidInput": 400, "Forbidden": 403, "NotFound": 404, "Conflict": 409, "Unavailable": 503}
"""What a reason means to an HTTP client; any other is 500."""

EVENT_STATUS = {**HTTP_STATUS, "NotFound": 400}
"""The same for a broker, which would retry a 404: an object that is gone will not come back. It retries 409 and 503."""

NO_REPLY = Answer(204)

_KEY = (
    HandledEvent.consumer == bindparam("of"),
    HandledEvent.source == bindparam("from_source"),
    HandledEvent.id == bindparam("of_id"),
)
_FIND_HANDLED = select(HandledEvent.reply_seq).where(*_KEY)
_NOTE_HANDLED = insert(HandledEvent.__table__)  # type: ignore[arg-type]  # a class is declared on a Table
_NOTE_REPLY = update(HandledEvent.__table__).where(*_KEY)  # type: ignore[arg-type]
"""Built once: to build them, or to have a session track the row, costs more than to execute them."""


class Delivery:
    """One event as a handler gets it."""

    def __init__(self, outbox: Outbox, consumer: str, event: BaseCloudEvent, wants_reply: bool) -> None:
        self.event = event
        self.committed: Transaction | None = None
        self.reply: EventRecord | None = None
        self.consumer = consumer
        self._outbox, self.wants_reply = outbox, wants_reply

    @property
    def id(self) -> str:
        """The event's id."""
        return str(self.event.get_id())

    @property
    def source(self) -> str:
        """The event's source."""
        return str(self.event.get_source())

    @property
    def key(self) -> dict[str, str]:
        """What tells whether this consumer has handled the event: parameters of `_KEY`."""
        return {"of": self.consumer, "from_source": self.source, "of_id": self.id}

    @property
    def type(self) -> str:
        """The event's type."""
        return str(self.event.get_type())

    @property
    def traceparent(self) -> str | None:
        """The trace that the event belongs to."""
        value = self.event.get_extension("traceparent")
        return str(value) if value else None

    @property
    def replies(self) -> int:
        """How many replies in a row have led to the event."""
        counted = str(self.event.get_extension(REPLIES) or "0")
        return int(counted) if counted.isdecimal() else 0

    def data(self) -> dict[str, Any]:
        """Return the event's data; raise InvalidInput when it is not a JSON object."""
        return data_of(self.event)

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[Transaction]:
        """Open the one transaction in which this event is handled; long work belongs before it, not inside.

        One that need not be `durable` only notes an answer: when power is lost, the event that it answers is delivered
        again.
        """
        if self.committed is not None:
            raise RuntimeError(f"event {self.id!r} was already handled by a transaction of this delivery")
        with self._outbox.database.transaction(durable=durable) as session:
            note = {"consumer": self.consumer, "source": self.source, "id": self.id, "handled_ms": now_ms()}
            # a concurrent delivery of the same event fails here, before it has done anything
            session.connection().execute(_NOTE_HANDLED, {**note, "reply_seq": None})
            transaction = Transaction(
                session,
                self._outbox.source,
                self.consumer,
                (self.source, self.id),
                self.traceparent,
                self.replies if self.wants_reply else None,
            )
            yield transaction
            session.flush()
            if transaction.reply is not None:
                self.reply = transaction.reply
                session.connection().execute(_NOTE_REPLY, {**self.key, "reply_seq": self.reply.seq})
        self.committed = transaction


class _Path(Rule):
    """A path that is matched and never built: the code that builds URLs is two thirds of an application's start."""

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        return _build_none


def _build_none(_rule: Rule, **_values: object) -> tuple[str, str]:
    raise NotImplementedError("a function's application builds no URLs")


class _Application(Flask):
    url_rule_class = _Path


Handler = Callable[[Delivery], None]
Concern = Callable[[Delivery], bool]
"""Tells from the event alone whether it means something."""


@dataclass(frozen=True)
class _Registered:
    """A handler, and what it says of itself (`FunctionApp.on`)."""

    handler: Handler
    concerns: Concern | None = None
    asks_itself: bool = False
    repeatable: bool = False


class FunctionApp:
    """A function: event handlers by type, and HTTP routes on `flask`."""

    def __init__(self, name: str, outbox: Outbox, event_retention_days: float = EVENT_RETENTION_DAYS) -> None:
        self.name, self.outbox, self.database = name, outbox, outbox.database
        self._event_retention_days = event_retention_days
        self.flask = _Application(f"zeroflow.functions.{name}", static_folder=None)
        self.flask.extensions["zeroflow"] = self
        self._handlers: dict[str, _Registered] = {}
        self.flask.wsgi_app = EventEdge(  # type: ignore[method-assign]
            self.flask.wsgi_app, self._on_event, lambda: self.flask.config["MAX_CONTENT_LENGTH"]
        )
        self.flask.post("/outbox/sweep")(self._on_sweep)
        self.flask.get("/health/<any(liveness, readiness):_aspect>")(_on_health)
        self.flask.register_error_handler(ZeroflowError, _answer_error)
        self.flask.register_error_handler(Exception, _answer_unexpected)

    @classmethod
    def from_settings(cls, name: str, settings: Settings) -> "FunctionApp":
        """Build the app of function `name` on the database and broker that the settings name."""
        publisher = SinkPublisher(settings.sink, settings.token) if settings.sink else NoSink()
        database, source = Database(settings.database_url), f"/zeroflow/functions/{name}"
        outbox = Outbox(database, publisher, source)
        return cls(name, outbox, settings.event_retention_days)

    def on(
        self,
        event_type: str,
        concerns: Concern | None = None,
        *,
        asks_itself: bool = False,
        repeatable: bool = False,
    ) -> Callable[[Handler], Handler]:
        """Register the handler of one event type at `POST /`.

        Events that do not concern it are taken before the database is asked about them, and not remembered: they mean
        nothing again when they come again. Nor are those of a `repeatable` handler, unless it opens the event's
        transaction: it makes things as they are declared, so that doing it again changes nothing. A handler that
        `asks_itself` whether an event was handled - by opening its transaction before it does anything, which then
        fails - spares the database the question.
        """

        def register(handler: Handler) -> Handler:
            self._handlers[event_type] = _Registered(handler, concerns, asks_itself, repeatable)
            return handler

        return register

    @property
    def handled_types(self) -> list[str]:
        """The event types that `POST /` takes."""
        return sorted(self._handlers)

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Open a transaction for a plain HTTP request; its events are published after commit."""
        return self.outbox.transaction(request.headers.get("traceparent"))

    def receive(self, handler: Handler, consumer: str | None = None) -> Response:
        """Handle the event in Flask's current request with `handler`, once, and answer for the broker.

        One event may reach a function at several addresses: each is a `consumer` of its own, which handles it once.
        """
        incoming = Incoming.of(request.environ, self.flask.config["MAX_CONTENT_LENGTH"])
        answer = self._receive(incoming, _Registered(handler), consumer or self.name)
        return Response(answer.body, answer.status, headers=dict(answer.headers))

    def _receive(self, incoming: Incoming, registered: _Registered, consumer: str) -> Answer:
        try:
            delivery = Delivery(self.outbox, consumer, incoming.event(), incoming.wants_reply)
            if registered.concerns is not None and not registered.concerns(delivery):
                return NO_REPLY
            return self._deliver(delivery, registered)
        except ZeroflowError as error:
            logger.warning("event refused: %s", error)
            return Answer.saying(str(error), EVENT_STATUS.get(error.reason, 500))

    def _on_event(self, incoming: Incoming) -> Answer:
        event_type = incoming.headers.get("ce-type") or str(incoming.event().get_type())
        registered = self._handlers.get(event_type)
        if registered is None:
            known = ", ".join(self.handled_types) or "none"
            return Answer.saying(f"function {self.name} does not handle {event_type}; it handles: {known}", 400)
        return self._receive(incoming, registered, self.name)

    def _on_sweep(self) -> Response:
        age = request.args.get("older_than_ms", "5000")
        if not age.isdecimal():
            raise InvalidInput(f"older_than_ms must be a number of milliseconds, got {age!r}")
        self.outbox.sweep(int(age))
        if forgotten := forget(self.database, self._event_retention_days):
            logger.info("events forgotten after %g days: %d", self._event_retention_days, forgotten)
        return Response(status=204)

    def _deliver(self, delivery: Delivery, registered: _Registered) -> Answer:
        if registered.asks_itself or registered.repeatable or not self.handled(delivery):
            try:
                registered.handler(delivery)
                if delivery.committed is None and registered.repeatable:
                    return NO_REPLY
                if delivery.committed is None and not (registered.asks_itself and self.handled(delivery)):
                    with delivery.transaction():
                        pass
            except IntegrityError:
                if not self.handled(delivery):
                    raise
                delivery.committed = None
        emitted = delivery.committed.emitted if delivery.committed else self._emitted_before(delivery)
        self.outbox.publish(emitted)
        return self._reply(delivery, emitted) if delivery.wants_reply else NO_REPLY

    def handled(self, delivery: Delivery) -> bool:
        """Say whether an event was handled before, or meanwhile by another delivery of it."""
        with self.database.looking() as connection:
            return connection.execute(_FIND_HANDLED, delivery.key).first() is not None

    def _replied(self, delivery: Delivery) -> int | None:
        with self.database.looking() as connection:
            return connection.scalar(_FIND_HANDLED, delivery.key)

    def _emitted_before(self, delivery: Delivery) -> list[EventRecord]:
        with self.database.reading() as session:
            return list(
                session.scalars(
                    select(EventRecord)
                    .where(
                        EventRecord.cause_source == delivery.source,
                        EventRecord.cause_id == delivery.id,
                        EventRecord.consumer == delivery.consumer,
                    )
                    .order_by(EventRecord.seq)
                )
            )

    def _reply(self, delivery: Delivery, emitted: list[EventRecord]) -> Answer:
        """Answer with the event that was chosen as the reply when this delivery was first handled."""
        if delivery.committed:
            reply = delivery.reply
        else:
            seq = self._replied(delivery)
            reply = next((record for record in emitted if record.seq == seq), None)
        if reply is None:
            return NO_REPLY
        message = to_message(from_record(reply))
        return Answer(200, message.body, message.headers)


def _on_health(_aspect: str) -> Response:
    return Response("OK", mimetype="text/plain")


def _answer_error(error: ZeroflowError) -> Response:
    return Response(f"{error}\n", HTTP_STATUS.get(error.reason, 500), mimetype="text/plain")


def _answer_unexpected(error: Exception) -> Response | HTTPException:
    """Log what nobody expected where it is handled, and tell the client nothing of the inside."""
    if isinstance(error, HTTPException):
        return error
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    return Response(unexpected(error) + "\n", 500)
