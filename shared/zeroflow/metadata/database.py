"""Transactions on the metadata database: SQLite in WAL mode by default, PostgreSQL by URL.

A write transaction on SQLite takes the write lock at its start (BEGIN IMMEDIATE), so that two writers wait for each
other instead of failing half way; `synchronous=FULL` makes a commit survive power loss, and with it all earlier ones,
also those that did not wait for the disk (as PostgreSQL's `synchronous_commit` does). On PostgreSQL, rows that are
read to be changed are locked with `with_for_update()`, which SQLite ignores because the whole database is locked.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, DataError, OperationalError
from sqlalchemy.orm import Session

from zeroflow.errors import InvalidInput, Unavailable

BUSY_TIMEOUT_S = 30.0
"""How long a writer waits for another one before it gives up."""


_DISK_FULL = ("database or disk is full", "No space left on device")
"""What SQLite and PostgreSQL say."""


class Database:
    """One metadata database. Safe to share between threads; opens nothing until it is used."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _engine(url)
        self._writer = self.engine.execution_options(zeroflow_write=True)
        self._quick_writer = self.engine.execution_options(zeroflow_write=True, zeroflow_quick=True)

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[Session]:
        """Open a read-write transaction; it commits at the end of the block and rolls back on any exception.

        One that is not `durable` survives a kill; a loss of power may take it until the next one that is. It is for
        what somebody else will ask for again unless it has become part of a durable commit.

        Raises Unavailable when the database's disk is full, and InvalidInput for a value that it cannot hold: half of
        a surrogate pair; on PostgreSQL the character U+0000.
        """
        try:
            writer = self._writer if durable else self._quick_writer
            with _told("recorded"), Session(writer, expire_on_commit=False) as session, session.begin():
                yield session
        except OperationalError as error:
            if any(words in str(error.orig) for words in _DISK_FULL):
                raise Unavailable("nothing can be recorded: the disk of the metadata database is full") from error
            raise

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a transaction that only reads: one consistent picture, no lock taken. Raises InvalidInput likewise."""
        with _told("looked for"), Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def looking(self) -> Iterator[Connection]:
        """Open such a transaction for rows as SQL gives them: half the price of a session, and no objects."""
        with _told("looked for"), self.engine.connect() as connection:
            yield connection

    def close(self) -> None:
        """Close all pooled connections."""
        self.engine.dispose()


@contextmanager
def _told(done: str) -> Iterator[None]:
    """Raise InvalidInput for a value that no column can hold."""
    try:
        yield
    except (DataError, UnicodeEncodeError) as error:
        why = " ".join(str(error.orig if isinstance(error, DataError) else error).split())
        raise InvalidInput(f"a value cannot be {done}: {why}") from error


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InvalidInput(f"{url!r} is no database URL") from error
    match parsed.get_backend_name():
        case "sqlite":
            options = {"timeout": BUSY_TIMEOUT_S, "check_same_thread": False}
            engine = create_engine(parsed, connect_args=options, pool_use_lifo=True)  # the one whose caches are warm
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        case "postgresql":
            return _postgres_engine(parsed)
        case other:
            raise InvalidInput(f"a metadata database is sqlite or postgresql, not {other}")


def _postgres_engine(url: URL) -> Engine:
    if url.drivername == "postgresql":  # SQLAlchemy's own choice would be psycopg2
        url = url.set(drivername="postgresql+psycopg")
    try:
        engine = create_engine(url, pool_pre_ping=True, pool_use_lifo=True)
    except ModuleNotFoundError as error:
        raise InvalidInput(
            f"PostgreSQL needs the package {error.name}, which is not installed here: pip install 'zeroflow[postgres]'"
        ) from error
    event.listen(engine, "begin", _begin_postgres)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's begin event below says BEGIN, not the sqlite3 module
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if not options.get("zeroflow_write", False):
        connection.exec_driver_sql("BEGIN")
        return
    wanted = "NORMAL" if options.get("zeroflow_quick", False) else "FULL"
    if connection.info.get("synchronous", "FULL") != wanted:  # nothing that a transaction could undo
        connection.exec_driver_sql(f"PRAGMA synchronous={wanted}")
        connection.info["synchronous"] = wanted
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_postgres(connection: Connection) -> None:
    if connection.get_execution_options().get("zeroflow_quick", False):
        connection.exec_driver_sql("SET LOCAL synchronous_commit TO OFF")
