"""Memory that another replica of a model takes on the embedded host, where it is forked from a parent that is warm.

`python -m benchmarks replicas`: MiB of its own (private in smaps) of the second replica of a model, after 500
predictions of one row; and the seconds from launch to its first answer. Needs no host: only its launcher runs.
"""

import asyncio
import os
import tempfile
import time
from pathlib import Path

from benchmarks.predictor import Case, cases
from benchmarks.servers import V1
from zeroflow.functions.inference.containers import WORKER_OPTIONS
from zeroflow.knative.local.processes.launcher import Launcher, listening_socket
from zeroflow.knative.local.processes.process import ProcessSpec

ASKED = 500
RUNTIME = "predictor"
WARM_S = 60.0


def private_mib(pid: int) -> float:
    """Return the memory that a process shares with none other."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in rollup if line.startswith("Private_")) / 1024


async def _ask(port: int, body: bytes, times: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {V1} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    for _ in range(times):
        writer.write(head + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in answer.splitlines()[0]:
            raise RuntimeError(answer.decode())
        await reader.readuntil(b"}")
    writer.close()


async def _replica(launcher: Launcher, case: Case, root: Path) -> tuple[int, float]:
    """Start one; return its pid and the seconds to its first answer."""
    env = {
        "PATH": os.environ["PATH"],
        "MODEL_NAME": "model",
        "STORAGE_URI": f"store://models/{case.file.parent.name}",
        "ZEROFLOW_STORE": str(root / "store"),
        "ZEROFLOW_MODEL_VOUCHED_BY": "run/bench/train",
        "ZEROFLOW_MODEL_CACHE": str(root / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    began = time.monotonic()
    listener = listening_socket()
    port = listener.getsockname()[1]
    argv = ("gunicorn", "zeroflow.functions.predictor.handler:create_app()", *WORKER_OPTIONS, "--timeout=0")
    spec = ProcessSpec("replica", argv, env, root / "logs" / "replica.log", runtime=RUNTIME, listener=listener)
    process = await launcher.start(spec)
    if not await process.serving():
        raise RuntimeError(spec.log.read_text())
    body = case.body(V1)[0]
    await _ask(port, body, 1)
    took = time.monotonic() - began
    await _ask(port, body, ASKED)
    return process.pid, took


async def measure(case: Case, root: Path) -> tuple[float, float]:
    """Return MiB of its own and seconds to the first answer of the second replica of a model."""
    launcher = Launcher()
    try:
        await _replica(launcher, case, root)
        async with asyncio.timeout(WARM_S):
            while not launcher.warm(RUNTIME):
                await asyncio.sleep(0.05)
        await _replica(launcher, case, root)
        pid, took = await _replica(launcher, case, root)
        return private_mib(pid), took
    finally:
        await launcher.close()


def main() -> None:
    """Print a line for each model."""
    print(f"{'model':<22}{'own MiB':>9}{'start s':>9}")
    with tempfile.TemporaryDirectory(prefix="zeroflow-bench-") as scratch:
        for case in cases(Path(scratch), ["lr", "rf", "mlp1"]):
            own, took = asyncio.run(measure(case, Path(scratch)))
            print(f"{case.label:<22}{own:>9.1f}{took:>9.3f}", flush=True)


if __name__ == "__main__":
    main()
