"""A transaction that may change the registry: who writes, under which policy, and the trail that it leaves.

Every change of an entity goes through `registry.create` and `registry.change`, and those take a `Writing`: there is no
change without an origin, without an audit record in the same transaction, or past the approval policy.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from zeroflow.events import FunctionApp, Transaction
from zeroflow.functions.register.policy import NO_POLICY, Policy
from zeroflow.metadata import audit, now_ms
from zeroflow.metadata.audit import Origin

_TICK = text(
    "INSERT INTO registry_clock (id, last_ms) VALUES (1, :now) ON CONFLICT (id) DO UPDATE SET last_ms = CASE WHEN"
    " excluded.last_ms > registry_clock.last_ms THEN excluded.last_ms ELSE registry_clock.last_ms + 1 END"
    " RETURNING last_ms"
)


def tick(session: Session) -> int:
    """Take the registry's write lock and return this write's time, later than that of every write before it."""
    return int(session.execute(_TICK, {"now": now_ms()}).scalar_one())


@dataclass
class Writing:
    """What a change of the registry needs."""

    tx: Transaction
    origin: Origin
    policy: Policy = field(default=NO_POLICY)
    begun_ms: int | None = None
    """The time of the tick that took the lock, until a write has it."""

    @property
    def session(self) -> Session:
        """The database session of the transaction."""
        return self.tx.session

    def tick(self) -> int:
        """Take the registry's write lock and return this write's time, later than that of every write before it."""
        begun, self.begun_ms = self.begun_ms, None
        return begun if begun is not None else tick(self.session)

    def audit(
        self,
        verb: str,
        entity: tuple[str, str, str],
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> None:
        """Leave a record of what was done to `entity` (type, id, name)."""
        audit.append(self.session, self.origin, verb, entity, before=before, after=after)


@contextmanager
def writing(app: FunctionApp, origin: Origin, policy: Policy) -> Iterator[Writing]:
    """Open a transaction for an HTTP request and take the write lock, so that what is read stays true."""
    with app.transaction() as tx:
        yield Writing(tx, origin, policy, tick(tx.session))
