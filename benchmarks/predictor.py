"""The predictor beside KServe's Python server: the same model, the same client, one worker each, in one run.

Models: logistic regression on iris, a random forest of 100 trees on iris. The client is `wrk` where it is installed,
else threads with kept connections. Printed: requests per second, p99, CPU per request of the server, and ratios.
"""

import contextlib
import http.client
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SECONDS = 3
CONNECTIONS = (1, 8, 32)
BODY = b'{"instances": [[5.1, 3.5, 1.4, 0.2]]}'
KSERVE = ("kserve==0.21.0",)
PINNED = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Figures:
    """One measurement."""

    per_s: float
    p99_ms: float
    cpu_us: float


def models(folder: Path) -> dict[str, Path]:
    """Write the models."""
    import joblib
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    rows, classes = load_iris(return_X_y=True)
    made = {
        "logistic regression": LogisticRegression(max_iter=500).fit(rows, classes),
        "random forest": RandomForestClassifier(n_estimators=100, random_state=0).fit(rows, classes),
    }
    paths = {}
    for name, model in made.items():
        path = folder / "store" / "models" / name.replace(" ", "-") / "model.joblib"
        path.parent.mkdir(parents=True)
        joblib.dump(model, path)
        paths[name] = path
    return paths


def kserve_python() -> str:
    """Return the Python of an environment with KServe, made once and kept."""
    import sklearn

    folder = Path(os.environ.get("ZEROFLOW_BENCH_KSERVE", Path.home() / ".cache" / "zeroflow-bench" / "kserve"))
    python = folder / "bin" / "python"
    if not python.exists():
        uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
        if uv is None:
            raise RuntimeError("uv makes the environment of the peer: pip install uv")
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
        wanted = (*KSERVE, f"scikit-learn=={sklearn.__version__}")
        subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), *wanted], check=True)
    return str(python)


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def served(command: list[str], port: int, env: dict[str, str], path: str) -> Iterator[int]:
    """Run a server until it answers; yield its process id."""
    process = subprocess.Popen(
        command, env={**os.environ, **PINNED, **env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if ask(http.client.HTTPConnection("127.0.0.1", port, timeout=10), path) == 200:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} does not answer")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


def ask(connection: http.client.HTTPConnection, path: str) -> int:
    """Send one prediction; return the status."""
    connection.request("POST", path, BODY, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def cpu_s(pid: int) -> float:
    """Return the processor time of a process and its children so far."""
    total = 0.0
    children = {int(line) for line in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    for each in {pid, *children}:
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def measure(pid: int, port: int, path: str, connections: int) -> Figures:
    """Load a server for a few seconds."""
    for _ in range(50):
        ask(http.client.HTTPConnection("127.0.0.1", port), path)
    before = cpu_s(pid)
    count, p99_ms, seconds = (_wrk if shutil.which("wrk") else _threads)(port, path, connections)
    return Figures(count / seconds, p99_ms, (cpu_s(pid) - before) / count * 1e6)


def _wrk(port: int, path: str, connections: int) -> tuple[int, float, float]:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(f"wrk.method='POST'\nwrk.body='{BODY.decode()}'\nwrk.headers['Content-Type']='application/json'\n")
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--latency", "-s", script.name]
        out = subprocess.run(
            [*command, f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=True
        ).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        raise RuntimeError(out)
    count, seconds = re.search(r"(\d+) requests in ([\d.]+)s", out).groups()
    value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", out).groups()
    return int(count), float(value) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit], float(seconds)


def _threads(port: int, path: str, connections: int) -> tuple[int, float, float]:
    taken: list[float] = []
    until = time.monotonic() + SECONDS

    def lane() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while (begun := time.monotonic()) < until:
            if ask(connection, path) != 200:
                raise RuntimeError("not every request was answered")
            taken.append(time.monotonic() - begun)

    lanes = [threading.Thread(target=lane) for _ in range(connections)]
    for each in lanes:
        each.start()
    for each in lanes:
        each.join()
    return len(taken), sorted(taken)[int(len(taken) * 0.99)] * 1000, SECONDS


def main() -> None:
    """Print figures and ratios."""
    from zeroflow.functions.inference.containers import WORKER_OPTIONS

    path = "/v1/models/model:predict"
    bin_ = Path(sys.executable).parent
    print(f"{'model':<22}{'server':<10}{'conns':>6}{'req/s':>10}{'p99 ms':>9}{'CPU us':>9}")
    with tempfile.TemporaryDirectory(prefix="zeroflow-bench-") as scratch:
        for name, file in models(Path(scratch)).items():
            port = free_port()
            gunicorn = [str(bin_ / "gunicorn"), "zeroflow.functions.predictor.handler:create_app()"]
            options = ["--workers=1", *WORKER_OPTIONS, "--timeout=0", f"--bind=127.0.0.1:{port}", "--keep-alive=60"]
            ours_env = {
                "MODEL_NAME": "model",
                "STORAGE_URI": f"store://models/{file.parent.name}",
                "ZEROFLOW_STORE": str(Path(scratch) / "store"),
                "ZEROFLOW_MODEL_VOUCHED_BY": "run/bench/train",
            }
            with served([*gunicorn, *options], port, ours_env, path) as pid:
                ours = [measure(pid, port, path, count) for count in CONNECTIONS]
            port = free_port()
            peer = [kserve_python(), str(Path(__file__).with_name("kserve_server.py")), str(file), str(port)]
            with served(peer, port, {}, path) as pid:
                theirs = [measure(pid, port, path, count) for count in CONNECTIONS]
            for count, mine, other in zip(CONNECTIONS, ours, theirs, strict=True):
                for server, found in (("zeroflow", mine), ("kserve", other)):
                    print(
                        f"{name:<22}{server:<10}{count:>6}{found.per_s:>10.0f}{found.p99_ms:>9.2f}{found.cpu_us:>9.0f}"
                    )
                ratios = f"{mine.per_s / other.per_s:.1f} x requests, CPU 1/{other.cpu_us / mine.cpu_us:.1f}"
                print(f"{'':<22}{'ratio':<10}{count:>6}  {ratios}")


if __name__ == "__main__":
    main()
