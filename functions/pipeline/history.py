"""The event log of a run: everything that functions said of it and of its tasks, in order."""

import base64
import binascii
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from zeroflow.errors import InvalidInput
from zeroflow.functions.pipeline.states import rfc3339
from zeroflow.metadata.events import EventRecord


def of_run(session: Session, run_id: str, size: int, token: str) -> tuple[list[dict[str, Any]], str]:
    """Return a page of a run's events, oldest first, and the token of the next page."""
    subject = f"runs/{run_id}"
    below = EventRecord.subject.startswith(f"{subject}/", autoescape=True)
    if session.get_bind().dialect.name == "sqlite":  # where LIKE knows no case, and so no index
        below = EventRecord.subject.op("GLOB")(f"{subject}/*")
    found = (
        select(EventRecord)
        .where(or_(EventRecord.subject == subject, below), EventRecord.seq > _seq(token))
        .order_by(EventRecord.seq)
        .limit(size + 1)
    )
    rows = session.scalars(found).all()
    more = base64.urlsafe_b64encode(str(rows[size - 1].seq).encode()).decode() if len(rows) > size else ""
    return [_event(row) for row in rows[:size]], more


def _seq(token: str) -> int:
    try:
        return int(base64.urlsafe_b64decode(token)) if token else 0
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"page_token {token[:60]!r} was not given by this server") from error


def _event(row: EventRecord) -> dict[str, Any]:
    return {
        "id": row.id,
        "source": row.source,
        "type": row.type,
        "subject": row.subject,
        "time": rfc3339(row.time_ms),
        "data": row.data,
        "traceparent": row.traceparent,
        "cause": {"source": row.cause_source, "id": row.cause_id} if row.cause_id else None,
        "published": row.published_ms is not None,
    }
