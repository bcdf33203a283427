"""kill -9 at any moment: what was answered is there afterwards, whole."""

import asyncio
import contextlib
import json
import signal
import sqlite3
import stat
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from zeroflow.knative.local.api import persistence
from zeroflow.knative.local.api.store import Store

MAPS = "/api/v1/namespaces/default/configmaps"


def test_everything_that_was_answered_survives_a_kill(own_server: Any) -> None:
    answered: list[str] = []
    enough = threading.Event()

    def write(worker: int) -> None:
        for number in range(10_000):
            name = f"w{worker}-{number}"
            try:
                code, _ = own_server.call("POST", MAPS, {"metadata": {"name": name}, "data": {"n": name}})
            except OSError:
                return  # killed
            assert code == 201
            answered.append(name)
            if len(answered) >= 200:
                enough.set()

    workers = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for worker in workers:
        worker.start()
    assert enough.wait(30)
    own_server.end(signal.SIGKILL)
    for worker in workers:
        worker.join()
    own_server.start()
    found = {item["metadata"]["name"]: item["data"]["n"] for item in own_server.call("GET", MAPS)[1]["items"]}
    assert set(answered) <= set(found)
    assert all(name == value for name, value in found.items())
    versions = [int(item["metadata"]["resourceVersion"]) for item in own_server.call("GET", MAPS)[1]["items"]]
    assert len(set(versions)) == len(versions)
    later = own_server.call("POST", MAPS, {"metadata": {"name": "later"}})[1]
    assert int(later["metadata"]["resourceVersion"]) > max(versions)


def test_a_stop_ends_open_watches_and_is_clean(own_server: Any) -> None:
    with urllib.request.urlopen(f"{own_server.url}{MAPS}?watch=true", timeout=20) as watch:
        own_server.call("POST", MAPS, {"metadata": {"name": "seen"}})
        assert b"seen" in watch.readline()
        assert own_server.end() == 0


def changes_since(server: Any, path: str, version: str) -> list[tuple[str, str]]:
    """Return (type, name) of what a watch from a version is told at once, or the reason of its refusal."""
    url = f"{server.url}{path}?watch=true&timeoutSeconds=1&resourceVersion={version}"
    with urllib.request.urlopen(url, timeout=20) as watch:
        lines = [json.loads(line) for line in watch]
    return [(line["type"], line["object"].get("reason") or line["object"]["metadata"]["name"]) for line in lines]


def test_a_watch_goes_on_after_a_kill_with_what_happened_since(own_server: Any) -> None:
    for name in ("kept", "changed", "deleted", "again"):
        own_server.call("POST", MAPS, {"metadata": {"name": name}})
    version = own_server.call("GET", MAPS)[1]["metadata"]["resourceVersion"]
    own_server.call("PATCH", f"{MAPS}/changed", {"data": {"k": "v"}}, "application/merge-patch+json")
    own_server.call("DELETE", f"{MAPS}/deleted")
    own_server.call("DELETE", f"{MAPS}/again")
    own_server.call("POST", MAPS, {"metadata": {"name": "again"}})
    own_server.call("POST", MAPS, {"metadata": {"name": "made"}})
    own_server.call("PATCH", f"{MAPS}/made", {"data": {"k": "v"}}, "application/merge-patch+json")
    now = own_server.call("GET", MAPS)[1]["metadata"]["resourceVersion"]
    own_server.end(signal.SIGKILL)
    own_server.start()
    assert changes_since(own_server, MAPS, version) == [
        ("MODIFIED", "changed"),
        ("DELETED", "deleted"),
        ("DELETED", "again"),
        ("ADDED", "again"),
        ("ADDED", "made"),
    ]
    assert changes_since(own_server, MAPS, now) == []
    selective = f"{MAPS}?labelSelector=a%3Db&watch=true&resourceVersion={version}"
    assert own_server.call("GET", selective)[1]["object"]["reason"] == "Expired"
    assert changes_since(own_server, "/api/v1/namespaces/default/pods", version) == [("ERROR", "Expired")]


def test_a_file_of_the_first_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "resources.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript(
            "CREATE TABLE objects (kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL,"
            " PRIMARY KEY (kind, namespace, name)) WITHOUT ROWID;"
            "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
            "INSERT INTO counters VALUES ('resource_version', 1000); PRAGMA user_version = 1;"
        )
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "uid": "u", "resourceVersion": "7"}}
        row = ("ConfigMap", "default", "a", json.dumps(body).encode())
        database.execute("INSERT INTO objects VALUES (?, ?, ?, ?)", row)
        database.commit()

    async def check() -> None:
        store = Store(path)
        assert store.get("ConfigMap", "default", "a")["metadata"]["resourceVersion"] == "7"
        assert store.is_forgotten(999)
        await store.delete("ConfigMap", "default", "a")
        await store.close()

    asyncio.run(check())


def test_deletions_are_forgotten_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persistence, "DELETIONS_KEPT", 3)

    async def first() -> tuple[int, int]:
        store = Store(tmp_path / "resources.sqlite")
        before = store.version
        for number in range(5):
            meta = {"name": f"m{number}", "namespace": "default"}
            await store.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})
            await store.delete("ConfigMap", "default", f"m{number}")
            if number == 2:
                middle = store.version
        await store.close()
        return before, middle

    async def second(before: int, middle: int) -> None:
        store = Store(tmp_path / "resources.sqlite")
        assert store.is_forgotten(before)
        assert not store.is_forgotten(middle)
        subscription = store.subscribe(["ConfigMap"], since=middle)
        assert subscription.pending == 2
        await store.close()

    asyncio.run(second(*asyncio.run(first())))


def test_only_the_owner_can_read_the_secrets_on_disk(own_server: Any) -> None:
    own_server.call("POST", "/api/v1/namespaces/default/secrets", {"metadata": {"name": "s"}, "stringData": {"k": "v"}})
    files = [*(own_server.home / "db").iterdir(), own_server.kubeconfig]
    assert len(files) >= 2
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
