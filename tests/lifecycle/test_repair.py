"""Damaged databases: what is said about them, and what is saved of them."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from zeroflow.knative.local.repair import damage, repair

PAGE = 4096


def filled(path: Path, rows: int = 400) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA page_size = {PAGE}")
        connection.execute("CREATE TABLE plain (id INTEGER PRIMARY KEY AUTOINCREMENT, note TEXT UNIQUE)")
        connection.execute("CREATE TABLE keyed (a TEXT, b TEXT, body TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID")
        connection.execute("CREATE INDEX by_body ON keyed (body)")
        connection.executemany("INSERT INTO plain (note) VALUES (?)", [(f"note {n} " * 10,) for n in range(rows)])
        connection.executemany("INSERT INTO keyed VALUES (?, ?, ?)", [("k", f"{n:05}", "x" * 99) for n in range(rows)])
        connection.execute("PRAGMA user_version = 7")
        connection.commit()


def pages_of(path: Path, name: str) -> list[int]:
    with closing(sqlite3.connect(path)) as connection:
        try:
            query = "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY pageno"
            return [row[0] for row in connection.execute(query, (name,))]
        except sqlite3.OperationalError:
            pytest.skip("this SQLite has no dbstat")


def overwrite(path: Path, page: int, data: bytes | None = None) -> None:
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(data if data is not None else os.urandom(PAGE))


@pytest.mark.parametrize("table", ["plain", "keyed"])
@pytest.mark.parametrize("which", [0, 3, -1], ids=["first", "middle", "last"])
def test_a_damaged_page_costs_its_own_rows(tmp_path, table, which):
    path = tmp_path / "some.sqlite"
    filled(path)
    assert damage(path) is None
    overwrite(path, pages_of(path, table)[which])
    assert damage(path) is not None
    found = {each.table: each for each in repair(path)}
    other = "keyed" if table == "plain" else "plain"
    assert (found[other].kept, found[other].whole) == (400, True)
    assert 330 <= found[table].kept < 400
    assert not found[table].whole
    assert damage(path) is None
    assert len(list(tmp_path.glob("some.sqlite.damaged-*"))) == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (7,)
        assert connection.execute("INSERT INTO plain (note) VALUES ('new')").lastrowid == 401
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'by_body'").fetchone() == (1,)


def test_garbage_that_sqlite_cannot_see_is_found_where_there_must_be_json(tmp_path):
    path = tmp_path / "resources.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE objects (kind TEXT, body BLOB)")
        rows = [("good", b'{"a": 1}'), ("bad", b"\xff\xfe garbage"), ("null", None)]
        connection.executemany("INSERT INTO objects VALUES (?, ?)", rows)
        connection.commit()
    assert damage(path) == "a row of objects holds no JSON in body"
    (found,) = repair(path)
    assert (found.kept, found.lost) == (1, 2)
    assert damage(path) is None


def command(*words):
    done = subprocess.run([sys.executable, "-m", "zeroflow", *words], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


def test_a_host_with_a_damaged_last_page_says_so_and_goes_on_after_a_repair(start_host):
    host = start_host()
    maps = "/api/v1/namespaces/default/configmaps"
    for number in range(40):
        body = json.dumps({"metadata": {"name": f"m{number}"}, "data": {"k": "v" * 3000}})
        assert host.request("POST", maps, body=body, headers={"Content-Type": "application/json"}).status == 201
    host.stop()
    path = host.home / "db" / "resources.sqlite"
    overwrite(path, path.stat().st_size // PAGE)
    code, _, said = command("up", "--home", str(host.home), "--port", "0")
    assert code == 1
    assert said.count("\n") == 1
    assert f"the database {path} is damaged" in said
    assert f"zeroflow repair --home {host.home}" in said
    code, table, said = command("repair", "--home", str(host.home))
    assert code == 0, said
    assert "broker.sqlite: whole" in said
    assert "resources  objects" in table
    host.start()
    assert len(host.request("GET", maps).json()["items"]) >= 36
    code, _, said = command("repair", "--home", str(host.home))
    assert code == 1
    assert "already runs" in said


def test_a_home_that_is_none_is_refused(tmp_path):
    code, _, said = command("repair", "--home", str(tmp_path / "nothing"))
    assert code == 1
    assert "is no home of a host" in said
