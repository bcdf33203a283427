"""What all topics share: the databases that every metadata test runs on, and the contracts beside the checkout."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from zeroflow.metadata import Database
from zeroflow.metadata.migrate import upgrade


def pytest_configure() -> None:
    """Keep tests, and what they start, away from the hub of models.

    And let Ctrl-C reach the processes of tests when the suite itself runs in a shell's background, which ignores it.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Start a PostgreSQL server for the session; yield the URL of its maintenance database, or skip aloud.

    ZEROFLOW_TEST_POSTGRES_URL names a running server instead.
    """
    given = os.environ.get("ZEROFLOW_TEST_POSTGRES_URL")
    if given:
        yield given
        return
    programs = _postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL's initdb and postgres are not installed (or set ZEROFLOW_TEST_POSTGRES_URL)")
    # PostgreSQL refuses to run as root; a socket's path must be short.
    as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.getuid() == 0 else []
    root = Path(tempfile.mkdtemp(prefix="zfpg-", dir="/tmp"))
    root.chmod(0o777)
    try:
        data, log = root / "data", root / "log"
        subprocess.run(
            [
                *as_user,
                str(programs / "initdb"),
                "-D",
                str(data),
                "-U",
                "zeroflow",
                "-A",
                "trust",
                "--no-sync",
                "-E",
                "UTF8",
            ],
            check=True,
            capture_output=True,
            cwd=root,
        )
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(root),
            "fsync": "off",
            "max_connections": "50",
        }
        with log.open("w") as errors:
            server = subprocess.Popen(
                [*as_user, str(programs / "postgres"), "-D", str(data), *(f"--{k}={v}" for k, v in settings.items())],
                stdout=subprocess.DEVNULL,
                stderr=errors,
                cwd=root,
            )
        try:
            deadline = time.monotonic() + 30
            while "ready to accept connections" not in log.read_text():
                if server.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"PostgreSQL did not start: {log.read_text()}")
                time.sleep(0.02)
            yield f"postgresql+psycopg://zeroflow@/postgres?host={root}"
        finally:
            server.terminate()
            server.wait(timeout=20)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _postgres_programs() -> Path | None:
    found = [shutil.which("initdb"), *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")))]
    for initdb in filter(None, found):
        folder = Path(initdb).parent
        if (folder / "postgres").exists():
            return folder
    return None


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a SQLite database with the current schema, for tests to copy: migrating costs each of them 0.1 s."""
    file = tmp_path_factory.mktemp("migrated") / "metadata.sqlite"
    upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def postgres(postgres_server: str) -> Callable[..., AbstractContextManager[str]]:
    """Return what makes a PostgreSQL database, as a copy of another if one is named, and gives its URL."""
    import psycopg

    admin = postgres_server.replace("postgresql+psycopg://", "postgresql://")

    @contextmanager
    def made(copy_of: str = "template1") -> Iterator[str]:
        name = f"test_{os.urandom(6).hex()}"
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {copy_of}")
        yield postgres_server.replace("/postgres?", f"/{name}?")
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    return made


@pytest.fixture(scope="session")
def migrated_postgres(postgres: Callable[..., AbstractContextManager[str]]) -> Iterator[str]:
    """Yield the name of a PostgreSQL database with the current schema, for tests to copy."""
    with postgres() as url:
        upgrade(url)
        yield make_url(url).database or ""


@pytest.fixture(scope="session")
def new_database(request: pytest.FixtureRequest) -> Callable[[str, Path], AbstractContextManager[str]]:
    """Return what opens a database of a backend with the current schema, below a folder if it is a file."""

    @contextmanager
    def opened(backend: str, folder: Path) -> Iterator[str]:
        if backend == "sqlite":
            copy = shutil.copy(request.getfixturevalue("migrated_sqlite"), folder / "metadata.sqlite")
            yield f"sqlite:///{copy}"
            return
        with request.getfixturevalue("postgres")(request.getfixturevalue("migrated_postgres")) as url:
            yield url

    return opened


BACKENDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]


@pytest.fixture(params=BACKENDS)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Yield the URL of a metadata database without tables, once per supported server."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'metadata.sqlite'}"
        return
    with request.getfixturevalue("postgres")() as url:
        yield url


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest, new_database, tmp_path: Path) -> Iterator[str]:
    """Yield the URL of an empty metadata database with the current schema, once per supported server."""
    with new_database(request.param, tmp_path) as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Yield an open metadata database, once per supported server."""
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def contracts() -> Path:
    """Return the folder with the official schemas and examples, or skip aloud."""
    folder = os.environ.get("ZEROFLOW_CONTRACTS")
    if not folder:
        pytest.skip("ZEROFLOW_CONTRACTS does not name the folder with the official schemas and examples")
    return Path(folder)
