"""Outputs of earlier executions, kept by the key of what made them (`cachekeys`)."""

from sqlalchemy.orm import Session

from zeroflow.artifacts import Stores
from zeroflow.errors import ZeroflowError
from zeroflow.functions.pipeline.inputs import Values
from zeroflow.metadata.pipelines import CacheEntry, Run, Task


def find(session: Session, stores: Stores, key: str | None) -> CacheEntry | None:
    """Return the entry with this key, if the bytes of its outputs are still there."""
    entry = session.get(CacheEntry, key)
    if entry is None:
        return None
    held = [item for items in entry.outputs["artifacts"].values() for item in items]
    try:
        there = all(stores.exists(item["uri"]) for item in held if item["sha256"])
    except ZeroflowError:
        return None
    return entry if there else None


def keep(session: Session, run: Run, row: Task, outputs: Values, at_ms: int) -> None:
    """Keep what a task has given under its key."""
    entry = CacheEntry(
        key=row.cache_key,
        namespace=run.namespace,
        run_id=run.id,
        task_id=row.id,
        outputs=dict(outputs),
        created_ms=at_ms,
    )
    session.merge(entry)
