"""A resource API in a process of its own, kubectl and the official client pointed at it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

SERVE = Path(__file__).with_name("serve.py")
KUBECTL = shutil.which("kubectl")
START_S = 30.0


@dataclass
class Server:
    """The server under test; `start` after `kill` opens the same home again."""

    home: Path
    url: str = ""
    process: "subprocess.Popen[str] | None" = field(default=None)

    def start(self) -> "Server":
        log = (self.home / "server.log").open("a")
        with log:
            self.process = subprocess.Popen(
                [sys.executable, str(SERVE), str(self.home)], stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url, (self.home / "server.log").read_text()
        return self

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        assert self.process.stdout is not None
        self.process.send_signal(number)
        code = self.process.wait(START_S)
        self.process.stdout.close()
        return code

    @property
    def kubeconfig(self) -> Path:
        return self.home / "kubeconfig"

    def call(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", accept: str = "*/*"
    ) -> tuple[int, Any]:
        """Send one request; return the status code and the decoded answer."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Content-Type": content_type, "Accept": accept, "User-Agent": "tester/1"}
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=START_S) as answer:
                return answer.status, _decoded(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _decoded(error.read())

    def control(self, verb: str, obj: dict[str, Any]) -> dict[str, Any]:
        """Act as a controller inside the host: create, or status."""
        code, answer = self.call("POST", f"/control/{verb}", obj)
        assert code == 200, answer
        return dict(answer)


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("home")).start()
    yield running
    assert running.end() == 0, (running.home / "server.log").read_text()
    log = (running.home / "server.log").read_text()
    assert "Traceback" not in log, log


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server that a test may kill."""
    running = Server(tmp_path).start()
    yield running
    if running.process is not None and running.process.poll() is None:
        running.end()


@dataclass
class Kubectl:
    """The real kubectl with the written kubeconfig."""

    kubeconfig: Path
    home: Path

    def __call__(self, *arguments: str, stdin: str | None = None, code: int = 0) -> str:
        done = subprocess.run(
            [str(KUBECTL), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            env=self.environment(),
        )
        assert done.returncode == code, f"kubectl {arguments} -> {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def environment(self) -> dict[str, str]:
        return os.environ | {"KUBECONFIG": str(self.kubeconfig), "HOME": str(self.home)}


@pytest.fixture(scope="module")
def kubectl(server: Server) -> Kubectl:
    if KUBECTL is None:
        pytest.skip("kubectl is not installed: nothing here was checked with it")
    return Kubectl(server.kubeconfig, server.home)


@pytest.fixture
def eventually() -> Callable[[Callable[[], Any]], Any]:
    """Wait until a condition holds, with a deadline, and return what it returned."""

    def wait(condition: Callable[[], Any], within_s: float = 15.0) -> Any:
        deadline = time.monotonic() + within_s
        pause = threading.Event()
        while not (result := condition()):
            assert time.monotonic() < deadline, "the condition did not come true in time"
            pause.wait(0.02)
        return result

    return wait
