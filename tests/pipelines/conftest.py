"""Fixtures: the pipeline function on each supported database."""

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from pipelines.harness import Broker, Platform

_counter = itertools.count()


def _as_user() -> list[str]:
    """PostgreSQL's programs refuse root: run them as `nobody` then."""
    if os.geteuid() != 0:
        return []
    nobody = pwd.getpwnam("nobody")
    return ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A PostgreSQL server of this test session, reached by a Unix socket; yields the socket's directory."""
    programs = {name: shutil.which(name) for name in ("initdb", "pg_ctl", "postgres")}
    if not all(programs.values()):
        pytest.skip(f"PostgreSQL is not tested: no {', '.join(n for n, p in programs.items() if not p)} on PATH")
    root = Path(tempfile.mkdtemp(prefix="zf-pg-", dir="/tmp"))
    try:
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(root, nobody.pw_uid, nobody.pw_gid)
        data, prefix = root / "data", _as_user()
        made = subprocess.run(
            [*prefix, str(programs["initdb"]), "-D", str(data), "-U", "zeroflow", "-A", "trust", "-N"],
            capture_output=True, text=True, cwd=root,
        )  # fmt: skip
        if made.returncode != 0:
            pytest.skip(f"PostgreSQL is not tested: initdb failed: {made.stderr.strip()[-300:]}")
        options = f"-k {root} -c listen_addresses='' -c fsync=off"
        control = [*prefix, str(programs["pg_ctl"]), "-D", str(data), "-l", str(root / "log"), "-w"]
        started = subprocess.run([*control, "-o", options, "start"], stdout=subprocess.DEVNULL, cwd=root)
        if started.returncode != 0:
            pytest.skip(f"PostgreSQL is not tested: {(root / 'log').read_text()[-300:]}")
        try:
            yield str(root)
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], stdout=subprocess.DEVNULL, cwd=root)
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/metadata.sqlite"
    host, name = request.getfixturevalue("postgres_server"), f"test{next(_counter)}"
    admin = create_engine(f"postgresql+psycopg://zeroflow@/postgres?host={host}", isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return f"postgresql+psycopg://zeroflow@/{name}?host={host}"


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A broker that keeps what it is given."""
    made = Broker()
    yield made
    made.close()


@pytest.fixture
def platform(database_url: str, tmp_path: Path, broker: Broker) -> Iterator[Platform]:
    """The pipeline function on each database."""
    made = Platform(database_url, tmp_path, broker)
    yield made
    made.close()


@pytest.fixture
def local(tmp_path: Path, broker: Broker) -> Iterator[Platform]:
    """The pipeline function on SQLite alone, for what does not depend on the database."""
    made = Platform(f"sqlite:///{tmp_path}/metadata.sqlite", tmp_path, broker)
    yield made
    made.close()
