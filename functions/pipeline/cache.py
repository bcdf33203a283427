"""Outputs of earlier executions instead of another execution: from the cache, or from the run that was forked.

A hit is one by content (`cachekeys`), in the same namespace, whose bytes are still there as they were recorded; what
was found and could not be used is noted, so that `why` can tell.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from zeroflow.artifacts import Stores
from zeroflow.errors import ZeroflowError
from zeroflow.functions.pipeline import cachekeys
from zeroflow.functions.pipeline.executions import task_id
from zeroflow.functions.pipeline.forks import Fork
from zeroflow.functions.pipeline.inputs import Values
from zeroflow.functions.pipeline.plan import TaskPlan
from zeroflow.metadata.pipelines import CacheEntry, Run, Task

KEPT = "taken over from the run that was forked"


def _keep(dialect: Any) -> Any:
    entry = dialect.insert(CacheEntry)
    kept = ("run_id", "task_id", "outputs", "created_ms")
    return entry.on_conflict_do_update(index_elements=["key"], set_={name: entry.excluded[name] for name in kept})


_KEEP = {dialect.dialect.name: _keep(dialect) for dialect in (sqlite, postgresql)}
_CACHED = select(CacheEntry.outputs, CacheEntry.task_id).where(CacheEntry.key == bindparam("of_key"))


@dataclass(frozen=True)
class Found:
    """Outputs that may stand for those of an execution."""

    outputs: dict[str, Any]
    task_id: str
    """The task that gave them."""


class Cache:
    """What one pass over a run may reuse."""

    def __init__(self, session: Session, stores: Stores, run: Run, fork: Fork | None) -> None:
        self._session, self._stores, self._run, self._fork = session, stores, run, fork

    def find(self, row: Task, task: TaskPlan, given: Values) -> Found | None:
        """Give a step's row its keys; return outputs that stand for those of its execution, or note why not."""
        row.cache_key = row.cache_note = None
        # What lies at a place may have changed, and so may the claims of a namespace.
        if task.component.importer is not None or task.component.claim:
            return None
        row.content_key = cachekeys.content(self._run.namespace, task, given)
        if task.enable_cache:
            row.cache_key = cachekeys.key(self._run.namespace, task, row.content_key)
        if self._fork is not None and self._fork.again(row.name):
            row.cache_note = f"the run was forked from {self._run.forked_at!r} on"
            return None
        kept = self._usable(row, self._kept(row)) if self._fork is not None else None
        if kept is not None:
            row.cache_note = KEPT
        return kept or self._usable(row, self._cached(row))

    def keep(self, row: Task, outputs: Values, at_ms: int) -> None:
        """Keep what a task has given under its key."""
        if row.cache_key is None:
            return
        entry = {
            "key": row.cache_key,
            "namespace": self._run.namespace,
            "run_id": self._run.id,
            "task_id": row.id,
            "outputs": dict(outputs),
            "created_ms": at_ms,
        }
        connection = self._session.connection()
        connection.execute(_KEEP[connection.dialect.name], entry)

    def _cached(self, row: Task) -> Found | None:
        if row.cache_key is None:
            return None
        entry = self._session.connection().execute(_CACHED, {"of_key": row.cache_key}).first()
        return Found(entry.outputs, entry.task_id) if entry else None

    def _kept(self, row: Task) -> Found | None:
        """Return what the same step of the run that was forked gave, if its content was the same."""
        before = self._session.get(Task, task_id(str(self._run.forked_from), row.name))
        if before is None or before.state != "SUCCEEDED" or before.content_key != row.content_key:
            return None
        return Found(before.outputs or {}, before.cached_from or before.id)

    def _usable(self, row: Task, found: Found | None) -> Found | None:
        for name, held in (found.outputs.get("artifacts", {}) if found else {}).items():
            for item in held:
                if item["sha256"] and not self._there(item):
                    row.cache_note = f"the bytes of output {name!r} of an equal execution are gone from {item['uri']}"
                    return None
        return found

    def _there(self, item: dict[str, Any]) -> bool:
        try:
            path = self._stores.local_path(item["uri"])
            if path is None:
                return self._stores.exists(item["uri"])
            files = [path] if path.is_file() else [part for part in path.rglob("*") if part.is_file()]
            return bool(files) and sum(file.stat().st_size for file in files) == item["size_bytes"]
        except (ZeroflowError, OSError):
            return False
