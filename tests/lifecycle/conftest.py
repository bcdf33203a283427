"""A whole host per test or module: `zeroflow up` as a user starts it, and ways to watch it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import urllib3

DEADLINE_S = 60.0
http = urllib3.PoolManager(retries=False, timeout=60.0)


def eventually(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """Return the first true value of the condition; fail the test when there is none in time."""
    end = time.monotonic() + deadline_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            pytest.fail(f"waited {deadline_s:.0f} s for {what}")
        time.sleep(0.02)


@dataclass
class Host:
    """One `zeroflow up`, which may be killed and started again on the same home."""

    home: Path
    options: tuple[str, ...] = ()
    port: int = 0
    process: subprocess.Popen[str] | None = None
    urls: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where the host answers."""
        return self.urls[-1]

    def start(self) -> None:
        """Start, and wait until it answers."""
        command = [sys.executable, "-m", "zeroflow", "up", "--home", str(self.home), "--port", str(self.port)]
        self.process = subprocess.Popen(
            [*command, *self.options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("zeroflow is up"):
            pytest.fail(f"the host did not start: {line}{self.process.communicate(timeout=30)[1]}")
        self.urls.append(json.loads((self.home / "host.json").read_text())["url"])
        self.port = int(self.url.rsplit(":", 1)[1])

    def kill(self) -> None:
        """Kill the host as a power cut would: nothing of it, nor of its children, runs afterwards."""
        assert self.process is not None
        children = descendants(self.process.pid)
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.communicate()
        eventually(lambda: not any(alive(pid) for pid in children), "the host's children to end with it")

    def stop(self) -> int:
        """Ask the host to stop; return its exit code."""
        assert self.process is not None
        self.process.terminate()
        self.process.communicate(timeout=60)
        return self.process.returncode

    def request(self, method: str, path: str, **options: Any) -> urllib3.BaseHTTPResponse:
        """Send one request to the bare host."""
        return http.request(method, self.url + path, **options)

    def get(self, path: str) -> Any:
        """GET JSON; anything but 200 fails the test."""
        answer = self.request("GET", path)
        assert answer.status == 200, f"GET {path}: {answer.status} {answer.data[:500]!r}"
        return answer.json()

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Run kubectl with the kubeconfig that the host wrote; skip aloud where there is none."""
        if shutil.which("kubectl") is None:
            pytest.skip("kubectl is not installed")
        done = subprocess.run(
            ["kubectl", "--kubeconfig", str(self.home / "kubeconfig"), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=90,
        )
        if check:
            assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def running_pods(self) -> list[str]:
        """Return the names of pods that run."""
        items = self.get("/api/v1/pods")["items"]
        return [item["metadata"]["name"] for item in items if item["status"].get("phase") == "Running"]

    def processes(self) -> list[int]:
        """Return every process below the host's own."""
        assert self.process is not None
        return descendants(self.process.pid)

    def tasks(self, run_id: str) -> list[dict[str, Any]]:
        """Return the tasks of a run."""
        found: list[dict[str, Any]] = self.get(f"/apis/v2beta1/runs/{run_id}/tasks")["tasks"]
        return [task for task in found if task["name"]]  # the row without a name is the run's own DAG


def descendants(pid: int) -> list[int]:
    """Return all processes below `pid`."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, queue = [], [pid]
    while queue:
        children = parents.get(queue.pop(), [])
        found.extend(children)
        queue.extend(children)
    return found


def alive(pid: int) -> bool:
    """Say whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


@contextlib.contextmanager
def running(home: Path, *options: str) -> Iterator[Host]:
    """Run a host, and leave nothing of it behind."""
    host = Host(home, options)
    host.start()
    try:
        yield host
    finally:
        if host.process is not None and host.process.poll() is None:
            host.stop()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host shared by the tests of one module."""
    with running(tmp_path_factory.mktemp("home")) as started:
        yield started


@pytest.fixture
def start_host(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """Start hosts of this test's own."""
    with contextlib.ExitStack() as stack:

        def start(*options: str, home: Path | None = None) -> Host:
            return stack.enter_context(running(home or tmp_path / "home", *options))

        yield start


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., Any]:
    """Return `eventually`."""
    return eventually


@pytest.fixture
def is_alive() -> Callable[[int], bool]:
    """Return `alive`."""
    return alive
