"""The model registry beside MLflow's tracking server, both with SQLite, both asked over raw HTTP on kept connections.

Milliseconds at the client, one request at a time, at 10,000 versions of one model; MLflow as `mlflow server` starts it
(four workers) and with one worker. Zeroflow is asked through the host's port, as its users do. Then: the first answer
of a sleeping registry - from zero, right after its process has ended, and from deep idle - and the memory (PSS) of all
of the platform's processes while it serves the registry and what else has run at the start has ended.
Run: `python -m benchmarks registry`; the first time it makes MLflow's environment.
"""

import http.client
import itertools
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlencode

from benchmarks.report import line
from benchmarks.servers import free_port, python_of

VERSIONS = int(os.environ.get("ZEROFLOW_BENCH_VERSIONS", "10000"))
CALLS, LISTS, STARTS = 150, 40, 5
START_S = 180.0  # MLflow takes 24 s here, and more while others work
ALONE_S = 35.0  # the window and the retention below, and 20 s that the parent of plain commands is kept
LOADED_S = 2.0  # after its process has ended, the next one loads its modules meanwhile
OURS, THEIRS = "/api/model_registry/v1", "/api/2.0/mlflow"


class Client:
    """One kept connection without Nagle's delay."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=60)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __call__(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        """Ask for JSON; anything but 200 or 201 ends the benchmark."""
        target = path + (f"?{urlencode(query)}" if query else "")
        headers = {"content-type": "application/json"}
        self._connection.request(method, target, None if body is None else json.dumps(body), headers)
        answer = self._connection.getresponse()
        data = answer.read()
        assert answer.status in (200, 201), (answer.status, data[:300])
        return json.loads(data)


def took_ms(call: Callable[[], object], times: int) -> list[float]:
    """Return how long each call took, without the first few."""
    taken = []
    for _ in range(times + 5):
        began = time.perf_counter()
        call()
        taken.append((time.perf_counter() - began) * 1000)
    return taken[5:]


def zeroflow(client: Client, database: Path) -> dict[str, list[float]]:
    """Fill the registry and ask it."""
    model = client("POST", f"{OURS}/registered_models", {"name": "bench"})
    team = {"team": {"metadataType": "MetadataStringValue", "string_value": "blue-0"}}
    body = {"registeredModelId": model["id"], "customProperties": team}
    version = client("POST", f"{OURS}/model_versions", {**body, "name": "0"})
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        ids = copies(
            connection, "registry_contexts", {"id": version["id"]}, lambda n: {"id": None, "name": str(n)}, team
        )
        copies(
            connection,
            "registry_context_properties",
            {"owner_id": version["id"]},
            lambda n: {"owner_id": ids[n - 1], "string_value": f"blue-{n % 100}", "string_start": f"blue-{n % 100}"},
        )
        connection.execute("ANALYZE")
    listed = f"{OURS}/registered_models/{model['id']}/versions"
    numbers = itertools.count()
    return {
        "get": took_ms(lambda: client("GET", f"{OURS}/registered_models/{model['id']}"), CALLS),
        "find by name": took_ms(
            lambda: client("GET", f"{OURS}/model_version", name="77", parentResourceId=model["id"]), CALLS
        ),
        "list of 100": took_ms(lambda: client("GET", listed, pageSize="100"), LISTS),
        "search by property": took_ms(
            lambda: client("GET", listed, pageSize="100", filterQuery="team = 'blue-7'"), LISTS
        ),
        "create": took_ms(
            lambda: client("POST", f"{OURS}/model_versions", {**body, "name": f"c{next(numbers)}"}), CALLS
        ),
    }


def mlflow(client: Client, database: Path) -> dict[str, list[float]]:
    """Fill MLflow's registry alike and ask it."""
    client("POST", f"{THEIRS}/registered-models/create", {"name": "bench"})
    body = {"name": "bench", "source": "s3://bucket/model", "tags": [{"key": "team", "value": "blue-0"}]}
    client("POST", f"{THEIRS}/model-versions/create", body)
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        copies(connection, "model_versions", {"version": 1}, lambda n: {"version": n + 1})
        copies(
            connection, "model_version_tags", {"version": 1}, lambda n: {"version": n + 1, "value": f"blue-{n % 100}"}
        )
        connection.execute("ANALYZE")
    search = f"{THEIRS}/model-versions/search"
    return {
        "get": took_ms(lambda: client("GET", f"{THEIRS}/registered-models/get", name="bench"), LISTS),
        "find by name": took_ms(
            lambda: client("GET", f"{THEIRS}/model-versions/get", name="bench", version="77"), CALLS
        ),
        "list of 100": took_ms(lambda: client("GET", search, filter="name='bench'", max_results="100"), LISTS),
        "search by property": took_ms(
            lambda: client("GET", search, filter="name='bench' and tags.team = 'blue-7'", max_results="100"), LISTS
        ),
        "create": took_ms(lambda: client("POST", f"{THEIRS}/model-versions/create", body), CALLS),
    }


def copies(
    connection: sqlite3.Connection,
    table: str,
    where: dict[str, Any],
    changed: Callable[[int], dict[str, Any]],
    team: dict[str, Any] | None = None,
) -> list[int]:
    """Add VERSIONS - 1 rows like one that is there; return their row ids."""
    (column, value), ids = next(iter(where.items())), []
    cursor = connection.execute(f"SELECT * FROM {table} WHERE {column} = ? LIMIT 1", (value,))
    names, row = [one[0] for one in cursor.description], cursor.fetchone()
    statement = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    for number in range(1, VERSIONS):
        fields = dict(zip(names, row, strict=True)) | changed(number)
        if team is not None:
            told = {"team": {**team["team"], "string_value": f"blue-{number % 100}"}}
            fields |= {"custom_properties": json.dumps(told), "updated_ms": fields["updated_ms"] - VERSIONS + number}
        ids.append(connection.execute(statement, [fields[name] for name in names]).lastrowid or 0)
    return ids


@contextmanager
def running(command: list[str], folder: Path, url: str | None) -> Iterator[str]:
    """Run a server until the block ends; yield its URL once it answers. `url` None: host.json in the folder says it."""
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
        try:
            yield listening(process, folder, url)
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def listening(process: "subprocess.Popen[bytes]", folder: Path, url: str | None) -> str:
    """Wait until the server takes connections; return its URL."""
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
        told = folder / "home" / "host.json"
        found = url or (json.loads(told.read_text())["url"] if told.exists() else None)
        if found:
            with suppress(OSError), closing(socket.create_connection(("127.0.0.1", int(found.rpartition(":")[2])), 1)):
                return found
    raise RuntimeError(f"{process.args} did not start: {(folder / 'log').read_text()[-2000:]}")


def tree(root: int) -> set[int]:
    """Return a process and its descendants."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def pss_mb(root: int) -> float:
    """Return the memory of a process and its descendants, shared pages by share, in MiB."""
    total = 0
    for pid in tree(root):
        try:
            rollup = (Path("/proc") / str(pid) / "smaps_rollup").read_text()
            total += int(rollup.split("Pss:")[1].split()[0])
        except (OSError, IndexError):
            continue
    return total / 1024


def memory_alone(client: Client, pid: int) -> float:
    """Ask the registry until the other functions, and their parents, have ended; return the memory then."""
    until = time.monotonic() + ALONE_S
    while time.monotonic() < until:
        client("GET", f"{OURS}/registered_models", pageSize="1")
        time.sleep(0.2)
    return pss_mb(pid)


def first_answers(folder: Path) -> dict[str, list[float]]:
    """Return what the first answer takes, in milliseconds, by what there is of the registry when it is asked for."""
    command = [sys.executable, "-m", "zeroflow", "up", "--home", str(folder / "home"), "--port", "0"]
    taken: dict[str, list[float]] = {"from zero": [], "right after the end": [], "from deep idle": []}

    def ask(url: str, name: str) -> None:
        client, began = Client(url), time.perf_counter()
        client("GET", f"{OURS}/registered_models", pageSize="1")
        taken[name].append((time.perf_counter() - began) * 1000)

    with running([*command, "--stable-window", "6"], folder, None) as url:  # the shortest that Knative allows
        for number in range(2 * STARTS):
            while any(pod["status"].get("phase") == "Running" for pod in Client(url)("GET", "/api/v1/pods")["items"]):
                time.sleep(0.05)
            if number % 2:
                ask(url, "right after the end")
            else:
                time.sleep(LOADED_S)
                ask(url, "from zero")
    with running([*command, "--stable-window", "1", "--runtime-retention", "1"], folder, None) as url:
        pid = int((folder / "home" / "host.lock").read_text().strip())
        for _ in range(STARTS):
            while len(tree(pid)) > 1:
                time.sleep(0.05)
            ask(url, "from deep idle")
    return taken


def tell(results: dict[str, dict[str, list[float]]]) -> None:
    """Print what was measured of some servers."""
    for name, operations in results.items():
        for operation, taken in operations.items():
            line(f"{operation}, {name}", taken, "ms")


def main() -> None:
    """Print milliseconds, ratios and memory."""
    results: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory(prefix="zeroflow-bench-") as scratch:
        folder = Path(scratch) / "zeroflow"
        folder.mkdir()
        command = [sys.executable, "-m", "zeroflow", "up", "--home", str(folder / "home"), "--port", "0"]
        command += ["--stable-window", "5", "--runtime-retention", "5"]
        with running(command, folder, None) as url:
            client = Client(url)
            results["zeroflow"] = zeroflow(client, folder / "home" / "db" / "metadata.sqlite")
            pid = int((folder / "home" / "host.lock").read_text().strip())
            memory_mb = memory_alone(client, pid)
        tell(results)
        program = str(Path(python_of("mlflow")).with_name("mlflow"))
        for name, options in (("mlflow", []), ("mlflow, 1 worker", ["--workers", "1"])):
            folder, port = Path(scratch) / uuid.uuid4().hex, free_port()
            folder.mkdir()
            store = f"sqlite:///{folder / 'mlflow.sqlite'}"
            command = [program, "server", "--backend-store-uri", store, "--port", str(port), *options]
            with running(command, folder, f"http://127.0.0.1:{port}") as url:
                results[name] = mlflow(Client(url), folder / "mlflow.sqlite")
            tell({name: results[name]})
        folder = Path(scratch) / "cold"
        folder.mkdir()
        first = first_answers(folder)
    for operation, ours in results["zeroflow"].items():
        for name in list(results)[1:]:
            print(f"{f'{operation}, {name}':<34}{median(results[name][operation]) / median(ours):9.1f} times ours")
    for name, times in first.items():
        line(f"first answer {name}", times, "ms")
    print(f"{'memory':<26}{memory_mb:9.1f} MiB PSS of all processes while serving the registry")


if __name__ == "__main__":
    main()
