"""State and events in one transaction.

A `Transaction` is a database session that can also `emit` events; both become durable together, or neither does. After
commit the events are published; what a crash leaves unpublished is published by the redelivery of its cause, or by
`sweep`. Consumers therefore see an event at least once, always under the same `(source, id)`.
"""

import logging
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from zeroflow.events.http import from_record
from zeroflow.events.publisher import Publisher
from zeroflow.events.tracing import continued
from zeroflow.metadata import Database, now_ms
from zeroflow.metadata.events import EventRecord

logger = logging.getLogger(__name__)

PAGE = 500
"""Events that are sent before they are marked as sent."""
_RECORD = {
    dialect.dialect.name: dialect.insert(EventRecord).on_conflict_do_nothing().returning(EventRecord.seq)
    for dialect in (sqlite, postgresql)
}
"""Built once: to build and to hash a statement, or to have a session track the row, costs more than to execute it."""

REPLIES = "zeroflowreplies"
"""The extension that counts how many replies in a row have led to an event."""
REPLIES_IN_A_ROW = 100
"""After so many an event is published. A broker counts replies as well and ends what goes on for too long (Knative:
255), since that is most likely a circle; a chain of steps has any length."""


class Transaction:
    """A session, and the events that are emitted with it."""

    def __init__(
        self,
        session: Session,
        source: str,
        consumer: str | None = None,
        cause: tuple[str, str] | None = None,
        traceparent: str | None = None,
        replies: int | None = None,
    ) -> None:
        """`replies`: how many replies in a row have led to the cause; None where no reply is wanted."""
        self.session = session
        self.reply: EventRecord | None = None
        """The event that is answered instead of published: the first, unless there were too many in a row."""
        self.emitted: list[EventRecord] = []
        self._source, self._consumer, self._cause, self._traceparent = source, consumer, cause, traceparent
        self._replies = replies

    def emit(
        self,
        event_type: str,
        *,
        subject: str | None = None,
        data: dict[str, Any] | None = None,
        event_id: str | None = None,
        source: str | None = None,
        extensions: dict[str, str | int | bool] | None = None,
    ) -> None:
        """Add an event to this transaction.

        `event_id` should be derived from what the event tells (`<run id>.finished`): emitting the same id a second time
        does nothing. Without one, an event with a cause gets an id derived from it, any other a random one. `source`
        is the function's own unless the event's contract gives it another.
        """
        source = source or self._source
        if event_id is None:
            cause = ":".join(self._cause) if self._cause else uuid.uuid4().hex
            event_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{cause}:{event_type}:{subject}:{len(self.emitted)}"))
        reply = not self.emitted and self._replies is not None and self._replies < REPLIES_IN_A_ROW
        if reply:
            extensions = {**(extensions or {}), REPLIES: (self._replies or 0) + 1}
        values: dict[str, Any] = {
            "source": source,
            "id": event_id,
            "type": event_type,
            "subject": subject,
            "time_ms": now_ms(),
            "data": data,
            "extensions": extensions,
            "traceparent": continued(self._traceparent),
            "cause_source": self._cause[0] if self._cause else None,
            "cause_id": self._cause[1] if self._cause else None,
            "consumer": self._consumer,
            "published_ms": now_ms() if reply else None,
        }
        connection = self.session.connection()
        seq = connection.execute(_RECORD[connection.dialect.name], values).scalar()
        if seq is None:
            return
        record = EventRecord(seq=seq, **values)
        self.reply = record if reply else self.reply
        self.emitted.append(record)


class Outbox:
    """Opens transactions and publishes what they emitted."""

    def __init__(self, database: Database, publisher: Publisher, source: str) -> None:
        self.database, self.publisher, self.source = database, publisher, source

    @contextmanager
    def transaction(self, traceparent: str | None = None) -> Iterator[Transaction]:
        """Open a transaction that no event caused; its events are published after commit.

        A broker that does not answer does not undo the commit: the events wait for the sweep.
        """
        with self.database.transaction() as session:
            transaction = Transaction(session, self.source, traceparent=traceparent)
            yield transaction
        try:
            self.publish(transaction.emitted)
        except Exception:
            logger.exception("events wait for the sweep: %s", [record.type for record in transaction.emitted])

    def publish(self, records: Iterable[EventRecord]) -> int:
        """Publish committed events and mark them; return how many were sent. Raises what the publisher raises."""
        waiting = [record for record in records if record.published_ms is None]
        for at in range(0, len(waiting), PAGE):
            self._publish(waiting[at : at + PAGE])
        return len(waiting)

    def _publish(self, records: list[EventRecord]) -> None:
        sent: list[int] = []
        try:
            for record in records:
                self.publisher.publish(from_record(record))
                sent.append(record.seq)
        finally:
            if sent:
                with self.database.transaction() as session:
                    session.execute(update(EventRecord).where(EventRecord.seq.in_(sent)).values(published_ms=now_ms()))

    def sweep(self, older_than_ms: int = 5_000) -> int:
        """Publish every event, of whichever function, that has waited longer than `older_than_ms`; return how many."""
        total = 0
        while True:
            with self.database.reading() as session:
                waiting = session.scalars(
                    select(EventRecord)
                    .where(EventRecord.published_ms.is_(None), EventRecord.time_ms <= now_ms() - older_than_ms)
                    .order_by(EventRecord.seq)
                    .limit(PAGE)
                ).all()
            if not waiting:
                return total
            total += self.publish(waiting)
