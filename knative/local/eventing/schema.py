"""The tables of the event log, db/broker.sqlite.

`event`: what was accepted, in the order of acceptance. `delivery`: one row per event and subscriber; a row that waits
is the only to-do list there is. `attempt`: every try. `seen`: what an ApiServerSource knows of the objects it
watches.
Guarantees: WAL with synchronous=FULL, so a committed transaction survives kill -9 and power loss; where the writer asks
for less, kill -9.
"""

from __future__ import annotations

import sqlite3
from enum import IntEnum
from pathlib import Path

from zeroflow.knative.local.eventing.errors import NewerLog

VERSION = 1

_TABLES = """
CREATE TABLE event (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  accepted REAL NOT NULL,
  namespace TEXT NOT NULL,
  broker TEXT NOT NULL,
  id TEXT NOT NULL,
  source TEXT NOT NULL,
  type TEXT NOT NULL,
  attributes TEXT NOT NULL,
  data BLOB,
  form TEXT NOT NULL,
  structured INTEGER NOT NULL,
  ttl INTEGER NOT NULL,
  headers TEXT NOT NULL,
  cause INTEGER
);
CREATE INDEX event_by_id ON event (id);
CREATE TABLE delivery (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  event INTEGER NOT NULL,
  subscription TEXT NOT NULL,
  state INTEGER NOT NULL,
  stage INTEGER NOT NULL,
  due REAL NOT NULL,
  failures INTEGER NOT NULL DEFAULT 0,
  tries INTEGER NOT NULL DEFAULT 0,
  finished REAL,
  error_destination TEXT,
  error_code INTEGER,
  error_data TEXT
);
CREATE INDEX delivery_by_event ON delivery (event);
CREATE INDEX delivery_waiting ON delivery (subscription, due, seq) WHERE state = 0;
CREATE TABLE attempt (
  delivery INTEGER NOT NULL,
  number INTEGER NOT NULL,
  stage INTEGER NOT NULL,
  destination TEXT NOT NULL,
  started REAL NOT NULL,
  duration_s REAL NOT NULL,
  status INTEGER,
  error TEXT,
  reply INTEGER,
  PRIMARY KEY (delivery, number)
) WITHOUT ROWID;
CREATE TABLE seen (
  source TEXT NOT NULL,
  object TEXT NOT NULL,
  resource_version TEXT NOT NULL,
  document TEXT NOT NULL,
  PRIMARY KEY (source, object)
) WITHOUT ROWID;
CREATE TABLE watching (
  source TEXT PRIMARY KEY,
  generation INTEGER NOT NULL
) WITHOUT ROWID;
"""


class State(IntEnum):
    """Where a delivery stands. WAITING is 0 in the partial index above."""

    WAITING = 0
    DONE = 1
    DEAD_LETTERED = 2
    FAILED = 3
    DROPPED = 4

    @property
    def word(self) -> str:
        return self.name.lower().replace("_", "-")


class Stage(IntEnum):
    """Whom a waiting delivery goes to next."""

    SUBSCRIBER = 0
    DEAD_LETTER_SINK = 1

    @property
    def word(self) -> str:
        return self.name.lower().replace("_", "-")


def connect(path: Path, *, writing: bool) -> sqlite3.Connection:
    """Open the log for one thread's use; transactions are explicit."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -2048")
    if writing:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA journal_size_limit = {64 * 1024 * 1024}")
    else:
        connection.execute("PRAGMA query_only = ON")
    return connection


def prepare(path: Path) -> sqlite3.Connection:
    """Open the log for writing, making its tables when it is new; raise NewerLog when a newer version wrote it."""
    connection = connect(path, writing=True)
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        connection.close()
        raise NewerLog(
            f"the event log {path} has schema {version}, this Zeroflow knows {VERSION}: "
            "start the newer Zeroflow that wrote it, or another --home"
        )
    if version == 0:
        connection.executescript(f"BEGIN IMMEDIATE;{_TABLES}PRAGMA user_version = {VERSION};COMMIT;")
    return connection
