"""`zeroflow models serve DIR`: one command, no host, no YAML; what it has compiled it remembers in the home."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib

START_S = 60.0
ROW = json.dumps({"instances": [[5.1, 3.5, 1.4, 0.2]]}).encode()


@contextmanager
def serving(place: Path, home: Path) -> Iterator[str]:
    """Run the command until it answers; yield its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "zeroflow", "models", "serve", str(place), "--name", "iris", "--port", str(port)]
    process = subprocess.Popen(command, env={**os.environ, "ZEROFLOW_HOME": str(home)}, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and process.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/models/iris/ready", timeout=5).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def test_directory_is_served_and_its_compiling_remembered(tmp_path: Path, iris_model: Any) -> None:
    (tmp_path / "model").mkdir()
    joblib.dump(iris_model, tmp_path / "model" / "model.joblib")
    for _ in range(2):
        with serving(tmp_path / "model", tmp_path / "home") as url:
            with urllib.request.urlopen(f"{url}/v1/models/iris:predict", ROW) as answer:
                assert json.load(answer) == {"predictions": [0]}
            with urllib.request.urlopen(f"{url}/v2/models/iris") as answer:
                assert json.load(answer)["properties"]["serves"].startswith("compiled, exact")
        assert len(list((tmp_path / "home" / "cache" / "models" / "compiled").iterdir())) == 1
