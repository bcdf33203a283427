"""Databases of every released schema come forward with what is in them, to the tables that the code declares."""

from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from zeroflow.metadata import Database, migrate
from zeroflow.metadata.schema import Base

REVISIONS = sorted(
    path.name.partition("_")[0] for path in (migrate.MIGRATIONS / "versions").glob("[0-9]*.py") if path.is_file()
)
SOME_DATABASES = {
    index.name for table in Base.metadata.tables.values() for index in table.indexes if index._ddl_if is not None
}
KNOWN_KINDS = ("modify_type", "modify_nullable", "modify_default")


def bring_to(url: str, revision: str) -> None:
    """Make a database as a release with this schema did."""
    config = migrate._config()
    database = Database(url)
    try:
        with database.transaction() as session:
            config.attributes["connection"] = session.connection()
            command.upgrade(config, revision)
    finally:
        database.close()


def execute(url: str, statement: str, **values: Any) -> Any:
    database = Database(url)
    try:
        with database.transaction() as session:
            found = session.execute(text(statement), values)
            return found.all() if found.returns_rows else None
    finally:
        database.close()


def test_the_migrations_are_one_line() -> None:
    script = ScriptDirectory.from_config(migrate._config())
    assert [one.revision for one in reversed(list(script.walk_revisions()))] == REVISIONS


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_released_schema_comes_forward(empty_database_url: str, revision: str) -> None:
    bring_to(empty_database_url, revision)
    for number, (kind, parent, name) in enumerate([("registered_model", 0, "m"), ("model_version", 1, "1")], 1):
        execute(
            empty_database_url,
            "INSERT INTO registry_contexts (id, kind, name, fields, custom_properties, created_ms, updated_ms,"
            " parent_id, latest_number) VALUES (:id, :kind, :name, '{}', '{}', 5, 5, :parent, 0)",
            id=number,
            kind=kind,
            name=name,
            parent=parent,
        )
    execute(
        empty_database_url,
        "INSERT INTO registry_context_properties (owner_id, name, string_start, string_value)"
        " VALUES (2, 'approval.registered_by', 'user:ada', 'user:ada')",
    )
    assert migrate.upgrade(empty_database_url) == REVISIONS[-1]
    assert migrate.upgrade(empty_database_url) == REVISIONS[-1]
    assert execute(empty_database_url, "SELECT name FROM registry_contexts ORDER BY id") == [("m",), ("1",)]
    if revision < "0004":
        governed = execute(empty_database_url, "SELECT version_id FROM registry_governed_versions")
        assert governed == [(2,)], "a version that had an approval keeps it"


def elsewhere(difference: tuple[Any, ...]) -> bool:
    """Say whether an index is declared for some databases only."""
    return difference[0] == "add_index" and difference[1].name in SOME_DATABASES


def test_the_migrated_tables_are_the_declared_ones(database_url: str) -> None:
    database = Database(database_url)
    try:
        with database.reading() as session:
            context = MigrationContext.configure(session.connection())
            differences = [one for one in compare_metadata(context, Base.metadata) if isinstance(one, tuple)]
            assert [one for one in differences if one[0] not in KNOWN_KINDS and not elsewhere(one)] == []
            assert {"model_uses", "audit_base", "trials"} <= set(inspect(session.connection()).get_table_names())
    finally:
        database.close()


def test_a_migration_that_fails_leaves_the_schema_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'metadata.sqlite'}"
    bring_to(url, "0001")
    real = command.upgrade

    def broken(config: Any, revision: str) -> None:
        real(config, revision)
        raise RuntimeError("killed")

    monkeypatch.setattr(command, "upgrade", broken)
    with pytest.raises(RuntimeError, match="killed"):
        migrate.upgrade(url)
    monkeypatch.undo()
    assert execute(url, "SELECT version_num FROM alembic_version") == [("0001",)]
    assert migrate.upgrade(url) == REVISIONS[-1]
