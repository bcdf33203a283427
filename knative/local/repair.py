"""What can still be read of a damaged database: copied into a new one, the damaged file kept aside.

A table is copied as a whole where that works, otherwise row by row from both ends of its key, so that a damaged page
costs its own rows. What SQLite itself cannot see - a row whose content is garbage - is dropped where a column must
hold JSON. Source: SQLite "How To Corrupt An SQLite Database File", "The Recover API" (which Python does not have).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

from zeroflow.errors import Unavailable

JSON_COLUMNS: Final[Mapping[tuple[str, str], str]] = {
    ("resources", "objects"): "body",
    ("broker", "event"): "attributes",
}


@dataclass(frozen=True)
class Salvage:
    """What became of one table: rows that are in the new file, and rows that are known to be lost."""

    database: str
    table: str
    kept: int
    lost: int
    whole: bool
    """Whether every row was reached: if not, `lost` counts only those that were seen."""


def damage(path: Path) -> str | None:
    """Return what is wrong with a database, in one line; None when nothing is."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            first = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
            if first != "ok":
                return " ".join(first.split())
            for (database, table), column in JSON_COLUMNS.items():
                if path.stem == database and (found := _garbage(connection, table, column)):
                    return found
    except sqlite3.DatabaseError as error:
        return str(error)
    return None


def repair(path: Path) -> list[Salvage]:
    """Replace a damaged database by what can be read of it; raise Unavailable when that is nothing.

    The damaged file stays beside it, as `<name>.sqlite.damaged-<time>`.
    """
    fresh = path.with_name(f"{path.name}.repaired")
    fresh.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(path)) as old:
            tables = _tables(old)
            version = old.execute("PRAGMA user_version").fetchone()[0]
            indexes = old.execute("SELECT sql FROM sqlite_master WHERE type != 'table' AND sql NOT NULL").fetchall()
    except sqlite3.DatabaseError as error:
        raise Unavailable(
            f"nothing can be read of {path}: {error}; restore it from a backup, or take it away to start without what "
            "it held"
        ) from error
    with closing(sqlite3.connect(fresh, isolation_level=None)) as new:
        new.execute("PRAGMA foreign_keys = OFF")
        new.execute("ATTACH ? AS old", (str(path),))
        for sql in tables.values():
            new.execute(sql)
        found = [_copy(new, path.stem, table) for table in tables]
        with suppress(sqlite3.DatabaseError):  # no table has AUTOINCREMENT, or the numbers are lost
            new.execute("DELETE FROM main.sqlite_sequence")
            new.execute("INSERT INTO main.sqlite_sequence SELECT * FROM old.sqlite_sequence")
        for (sql,) in indexes:
            new.execute(sql)
        new.execute(f"PRAGMA user_version = {version}")
        new.execute("DETACH old")
    aside = path.with_name(f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    path.rename(aside)
    for ending in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(f"{path.name}{ending}").rename(aside.with_name(f"{aside.name}{ending}"))
    fresh.chmod(0o600)
    fresh.rename(path)
    return found


def _tables(connection: sqlite3.Connection) -> dict[str, str]:
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
    return {name: sql for name, sql in rows if not name.startswith("sqlite_")}


def _copy(new: sqlite3.Connection, database: str, table: str) -> Salvage:
    column = JSON_COLUMNS.get((database, table))
    try:
        new.execute("BEGIN")
        new.execute(f'INSERT INTO main."{table}" SELECT * FROM old."{table}"')  # noqa: S608 - a name from the file
        new.execute("COMMIT")
        lost, whole = 0, True
    except sqlite3.DatabaseError:
        new.execute("ROLLBACK")
        lost, whole = _copy_rows(new, table), False
    if column is not None:
        lost += _drop_garbage(new, table, column)
    kept = int(new.execute(f'SELECT count(*) FROM main."{table}"').fetchone()[0])  # noqa: S608
    return Salvage(database, table, kept, lost, whole)


def _copy_rows(new: sqlite3.Connection, table: str) -> int:
    """Copy the rows that can be reached; return how many of those could not be read."""
    key = _key(new, table)
    where = " AND ".join(f"{name} IS ?" for name in key)
    insert = f'INSERT OR IGNORE INTO main."{table}" SELECT * FROM old."{table}" WHERE {where}'  # noqa: S608
    lost = 0
    seen: set[Any] = set()
    for order in ("ASC", "DESC"):
        for values in _keys(new, table, key, order):
            if values in seen:
                break  # met what the other end has reached
            seen.add(values)
            try:
                new.execute(insert, values)
            except sqlite3.DatabaseError:
                lost += 1
    return lost


def _keys(new: sqlite3.Connection, table: str, key: tuple[str, ...], order: str) -> Iterator[tuple[Any, ...]]:
    """Yield the keys of a table from one end, up to what cannot be read."""
    columns, by = ", ".join(key), ", ".join(f"{name} {order}" for name in key)
    with suppress(sqlite3.DatabaseError):
        yield from new.execute(f'SELECT {columns} FROM old."{table}" NOT INDEXED ORDER BY {by}')  # noqa: S608


def _key(new: sqlite3.Connection, table: str) -> tuple[str, ...]:
    sql = str(new.execute("SELECT sql FROM main.sqlite_master WHERE name = ?", (table,)).fetchone()[0])
    if not sql.rstrip().upper().endswith("WITHOUT ROWID"):
        return ("rowid",)
    columns = new.execute(f'PRAGMA main.table_info("{table}")').fetchall()
    return tuple(f'"{name}"' for _, name, _, _, _, place in sorted(columns, key=lambda row: row[5]) if place)


def _garbage(connection: sqlite3.Connection, table: str, column: str) -> str | None:
    if table not in _tables(connection):
        return None
    for (value,) in connection.execute(f'SELECT CAST("{column}" AS BLOB) FROM "{table}"'):  # noqa: S608
        try:
            orjson.loads(value)
        except (orjson.JSONDecodeError, TypeError):
            return f"a row of {table} holds no JSON in {column}"
    return None


def _drop_garbage(new: sqlite3.Connection, table: str, column: str) -> int:
    def is_json(value: bytes) -> bool:
        try:
            orjson.loads(value)
        except (orjson.JSONDecodeError, TypeError):
            return False
        return True

    new.create_function("is_json", 1, is_json, deterministic=True)
    sql = f'DELETE FROM main."{table}" WHERE NOT is_json(CAST("{column}" AS BLOB))'  # noqa: S608
    return new.execute(sql).rowcount
