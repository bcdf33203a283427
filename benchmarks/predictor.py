"""The predictor beside other model servers: the same model, the same client, one worker each, in one run.

`python -m benchmarks predictor [--peers kserve,flask] [--models lr,mlp] [--connections 1,8,32] [--seconds 3]`

Models: logistic regression on iris, a random forest of 100 trees on iris, a 784-256-10 network as TorchScript; one row
of each, and 32 rows of the network as JSON and as raw tensors. Printed: requests per second, p99, CPU per request of
all processes of the server, and ratios to ours. The client is `wrk`. With `--starts 3`, instead: seconds from launch to
the first answer of a new process, and its memory then; `zeroflow-new` is a start of ours that remembers no other one.
"""

import argparse
import contextlib
import http.client
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from benchmarks.servers import NAMES, V2, ask, cpu_s, free_port, pss_mib, running, server

WARM = 200
IRIS_ROW = [5.1, 3.5, 1.4, 0.2]


@dataclass(frozen=True)
class Case:
    """A model file and what is asked of it."""

    label: str
    file: Path
    rows: list[list[float]]
    binary: bool = False
    headers: dict[str, str] = field(default_factory=dict)

    def body(self, path: str) -> tuple[bytes, dict[str, str]]:
        """Return body and headers for a server's path: V2's, or rows under `instances`, which all others take."""
        if path != V2 and not self.binary:
            return json.dumps({"instances": self.rows}).encode(), {}
        shape = [len(self.rows), len(self.rows[0])]
        if not self.binary:
            tensor = {"name": "x", "shape": shape, "datatype": "FP64", "data": list(chain(*self.rows))}
            return json.dumps({"inputs": [tensor]}).encode(), {}
        import numpy as np

        raw = np.array(self.rows, dtype=np.float32).tobytes()
        tensor = {"name": "x", "shape": shape, "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
        head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
        return head + raw, {"Inference-Header-Content-Length": str(len(head))}


@dataclass(frozen=True)
class Figures:
    """One measurement."""

    per_s: float
    p99_ms: float
    cpu_us: float


def cases(folder: Path, wanted: list[str]) -> Iterator[Case]:
    """Write the models and yield what is asked of them."""
    if "lr" in wanted:
        yield Case("logistic regression", _sklearn(folder, "lr"), [IRIS_ROW])
    if "rf" in wanted:
        yield Case("random forest", _sklearn(folder, "rf"), [IRIS_ROW])
    if {"mlp", "mlp1", "mlp32"} & set(wanted):
        import numpy as np

        file = _network(folder)
        rows = np.random.default_rng(1).random((32, 784)).round(6).tolist()
        if "mlp32" not in wanted:
            yield Case("network, 1 row", file, rows[:1])
        if "mlp1" not in wanted:
            yield Case("network, 32 rows", file, rows)
            yield Case("network, 32 raw", file, rows, binary=True)


def _sklearn(folder: Path, name: str) -> Path:
    import joblib
    from sklearn.datasets import load_iris
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    rows, classes = load_iris(return_X_y=True)
    made = {"lr": LogisticRegression(max_iter=500), "rf": RandomForestClassifier(n_estimators=100, random_state=0)}
    path = folder / "store" / "models" / name / "model.joblib"
    path.parent.mkdir(parents=True)
    joblib.dump(made[name].fit(rows, classes), path)
    return path


def _network(folder: Path) -> Path:
    import torch

    torch.manual_seed(0)
    layers = torch.nn.Linear(784, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10)
    path = folder / "store" / "models" / "mlp" / "model.pt"
    path.parent.mkdir(parents=True)
    torch.jit.trace(torch.nn.Sequential(*layers).eval(), torch.zeros(1, 784)).save(str(path))
    return path


def measure(
    pid: int, port: int, path: str, sent: tuple[bytes, dict[str, str]], connections: int, seconds: int, warm: int = WARM
) -> Figures:
    """Load a server for a few seconds, after so many requests one after another."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for _ in range(warm):
        ask(connection, path, *sent)
    connection.close()
    body, headers = sent
    with tempfile.TemporaryDirectory() as scratch:
        data, script = Path(scratch) / "body", Path(scratch) / "ask.lua"
        data.write_bytes(body)
        lines = ["wrk.method='POST'", f"local f=io.open('{data}','rb')", "wrk.body=f:read('*a')", "f:close()"]
        lines += [f"wrk.headers['{k}']='{v}'" for k, v in {"Content-Type": "application/json", **headers}.items()]
        script.write_text("\n".join(lines))
        before = cpu_s(pid)
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script)]
        done = subprocess.run([*command, f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=True)
    used = cpu_s(pid) - before
    if "Non-2xx" in done.stdout:
        raise RuntimeError(done.stdout)
    count, took = re.search(r"(\d+) requests in ([\d.]+)s", done.stdout).groups()
    value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", done.stdout).groups()
    p99_ms = float(value) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]
    return Figures(int(count) / float(took), p99_ms, used / int(count) * 1e6)


def figures(name: str, case: Case, connections: list[int], seconds: int) -> list[Figures] | None:
    """Start a server, measure it, end it; None when it cannot serve the case."""
    with answering(name, case) as (pid, port, path, sent, _):
        return [measure(pid, port, path, sent, count, seconds) for count in connections] if pid else None


def starts(name: str, case: Case, times: int) -> tuple[list[float], float] | None:
    """Return how long a server's starts took, and the memory (PSS, MiB) of its processes after the last one."""
    took, memory = [], 0.0
    for at in range(times + 1):
        with answering(name, case) as (pid, _, _, _, start_s):
            if not pid:
                return None
            if at:  # the first one reads from disk
                took.append(start_s)
            memory = pss_mib(pid)
    return took, memory


@contextlib.contextmanager
def answering(name: str, case: Case) -> Iterator[tuple[int, int, str, tuple[bytes, dict[str, str]], float]]:
    """Run a server until its first answer; yield pid (0 when it cannot serve the case), port, path, what is asked and
    the seconds that it took."""
    port = free_port()
    found = server(name, case.file, port)
    if found is None or (case.binary and name not in ("zeroflow", "kserve")):
        yield 0, 0, "", (b"", {}), 0.0
        return
    path = V2 if case.binary else found.path
    sent = case.body(path)
    with running(replace(found, path=path), port, *sent) as (pid, start_s):
        yield pid, port, path, sent, start_s


def main(arguments: list[str] | None = None) -> None:
    """Print figures and ratios."""
    parser = argparse.ArgumentParser(prog="benchmarks predictor")
    parser.add_argument("--peers", default="kserve", help=",".join(NAMES[1:]))
    parser.add_argument("--models", default="lr,rf", help="lr,rf,mlp; of the last one mlp1 or mlp32 alone")
    parser.add_argument("--connections", default="1,8,32")
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--starts", type=int, default=0)
    asked = parser.parse_args(arguments or [])
    names = ["zeroflow", *(each for each in asked.peers.split(",") if each)]
    with tempfile.TemporaryDirectory(prefix="zeroflow-bench-") as scratch:
        for case in cases(Path(scratch), asked.models.split(",")):
            if asked.starts:
                _print_starts(case, ["zeroflow-new", *names], asked.starts)
            else:
                _print_figures(case, names, [int(each) for each in asked.connections.split(",")], asked.seconds)


def _print_starts(case: Case, names: list[str], times: int) -> None:
    print(f"{'model':<22}{'server':<14}{'start s':>8}{'least':>8}{'PSS MiB':>9}")
    for name in names:
        try:
            found = starts(name, case, times)
        except RuntimeError as error:
            print(f"{case.label:<22}{name:<14} failed: {str(error).splitlines()[0]}")
            continue
        if found is not None:
            took, memory = found
            line = f"{case.label:<22}{name:<14}{statistics.median(took):>8.2f}{min(took):>8.2f}{memory:>9.0f}"
            print(line, flush=True)


def _print_figures(case: Case, names: list[str], connections: list[int], seconds: int) -> None:
    print(f"{'model':<22}{'server':<10}{'conns':>6}{'req/s':>10}{'p99 ms':>9}{'CPU us':>9}  ratio to ours")
    ours: list[Figures] = []
    for name in names:
        try:
            measured = figures(name, case, connections, seconds)
        except RuntimeError as error:
            print(f"{case.label:<22}{name:<10} failed: {str(error).splitlines()[0]}")
            continue
        if measured is None:
            continue
        ours = ours or measured
        for count, mine, best in zip(connections, measured, ours, strict=True):
            line = f"{case.label:<22}{name:<10}{count:>6}{mine.per_s:>10.0f}{mine.p99_ms:>9.2f}{mine.cpu_us:>9.0f}"
            if name != "zeroflow":
                line += f"  {best.per_s / mine.per_s:.1f}x requests, 1/{mine.cpu_us / best.cpu_us:.1f} CPU"
                line += f", p99 1/{mine.p99_ms / best.p99_ms:.1f}"
            print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
