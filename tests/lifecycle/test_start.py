"""What can go wrong at the start is one clear line; a stop is clean."""

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import kubernetes
import pytest

from lifecycle.conftest import running
from zeroflow.knative.local.home import Home
from zeroflow.knative.local.program import lacking


def up(home: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zeroflow", "up", "--home", str(home), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1
    assert done.stdout == ""
    [line] = done.stderr.strip().splitlines()
    return line


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The home of a host that ran once, to be copied."""
    with running(tmp_path_factory.mktemp("home")) as host:
        host.stop()
    return host.home


@pytest.fixture
def used_home(stopped, tmp_path):
    """A home of the test's own that a host used before."""
    return Path(shutil.copytree(stopped, tmp_path / "home"))


@pytest.fixture(scope="module")
def listening(tmp_path_factory):
    """A host that listens beyond loopback."""
    with running(tmp_path_factory.mktemp("home"), "--listen", "0.0.0.0") as host:
        yield host


def test_a_busy_port(tmp_path):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        line = one_line(up(tmp_path, "--port", str(busy.getsockname()[1])))
    assert "Address already in use" in line
    assert "--port" in line


def test_a_home_that_cannot_be_written(tmp_path):
    if os.getuid() == 0:
        home = Path("/proc/zeroflow")  # not even root may write here
    else:
        home = tmp_path / "home"
        home.mkdir(mode=0o500)
    line = one_line(up(home, "--port", "0"))
    assert f"cannot write to the home {home}" in line


def test_a_home_whose_path_is_too_long_for_its_databases(tmp_path):
    line = one_line(up(tmp_path.joinpath(*["long" * 25] * 5), "--port", "0"))
    assert "the home's path has more than" in line
    assert "--home" in line


def test_a_damaged_database(used_home):
    for path in sorted((used_home / "db").glob("*.sqlite")):
        whole = path.read_bytes()
        for damaged in (b"no database" * 100, whole[: len(whole) // 2]):
            path.write_bytes(damaged)
            line = one_line(up(used_home, "--port", "0"))
            assert f"the database {path} is damaged" in line
            assert "backup" in line
        path.write_bytes(whole)


def test_an_empty_token_is_made_anew(used_home):
    token = used_home / "secrets" / "platform.token"
    token.write_text("")
    assert Home(used_home).platform_token() == token.read_text() != ""


def test_an_address_of_another_machine(tmp_path):
    line = one_line(up(tmp_path, "--port", "0", "--listen", "192.0.2.1"))
    assert "--listen" in line
    assert "--port" not in line


@pytest.mark.parametrize(
    ("database", "words"),
    [
        ("postgresql://u:secret@127.0.0.1:1/db", "cannot open the database postgresql://u:***@127.0.0.1:1/db"),
        ("mysql://u@h/db", "sqlite or postgresql, not mysql"),
        ("nonsense", "is no database URL"),
    ],
    ids=["nobody-answers", "another-kind", "no-url"],
)
def test_a_database_that_cannot_be_used(tmp_path, database, words):
    line = one_line(up(tmp_path, "--port", "0", "--database", database))
    assert words in line
    assert "secret" not in line


def test_missing_packages_of_functions_are_named(monkeypatch):
    monkeypatch.setattr("zeroflow.knative.local.program.find_spec", lambda name: None if name == "kfp" else object())
    assert lacking() == ["step"]


def test_a_home_that_another_host_uses(host):
    assert "already runs" in one_line(up(host.home, "--port", "0"))


@pytest.mark.parametrize(
    ("database", "statement"),
    [
        ("metadata.sqlite", "UPDATE alembic_version SET version_num = '9999'"),
        ("resources.sqlite", "PRAGMA user_version = 9999"),
        ("broker.sqlite", "PRAGMA user_version = 9999"),
    ],
)
def test_a_home_written_by_a_newer_schema(used_home, database, statement):
    with sqlite3.connect(used_home / "db" / database) as connection:
        connection.execute(statement)
    connection.close()
    assert "newer" in one_line(up(used_home, "--port", "0"))


def test_a_stop_is_clean_and_leaves_no_process(start_host, is_alive):
    host = start_host()
    assert host.request("GET", "/apis/v2beta1/healthz").status == 200
    children = host.processes()
    assert children
    assert host.stop() == 0
    assert not any(is_alive(pid) for pid in children)
    assert not (host.home / "host.json").exists()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "127.0.0.1"}, 200),
        ({"Origin": "http://localhost:1"}, 403),
    ],
    ids=str,
)
def test_pages_of_others_cannot_use_the_platform(host, headers, status):
    assert host.request("GET", "/healthz", headers=headers).status == status


def test_beyond_loopback_the_token_is_needed(listening):
    assert listening.request("GET", "/healthz").status == 401
    token = (listening.home / "secrets" / "platform.token").read_text()
    assert listening.request("GET", "/healthz", headers={"Authorization": f"Bearer {token}"}).status == 200
    assert (listening.home / "secrets" / "platform.token").stat().st_mode & 0o077 == 0


def test_beyond_loopback_the_homes_owner_works_on_and_nobody_else_comes_in(listening, tmp_path):
    for headers in ({}, {"authorization": "Bearer x"}, {"authorization": b"Bearer \xff"}):
        assert listening.request("GET", "/api/v1/secrets", headers=headers).status == 401
    (tmp_path / "100%41 rows.csv").write_text("a,b\n")
    environment = {**os.environ, "ZEROFLOW_HOME": str(listening.home)}
    commands = [
        ["store", "put", str(tmp_path / "100%41 rows.csv"), "store://data/100%41 rows.csv"],
        ["store", "list", "store://data/"],
        ["events"],
        ["models", "list"],
    ]
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "zeroflow", *command], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert (listening.home / "store/data/100%41 rows.csv").read_text() == "a,b\n"
    api = kubernetes.client.CoreV1Api(kubernetes.config.new_client_from_config(str(listening.home / "kubeconfig")))
    assert "zeroflow" in {found.metadata.name for found in api.list_namespace().items}
