"""The pipeline function as it is deployed, with a broker and steps that really run."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import urllib3

from pipelines.components import execute
from pipelines.harness import Broker, finished, post
from zeroflow.metadata import Base, Database


class Loop:
    """Delivers the broker's events: requests to the step, everything else to the function."""

    def __init__(self, broker: Broker, url: str, store: Path) -> None:
        self.broker, self.url, self.store, self.stopped = broker, url, store, False
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            with self.broker.arrived:
                self.broker.arrived.wait_for(lambda: self.broker.events or self.stopped)
                if self.stopped:
                    return
                event = self.broker.events.popleft()
            if event["type"] == "dev.zeroflow.task.requested":
                event = finished(event, **execute(event, self.store))
            if event["type"] in ("dev.zeroflow.task.finished", "dev.zeroflow.task.delayed"):
                answer = post(f"{self.url}/", event)
                if answer.status == 200:
                    self.broker.accept(dict(answer.headers), answer.data)

    def stop(self) -> None:
        with self.broker.arrived:
            self.stopped = True
            self.broker.arrived.notify_all()
        self.thread.join(10)


@contextmanager
def served(root: Path, **variables: str) -> Iterator[str]:
    """Serve the function in a gunicorn process, as it is deployed; yield its URL."""
    database = Database(f"sqlite:///{root}/metadata.sqlite")
    Base.metadata.create_all(database.engine)
    database.close()
    broker = Broker()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "ZEROFLOW_DATABASE_URL": database.url,
        "ZEROFLOW_STORE": str(root / "store"),
        "K_SINK": broker.url,
        "K_SERVICE": "pipeline",
        **variables,
    }
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--worker-class", "gthread"]
    command += ["--threads", "4", "--log-level", "warning", "zeroflow.functions.pipeline.handler:create_app()"]
    process = subprocess.Popen(command, env=environment, cwd=root)
    base = f"http://127.0.0.1:{port}"
    loop = Loop(broker, base, root / "store")
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                if urllib3.request("GET", f"{base}/health/readiness", retries=False).status == 200:
                    break
            except urllib3.exceptions.HTTPError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise RuntimeError("gunicorn does not answer") from None
                time.sleep(0.05)
        yield base
    finally:
        loop.stop()
        process.terminate()
        process.wait(20)
        broker.close()
