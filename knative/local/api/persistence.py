"""The resources on disk: one small SQLite file that is read once at start and written in batches.

Guarantees: a batch is on disk, whole, when `write` returns (WAL, synchronous=FULL), or not at all; the file is
readable by its owner only, since it holds Secrets; resource versions never go backwards over restarts, memory-only
kinds included (a block of numbers is reserved ahead). A file of a newer schema is refused with NewerSchema and left
untouched; one of an older is brought up to date. The last deletions are kept, and of each object the version at which
it was made, so that a watch can go on over a restart.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

import orjson

from zeroflow.knative.local.api.errors import NewerSchema, StorageFailed
from zeroflow.knative.local.api.objects import Object

SCHEMA_VERSION: Final = 2
DELETIONS_KEPT: Final = 1000
RESERVED_BLOCK: Final = 1000  # resource versions handed out between two writes of the high-water mark

Key: TypeAlias = tuple[str, str, str]  # kind key, namespace ("" for none), name
Row: TypeAlias = tuple[Key, Object | None, int | None]  # the object (None: removed), its first version where it is new
Deletion: TypeAlias = tuple[int, Key, Object]  # version, what, its last state

SCHEMA: Final = """
CREATE TABLE objects (
    kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (kind, namespace, name)
) WITHOUT ROWID;
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""
SINCE_2: Final = """
ALTER TABLE objects ADD COLUMN created INTEGER NOT NULL DEFAULT 0;
CREATE TABLE deletions (
    version INTEGER PRIMARY KEY, kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL
);
INSERT INTO counters SELECT 'forgotten', value FROM counters WHERE name = 'resource_version';
"""


class ResourceFile:
    """The SQLite file; `path=None` keeps it in memory (tests). Used from one thread at a time."""

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            path.chmod(0o600)
        self._path = path
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
            self._kept = [row[0] for row in self._db.execute("SELECT version FROM deletions ORDER BY version")]
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        found = self._db.execute("PRAGMA user_version").fetchone()[0]
        if found > SCHEMA_VERSION:
            raise NewerSchema(
                f"{self._path} has resource schema {found}; this Zeroflow knows {SCHEMA_VERSION}: "
                "use the newer Zeroflow, or another --home"
            )
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA cache_size=-512")  # KiB: all reads are served from memory
        if found == 0:
            self._db.executescript(f"BEGIN IMMEDIATE;{SCHEMA}{SINCE_2} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
        elif found == 1:
            self._db.executescript(f"BEGIN IMMEDIATE;{SINCE_2} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")

    def objects(self) -> Iterator[tuple[Key, Object, int]]:
        """Yield everything that is stored, and at which version each object was made."""
        query = "SELECT kind, namespace, name, body, created FROM objects"
        for kind, namespace, name, body, created in self._db.execute(query):
            yield (kind, namespace, name), orjson.loads(body), created

    def deletions(self) -> Iterator[Deletion]:
        """Yield the last deletions, the oldest first."""
        query = "SELECT version, kind, namespace, name, body FROM deletions ORDER BY version"
        for version, kind, namespace, name, body in self._db.execute(query):
            yield version, (kind, namespace, name), orjson.loads(body)

    def counter(self, name: str) -> int:
        """Return a counter's value; 0 when it was never written."""
        row = self._db.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def write(self, rows: Iterable[Row], deletions: Iterable[Deletion], version: int) -> None:
        """Store or remove the objects and the highest resource version handed out, in one transaction."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for (kind, namespace, name), obj, created in rows:
                if obj is None:
                    self._db.execute(
                        "DELETE FROM objects WHERE kind = ? AND namespace = ? AND name = ?", (kind, namespace, name)
                    )
                else:
                    self._db.execute(
                        "INSERT INTO objects VALUES (?, ?, ?, ?, coalesce(?, 0)) ON CONFLICT (kind, namespace, name) "
                        "DO UPDATE SET body = excluded.body, created = coalesce(?, created)",
                        (kind, namespace, name, orjson.dumps(obj), created, created),
                    )
            kept = list(self._kept)  # their bodies are not read again to count them
            for deleted_at, key, obj in deletions:
                row = (deleted_at, *key, orjson.dumps(obj))
                self._db.execute("INSERT OR REPLACE INTO deletions VALUES (?, ?, ?, ?, ?)", row)
                kept.append(deleted_at)
            kept = self._newest(kept)
            self._count("resource_version", version)
            self._db.execute("COMMIT")
            self._kept = kept
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise StorageFailed(f"nothing was changed, as it could not be written to {self._path}: {error}") from error

    def _newest(self, kept: list[int]) -> list[int]:
        """Keep the newest deletions of these, and note up to which version something is missing."""
        forgotten = kept[:-DELETIONS_KEPT]
        if forgotten:
            self._db.execute("DELETE FROM deletions WHERE version <= ?", forgotten[-1:])
            self._count("forgotten", forgotten[-1])
        return kept[len(forgotten) :]

    def _count(self, name: str, value: int) -> None:
        self._db.execute(
            "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
            (name, value),
        )

    def close(self) -> None:
        self._db.close()
