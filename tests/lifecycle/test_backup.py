"""A home as one file and back: taken under load, killed in the middle, damaged, and put where something is."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest
import urllib3

from lifecycle.test_registry import zeroflow
from zeroflow.cli import homes
from zeroflow.errors import Conflict, InvalidInput, NotFound

API = "/api/model_registry/v1"


@pytest.fixture(scope="module")
def taken(start_host, tmp_path_factory):
    """Back a home up while four writers push models; return the backup and what was there before it began."""
    folder = tmp_path_factory.mktemp("backup")
    host = start_host(home=folder / "home")
    (folder / "m.onnx").write_bytes(b"\x08\x07")
    first = json.loads(zeroflow(host, "models", "push", str(folder / "m.onnx"), "kept", "-o", "json"))
    stop, done, faults = threading.Event(), [], []

    def write(number: int) -> None:
        pool = urllib3.PoolManager()
        turn = 0
        while not stop.is_set():
            turn += 1
            key = f"{number}-{turn}"
            put = pool.request("PUT", f"{host.url}/objects/models/load/{key}", body=os.urandom(20_000))
            body = json.dumps({"name": f"load-{key}"})
            headers = {"content-type": "application/json"}
            made = pool.request("POST", f"{host.url}{API}/registered_models", body=body, headers=headers)
            faults.extend(one.status for one in (put, made) if one.status >= 400)
            done.append(f"load-{key}")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while len(done) < 20:
        time.sleep(0.01)
    before = list(done)
    ran = subprocess.run(
        [sys.executable, "-m", "zeroflow", "backup", str(folder / "home.tar"), "--home", str(host.home)],
        capture_output=True,
        text=True,
        timeout=100,
    )
    stop.set()
    for thread in threads:
        thread.join()
    assert ran.returncode == 0, ran.stderr
    assert faults == []
    return folder / "home.tar", before, first


@pytest.fixture(scope="module")
def start_host(tmp_path_factory):
    from contextlib import ExitStack

    from lifecycle.conftest import running

    with ExitStack() as stack:
        yield lambda home: stack.enter_context(running(home))


def test_what_was_there_comes_back_whole(taken, start_host, tmp_path):
    backup, before, first = taken
    home = tmp_path / "restored"
    restored = subprocess.run(
        [sys.executable, "-m", "zeroflow", "restore", str(backup), "--home", str(home)],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert restored.returncode == 0, restored.stderr
    assert oct((home / "secrets" / "platform.token").stat().st_mode & 0o777) == "0o600"
    host = start_host(home=home)
    assert "unbroken" in zeroflow(host, "audit", "verify")
    models = json.loads(zeroflow(host, "models", "list", "-o", "json"))
    assert {*before, "kept"} <= {one["name"] for one in models}
    for name in before:
        assert (home / "store" / "models" / "load" / name.removeprefix("load-")).stat().st_size == 20_000
    zeroflow(host, "models", "pull", "kept", "1", str(tmp_path / "pulled"))
    assert (tmp_path / "pulled").read_bytes() == b"\x08\x07"
    assert first["version"]["id"] in zeroflow(host, "models", "show", "kept", "1")


def test_a_home_that_holds_something_is_left_alone(taken, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "mine").write_text("x")
    with pytest.raises(Conflict, match="not empty"):
        homes.restore(taken[0], home)
    assert [path.name for path in home.iterdir()] == ["mine"]


def cut(backup: Path) -> None:
    with backup.open("r+b") as file:
        file.truncate(backup.stat().st_size // 2)


def flip(backup: Path) -> None:
    """Change one byte of a database."""
    with tarfile.open(backup) as archive:
        member = next(one for one in archive if one.name == "db/metadata.sqlite")
    with backup.open("r+b") as file:
        file.seek(member.offset_data + member.size - 1)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def climb(backup: Path) -> None:
    with tarfile.open(backup, "w") as archive:
        archive.addfile(tarfile.TarInfo("../outside"))


@pytest.mark.parametrize("damage", [cut, flip, climb, lambda b: b.write_bytes(b"x"), Path.unlink])
def test_a_damaged_backup_restores_nothing(taken, tmp_path, damage):
    backup = tmp_path / "copy.tar"
    shutil.copyfile(taken[0], backup)
    damage(backup)
    with pytest.raises((InvalidInput, Conflict, NotFound)):
        homes.restore(backup, tmp_path / "home")
    assert [path.name for path in tmp_path.iterdir()] == ([] if damage is Path.unlink else ["copy.tar"])


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_killed_in_the_middle_it_leaves_nothing_that_looks_whole(taken, tmp_path, command):
    """The kill comes while the largest file is copied."""
    home = tmp_path / "home"
    homes.restore(taken[0], home)
    with (home / "store" / "models" / "large").open("wb") as file:
        file.truncate(3_000_000_000)
    backup, target = tmp_path / "large.tar", tmp_path / "again"
    if command == "restore":
        with (home / "store" / "models" / "large").open("wb") as file:
            file.truncate(300_000_000)
        homes.back_up(home, backup)
    arguments = ["backup", str(backup), "--home", str(home)] if command == "backup" else None
    arguments = arguments or ["restore", str(backup), "--home", str(target)]
    process = subprocess.Popen([sys.executable, "-m", "zeroflow", *arguments])
    part = tmp_path / (".large.tar.part" if command == "backup" else ".again.restoring/store/models/large")
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 10_000_000):
        assert process.poll() is None, "it was done before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (backup if command == "backup" else target).exists()
    (home / "store" / "models" / "large").unlink()
    if command == "backup":
        homes.back_up(home, backup)
    homes.restore(backup, target)
    assert (target / "db" / "metadata.sqlite").exists()
    assert not list(tmp_path.glob(".*.restoring"))


def test_all_databases_are_of_one_moment(tmp_path):
    """Two databases are always changed together, one after the other: no snapshot shows the second ahead."""
    import sqlite3

    paths = [tmp_path / "db" / f"{name}.sqlite" for name in "ab"]
    paths[0].parent.mkdir()
    connections = [sqlite3.connect(path, isolation_level=None, check_same_thread=False) for path in paths]
    for connection in connections:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (n INTEGER)")
        connection.execute("INSERT INTO t VALUES (0)")
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            for connection in connections:
                connection.execute("UPDATE t SET n = ?", (number,))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        seen = []
        for turn in range(20):
            homes.back_up(tmp_path, tmp_path / f"{turn}.tar")
            homes.restore(tmp_path / f"{turn}.tar", tmp_path / "out")
            seen.append(
                [
                    sqlite3.connect(tmp_path / "out" / "db" / path.name).execute("SELECT n FROM t").fetchone()[0]
                    for path in paths
                ]
            )
            shutil.rmtree(tmp_path / "out")
            (tmp_path / f"{turn}.tar").unlink()
    finally:
        stop.set()
        thread.join()
        for connection in connections:
            connection.close()
    assert all(first - second in (0, 1) for first, second in seen), seen


def test_what_is_no_home_is_named(tmp_path):
    with pytest.raises(NotFound, match="is no home"):
        homes.back_up(tmp_path, tmp_path / "x.tar")


@pytest.mark.postgres
def test_metadata_that_lie_elsewhere_are_named_without_their_password(tmp_path, new_database):
    from lifecycle.conftest import running

    with new_database("postgresql", tmp_path) as url:
        assert "@" in url
        with running(tmp_path / "home", "--database", url.replace("@", ":hush@", 1)) as host:
            ran = subprocess.run(
                [sys.executable, "-m", "zeroflow", "backup", str(tmp_path / "home.tar"), "--home", str(host.home)],
                capture_output=True,
                text=True,
                timeout=100,
            )
    assert ran.returncode == 1
    assert "this home's metadata lie in postgresql" in ran.stderr
    assert "hush" not in ran.stderr
    assert not (tmp_path / "home.tar").exists()
