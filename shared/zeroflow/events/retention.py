"""How long it is remembered which events were handled, and what was said that nobody reads again.

A predictor with traffic tells every second how it answers, and each function that hears it notes that it has: without
an end, that is most of the database. Forgotten is:

* which events were handled: an event that came again afterwards would be handled again. `event_retention_days` must
  therefore be longer than the broker retries, than a dead letter waits and than an event is replayed under its old id;
* published events that only passed through (`PASSING`): what storage and webhooks sent, the ticks of recurring runs.
  All other events stay: they are the log of a run, or their ids keep something from being told twice.

Guarantees: an event that waits to be published stays. Short transactions of at most `PAGE` rows, at most `PAGES` a
time. After a pause - a machine that was off for a month - nothing is forgotten before an hour of work: what a broker
has kept meanwhile is delivered again first.
"""

from typing import Any

from sqlalchemy import delete, select, text, tuple_
from sqlalchemy.orm import Session

from zeroflow.metadata import Database, now_ms
from zeroflow.metadata.events import PASSING, EventRecord, HandledEvent

DAY_MS = 86_400_000
AFTER_PAUSE_MS = 3_600_000
PAGE, PAGES = 1_000, 200


def forget(database: Database, retention_days: float) -> int:
    """Delete what is older than the retention; return how many rows."""
    now = now_ms()
    before = now - int(retention_days * DAY_MS)
    with database.reading() as session:
        if not _worked_between(session, before, now - AFTER_PAUSE_MS):
            return 0
    return _forget_handled(database, before) + _forget_passing(database, before)


def _worked_between(session: Session, since: int, until: int) -> bool:
    """Say whether an event was handled between two moments."""
    found = select(HandledEvent.handled_ms).where(HandledEvent.handled_ms.between(since, until)).limit(1)
    return session.execute(found).first() is not None


def _forget_handled(database: Database, before: int) -> int:
    key = (HandledEvent.consumer, HandledEvent.source, HandledEvent.id)
    old = select(*key).where(HandledEvent.handled_ms < before).limit(PAGE)
    return _in_pages(database, delete(HandledEvent).where(tuple_(*key).in_(old)).returning(HandledEvent.handled_ms))


def _forget_passing(database: Database, before: int) -> int:
    old = select(EventRecord.seq).where(text(PASSING), EventRecord.published_ms < before).limit(PAGE)
    return _in_pages(database, delete(EventRecord).where(EventRecord.seq.in_(old)).returning(EventRecord.seq))


def _in_pages(database: Database, statement: Any) -> int:
    total = 0
    for _ in range(PAGES):
        with database.transaction() as session:
            gone = len(session.execute(statement, execution_options={"synchronize_session": False}).all())
        total += gone
        if gone < PAGE:
            break
    return total
