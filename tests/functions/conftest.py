"""Function projects as their authors write them, served by this platform's adapter and by the official middleware."""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import urllib3

from environments import python_of

OFFICIAL = "func-python==0.8.1"
HERE = Path(__file__).parent
START_TIMEOUT_S = 20
INVOKED_BY_EVENT = {"greeter"}


@dataclass
class Served:
    """A running function."""

    process: "subprocess.Popen[bytes]"
    log: Path
    stopped: Path
    url: str = ""

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> urllib3.BaseHTTPResponse:
        return urllib3.request(method, self.url + path, body=body, headers=headers, retries=False, timeout=10)

    def open(self, path: str) -> urllib3.BaseHTTPResponse:
        """Request without reading the body of the answer."""
        return urllib3.request("GET", self.url + path, retries=False, timeout=10, preload_content=False)

    def terminate(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=20)


Serve = Callable[..., Served]


@pytest.fixture(scope="session")
def official_python() -> str:
    """Return the Python of an environment with func-python, made once and kept; skip aloud without it."""
    return python_of(OFFICIAL)


@pytest.fixture(scope="module")
def launch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Return a function that starts a command in a sample's folder; it waits for nothing."""
    running: list[Served] = []

    def start(sample: str, *command: str) -> Served:
        folder = tmp_path_factory.mktemp(sample)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "LISTEN_ADDRESS": "127.0.0.1:0",
            "GREETING": "hello",
            "STOPPED": str(folder / "stopped"),
        }
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=HERE / "samples" / sample, env=environment, stdout=subprocess.DEVNULL, stderr=log
            )
        served = Served(process, folder / "log", folder / "stopped")
        running.append(served)
        return served

    yield start
    for served in running:
        if served.process.poll() is None:
            served.terminate()


def _wait(served: Served) -> Served:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        assert served.process.poll() is None, served.log.read_text()
        if found := re.search(r"(?:Listening at:|Running on) (http://127\.0\.0\.1:\d+)", served.log.read_text()):
            served.url = found[1]
            with contextlib.suppress(urllib3.exceptions.HTTPError):
                served.request("GET", "/health/readiness")
                return served
        time.sleep(0.02)
    raise AssertionError(f"no answer in {START_TIMEOUT_S} s: {served.log.read_text()}")


@pytest.fixture(scope="module")
def gunicorn(launch: Serve) -> Serve:
    """Return a function that starts a sample under this platform's adapter without waiting for it."""

    def start(sample: str, app: str = "create_app()") -> Served:
        command = (sys.executable, "-m", "gunicorn", "--bind=127.0.0.1:0", "--worker-class=gthread", "--threads=4")
        return launch(sample, *command, f"zeroflow.instance.app:{app}")

    return start


@pytest.fixture(scope="module")
def ours(gunicorn: Serve) -> Serve:
    """Return a function from a sample's name to it under this platform's adapter, started once."""
    started: dict[str, Served] = {}

    def serve(sample: str) -> Served:
        return started.get(sample) or started.setdefault(sample, _wait(gunicorn(sample)))

    return serve


@pytest.fixture(scope="module")
def official(launch: Serve, official_python: str) -> Serve:
    """Return a function from a sample's name to it under func-python, started once."""
    started: dict[str, Served] = {}

    def serve(sample: str) -> Served:
        invoke = "cloudevent" if sample in INVOKED_BY_EVENT else "http"
        command = (official_python, str(HERE / "official.py"), invoke)
        return started.get(sample) or started.setdefault(sample, _wait(launch(sample, *command)))

    return serve
