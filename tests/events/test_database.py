"""What the metadata database refuses is said in one line, as the caller's fault or as one that will pass."""

import sys

import pytest
from sqlalchemy import text

from zeroflow.errors import InvalidInput, Unavailable
from zeroflow.metadata import Database, now_ms
from zeroflow.metadata.events import HandledEvent
from zeroflow.metadata.migrate import upgrade


def note(database, event_id):
    with database.transaction() as session:
        session.add(HandledEvent(consumer="test", source="/s", id=event_id, handled_ms=now_ms(), reply_seq=None))


def test_a_full_disk_is_unavailable_until_there_is_room(tmp_path):
    url = f"sqlite:///{tmp_path / 'metadata.sqlite'}"
    upgrade(url)
    database = Database(url)
    try:
        with database.reading() as session:
            session.execute(text("PRAGMA max_page_count = 1"))  # of this connection, which the pool keeps
        with pytest.raises(Unavailable, match="the disk of the metadata database is full"):
            note(database, "x" * 100_000)
        with database.reading() as session:
            session.execute(text("PRAGMA max_page_count = 100000"))
        note(database, "x" * 100_000)
    finally:
        database.close()


def test_half_of_a_surrogate_pair_is_the_callers_fault(database):
    with pytest.raises(InvalidInput, match=r"a value cannot be recorded: .*surrogates not allowed"):
        note(database, "\udc80")


@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_character_that_postgresql_has_not_is_the_callers_fault(database):
    with pytest.raises(InvalidInput, match="a value cannot be recorded: PostgreSQL text fields cannot contain NUL"):
        note(database, "a\x00b")


def test_a_postgresql_url_needs_no_driver():
    assert Database("postgresql://someone@/db").engine.driver == "psycopg"


def test_postgresql_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(InvalidInput, match=r"pip install 'zeroflow\[postgres\]'"):
        Database("postgresql://someone@/db")


def test_only_a_transaction_that_need_not_last_skips_the_wait_for_the_disk(database):
    def waits(**options: bool) -> bool:
        with database.transaction(**options) as session:
            if database.url.startswith("sqlite"):
                return session.connection().exec_driver_sql("PRAGMA synchronous").scalar() == 2
            return session.connection().exec_driver_sql("SHOW synchronous_commit").scalar() == "on"

    assert [waits(), waits(durable=False), waits(durable=False), waits()] == [True, False, False, True]
