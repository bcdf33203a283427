"""From zero: a sleeping function's first answer, with and without its preloaded parent, beside a new gunicorn."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import urllib3

ROUNDS = 8
http = urllib3.PoolManager(retries=False, timeout=60.0)


def asleep(url: str) -> bool:
    """Say whether no pod runs."""
    items = http.request("GET", f"{url}/api/v1/pods").json()["items"]
    return not any(pod["status"].get("phase") == "Running" for pod in items)


def from_zero(url: str) -> float:
    """Wait until nothing runs, then time one request in milliseconds."""
    while not asleep(url):
        time.sleep(0.05)
    began = time.monotonic()
    answer = http.request("GET", f"{url}/apis/v2beta1/healthz")
    assert answer.status == 200, answer.data
    return (time.monotonic() - began) * 1000


def fresh_gunicorn() -> float:
    """Time the same function in a new gunicorn process, until its first answer, in milliseconds."""
    with tempfile.TemporaryDirectory() as scratch:
        url = f"sqlite:///{scratch}/metadata.sqlite"
        subprocess.run([sys.executable, "-m", "zeroflow.metadata.migrate", url], check=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [str(Path(sys.executable).parent / "gunicorn"), "zeroflow.functions.pipeline.handler:create_app()"]
        environment = {**os.environ, "ZEROFLOW_DATABASE_URL": url, "ZEROFLOW_STORE": scratch, "PORT": str(port)}
        began = time.monotonic()
        process = subprocess.Popen(
            [*command, "--worker-class=gthread", f"--bind=127.0.0.1:{port}"], env=environment, stderr=subprocess.DEVNULL
        )
        try:
            while True:
                try:
                    if http.request("GET", f"http://127.0.0.1:{port}/apis/v2beta1/healthz").status == 200:
                        return (time.monotonic() - began) * 1000
                except urllib3.exceptions.HTTPError:
                    time.sleep(0.005)
        finally:
            process.terminate()
            process.wait()


def main() -> None:
    """Print milliseconds and ratios."""
    from benchmarks.host import running_host
    from benchmarks.report import line, ratio

    with running_host("--stable-window", "1") as url:
        deep = from_zero(url)
        warm = [from_zero(url) for _ in range(ROUNDS)]
    fresh = [fresh_gunicorn() for _ in range(3)]
    line("zeroflow, parent kept", warm, "ms")
    line("zeroflow, deep idle", [deep], "ms")
    line("fresh gunicorn process", fresh, "ms")
    ratio(fresh, warm)


if __name__ == "__main__":
    main()
