"""Bring a metadata database to this version's schema, and refuse one that is newer.

`python -m zeroflow.metadata.migrate URL` does it in a process of its own, so that the embedded host need not load
SQLAlchemy and Alembic. Forward only: going back is a restore from backup.
"""

import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from zeroflow.errors import Conflict, Unavailable, ZeroflowError
from zeroflow.metadata.database import Database

MIGRATIONS = Path(__file__).parent / "migrations"


class NewerSchema(Conflict):
    """The database was written by a later release."""


def upgrade(url: str) -> str:
    """Create or upgrade the schema; return the version that the database now has.

    Runs in one transaction: a migration that fails or is killed leaves the schema as it was.
    """
    config = _config()
    head = str(ScriptDirectory.from_config(config).get_current_head())
    database = Database(url)
    try:
        with database.transaction() as session:
            connection = session.connection()
            found = MigrationContext.configure(connection).get_current_revision()
            if found == head:
                return head
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise NewerSchema(
                    f"the database {_shown(url)} has schema {found}, this zeroflow knows up to {head}: it was written "
                    "by a newer release; upgrade zeroflow or choose another home"
                ) from error
        return head
    except DBAPIError as error:
        raise Unavailable(f"cannot open the database {_shown(url)}: {error.orig}") from error
    finally:
        database.close()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def _shown(url: str) -> str:
    return make_url(url).render_as_string(hide_password=True)


def main() -> int:
    """Upgrade the database named by the one argument."""
    try:
        upgrade(sys.argv[1])
    except ZeroflowError as error:
        print(" ".join(str(error).split()), file=sys.stderr)  # noqa: T201 - the answer of a command
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
