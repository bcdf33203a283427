"""The audit trail: who changed or used what, when, and how it was before - append-only and chained by hashes.

Each record's hash covers its own text and the hash of the record before it, so that a record cannot be changed, left
out, moved or added without every later hash becoming wrong; `audit_head` holds the end of the chain, so that cutting
off its newest records shows too. A record is written in the transaction of the change that it tells of: the two are
never apart, whatever is killed in between. What the chain cannot show by itself is a forger who rewrites all of it, or
cuts it and its head alike: keep the hash that `zeroflow audit verify` prints elsewhere (the register function keeps
them in its home), and give it back with --expect.

Old records may leave for an archive: `prune` deletes them, notes where the chain now begins in `audit_base`, and leaves
a record that says so. A base that no record speaks for is a chain whose beginning was cut off.

The text that is hashed is kept as it is, in a TEXT column: a database may write JSON in another way than it got it.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Index, Text, delete, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from zeroflow.errors import Conflict
from zeroflow.metadata.base import Base, now_ms

PAGE = 500
START = ""
"""The hash before the first record."""
PRUNE = "audit.prune"

Mark = tuple[int, str]
"""(seq, hash) of a record."""


class AuditRecord(Base):
    """One change or use. The columns repeat what `record` says, for finding it."""

    __tablename__ = "audit_records"
    __table_args__ = (
        Index("ix_audit_records_entity", "entity_type", "entity_id", "seq"),
        Index("ix_audit_records_time", "time_ms"),
    )

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """From 1, without gaps."""
    time_ms: Mapped[int] = mapped_column(BigInteger)
    actor: Mapped[str]
    verb: Mapped[str]
    entity_type: Mapped[str]
    entity_id: Mapped[str]
    record: Mapped[str] = mapped_column(Text)
    """JSON with sorted keys: what the hash is taken of."""
    hash: Mapped[str]
    """sha256 of the hash before, a newline, and `record`; hexadecimal."""


class AuditHead(Base):
    """One row: the end of the chain. Its row lock is what orders writers."""

    __tablename__ = "audit_head"
    __table_args__ = (CheckConstraint("id = 1", name="single_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str]


class AuditBase(Base):
    """One row at most: the last record that was pruned."""

    __tablename__ = "audit_base"
    __table_args__ = (CheckConstraint("id = 1", name="single_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str]


@dataclass(frozen=True)
class Origin:
    """Who does something, and through what."""

    actor: str
    """`user:<name>`, `anonymous`, or the event source of a function."""
    authenticated: bool = False
    """Whether the platform checked who it is; otherwise the name is what the request says."""
    address: str | None = None
    cause: tuple[str, str] | None = None
    """(source, id) of the CloudEvent that led to it."""


@dataclass(frozen=True)
class Verdict:
    """What a verification found. `broken_seq` None: the chain holds."""

    records: int
    """How many were checked."""
    head_seq: int
    head_hash: str
    broken_seq: int | None = None
    reason: str | None = None


_NEXT = text(
    "INSERT INTO audit_head (id, seq, hash) VALUES (1, 1, '') ON CONFLICT (id) DO UPDATE SET seq = audit_head.seq + 1"
    " RETURNING seq, hash"
)


_INSERT = text(
    "INSERT INTO audit_records (seq, time_ms, actor, verb, entity_type, entity_id, record, hash)"
    " VALUES (:seq, :time_ms, :actor, :verb, :entity_type, :entity_id, :record, :hash)"
)
_MOVE_HEAD = text("UPDATE audit_head SET hash = :hash WHERE id = 1")


def append(
    session: Session,
    origin: Origin,
    verb: str,
    entity: tuple[str, str, str],
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> int:
    """Add a record of what happened to `entity` (type, id, name) in the transaction in which it happens.

    Returns the record's number.
    """
    seq, previous = session.execute(_NEXT).one()
    entity_type, entity_id, name = entity
    time_ms = now_ms()
    record = canonical(
        {
            "seq": seq,
            "time_ms": time_ms,
            "actor": origin.actor,
            "authenticated": origin.authenticated,
            "address": origin.address,
            "verb": verb,
            "entity_type": entity_type,
            "entity_id": entity_id,
            "entity_name": name,
            "before": before,
            "after": after,
            "cause": {"source": origin.cause[0], "id": origin.cause[1]} if origin.cause else None,
        }
    )
    digest = chained(previous, record)
    columns = {"seq": seq, "time_ms": time_ms, "actor": origin.actor, "verb": verb, "record": record, "hash": digest}
    session.execute(_INSERT, {**columns, "entity_type": entity_type, "entity_id": entity_id})
    session.execute(_MOVE_HEAD, {"hash": digest})
    return int(seq)


def parse(record: AuditRecord) -> dict[str, Any]:
    """Return what a record tells."""
    told: dict[str, Any] = json.loads(record.record)
    return told


def canonical(document: Mapping[str, Any]) -> str:
    """Write a document in the one form that is hashed."""
    return json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def chained(previous: str, record: str) -> str:
    """Return the hash of a record after the one whose hash is `previous`."""
    return hashlib.sha256(f"{previous}\n{record}".encode()).hexdigest()


def read(
    session: Session,
    *,
    since_ms: int | None = None,
    until_ms: int | None = None,
    entity: tuple[str, str] | None = None,
    verb: str | None = None,
    after_seq: int = 0,
    limit: int | None = None,
) -> Iterator[AuditRecord]:
    """Yield records in order, page by page; `since_ms` inclusive, `until_ms` exclusive."""
    wanted = select(AuditRecord).order_by(AuditRecord.seq)
    if since_ms is not None:
        wanted = wanted.where(AuditRecord.time_ms >= since_ms)
    if until_ms is not None:
        wanted = wanted.where(AuditRecord.time_ms < until_ms)
    if entity is not None:
        wanted = wanted.where(AuditRecord.entity_type == entity[0], AuditRecord.entity_id == entity[1])
    if verb is not None:
        wanted = wanted.where(AuditRecord.verb == verb)
    left = limit
    while left is None or left > 0:
        page = PAGE if left is None else min(PAGE, left)
        rows = session.scalars(wanted.where(AuditRecord.seq > after_seq).limit(page)).all()
        yield from rows
        if len(rows) < page:
            return
        after_seq = rows[-1].seq
        left = None if left is None else left - page
        session.expunge_all()  # what was yielded is the caller's; a long trail need not fit into memory


def verify(session: Session, expected: Iterable[Mark] = ()) -> Verdict:
    """Check the whole chain; name the first record that is not what was written. `expected`: (seq, hash) once kept."""
    base = session.get(AuditBase, 1)
    began, previous = (base.seq, base.hash) if base else (0, START)
    wanted, count, pruned = dict(expected), began, base is None
    if base and wanted.get(base.seq, base.hash) != base.hash:
        return Verdict(
            0, began, previous, base.seq, f"it was pruned with hash {base.hash}; expected was {wanted[base.seq]}"
        )
    for row in read(session):
        count += 1
        reason = _fault(row, count, previous)
        if reason is None and wanted.get(row.seq, row.hash) != row.hash:
            reason = f"its hash is {row.hash}, and {wanted[row.seq]} was expected: the chain was written anew"
        if reason is not None:
            return Verdict(count - began, count, previous, count, reason)
        pruned = pruned or (row.verb == PRUNE and parse(row).get("after") == {"seq": began, "hash": base and base.hash})
        previous = row.hash
    head = session.get(AuditHead, 1)
    end = head.seq if head else 0
    last = max([end, *wanted])
    if last > count:
        return Verdict(count - began, count, previous, count + 1, f"the records from here to {last} are missing")
    if end < count or (head and head.hash != previous):
        return Verdict(
            count - began, count, previous, end + 1, f"the chain's head says {end} records end with another hash"
        )
    if not pruned:
        return Verdict(
            count - began, count, previous, 1, f"the records from here to {began} are gone, and none says why"
        )
    return Verdict(count - began, count, previous)


def prune(session: Session, origin: Origin, until: Mark) -> None:
    """Delete the records up to one that the caller has archived, and leave a record of that.

    Raises Conflict when that record is not there with that hash, or is the newest one.
    """
    row = session.get(AuditRecord, until[0])
    if row is None or row.hash != until[1]:
        raise Conflict(f"the trail has no record {until[0]} with hash {until[1]}: archive what is there, then prune")
    append(session, origin, PRUNE, ("audit", str(row.seq), "audit trail"), after={"seq": row.seq, "hash": row.hash})
    session.execute(delete(AuditBase))
    session.add(AuditBase(id=1, seq=row.seq, hash=row.hash))
    session.execute(delete(AuditRecord).where(AuditRecord.seq <= row.seq))


def _fault(row: AuditRecord, seq: int, previous: str) -> str | None:
    if row.seq != seq:
        return f"it is missing: record {row.seq} comes next"
    if chained(previous, row.record) != row.hash:
        return "its text and its hash do not fit each other and the record before it"
    try:
        told = json.loads(row.record)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        return "its text is no record"
    for column in ("seq", "time_ms", "actor", "verb", "entity_type", "entity_id"):
        if getattr(row, column) != told.get(column):
            return f"its column {column} says {getattr(row, column)!r}, its record {told.get(column)!r}"
    return None
