"""gRPC calls of one worker - the predictor's, which speaks HTTP/2 itself - beside KServe's server, which uses grpcio.

`python -m benchmarks.grpc_calls`: one row of a logistic regression, 1 and 8 calls at a time, KServe's client. Printed:
calls per second, p99, CPU per call of the server. The client is Python and costs more than either server, so CPU per
call is the figure to compare.
"""

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.predictor import cases
from benchmarks.servers import PEERS, PINNED, cpu_s, free_port, python_of, server

LANES, SECONDS = (1, 8), 4


@contextlib.contextmanager
def started(command: list[str], env: dict[str, str]) -> Iterator[int]:
    """Run a server; yield its process id."""
    nothing = subprocess.DEVNULL
    process = subprocess.Popen(command, env={**os.environ, **PINNED, **env}, stdout=nothing, stderr=nothing)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


def measure(pid: int, port: int, lanes: int, seconds: float) -> tuple[float, float, float]:
    """Return calls per second, p99 in ms, CPU per call in us."""
    client = [python_of("kserve"), str(PEERS / "grpc_client.py"), f"127.0.0.1:{port}", "model", str(lanes)]
    before = cpu_s(pid)
    done = subprocess.run([*client, str(seconds)], capture_output=True, text=True, check=True)
    count, took, p99_ms = json.loads(done.stdout)
    return count / took, p99_ms, (cpu_s(pid) - before) / count * 1e6


def main() -> None:
    """Print figures."""
    print(f"{'server':<10}{'lanes':>6}{'calls/s':>10}{'p99 ms':>9}{'CPU us':>9}")
    with tempfile.TemporaryDirectory(prefix="zeroflow-bench-") as scratch:
        (case,) = cases(Path(scratch), ["lr"])
        for name in ("zeroflow", "kserve"):
            port, grpc_port = free_port(), free_port()
            found = server(name, case.file, port)
            assert found is not None
            command = found.command if name == "zeroflow" else [*found.command, str(grpc_port)]
            with started(command, found.env) as pid:
                asked = port if name == "zeroflow" else grpc_port
                measure(pid, asked, 1, 1)
                for lanes in LANES:
                    per_s, p99_ms, cpu_us = measure(pid, asked, lanes, SECONDS)
                    print(f"{name:<10}{lanes:>6}{per_s:>10.0f}{p99_ms:>9.2f}{cpu_us:>9.0f}", flush=True)


if __name__ == "__main__":
    main()
