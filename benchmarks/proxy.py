"""The gateway: requests per second and latency through the host, beside the very same gunicorn worker asked directly.

Needs `wrk` (apt-get install wrk). Both ask one process: a hello function that the host runs, once through its Service
and once at the port of its pod. The two take turns, so that a busy machine disturbs both alike. What a request costs
either process in CPU time is printed too: that hardly depends on what else the machine does.
"""

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import urllib3

ROUNDS = 3
SECONDS = 4
FUNCTION = """
import os

TOLD = f"{os.environ['PORT']} {os.getpid()}".encode()


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(TOLD)))])
    return [TOLD]
"""


def main() -> None:
    """Print both rates, their ratio, and what the gateway adds to a request's median."""
    from benchmarks.host import host_process
    from benchmarks.report import line

    if shutil.which("wrk") is None:
        print("wrk is not installed: apt-get install wrk", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as folder, host_process() as (url, host):
        (Path(folder) / "hello_bench.py").write_text(FUNCTION)
        through = deploy(url, folder)
        port, worker = ask(through).split()
        direct = f"http://127.0.0.1:{port}/"
        rates: dict[str, list[float]] = {"direct": [], "through": []}
        costs: dict[str, list[float]] = {"worker": [], "host": []}
        for _ in range(ROUNDS):
            rates["direct"].append(wrk(direct, connections=16)[0])
            began = cpu_s(int(worker)), cpu_s(host)
            rates["through"].append(wrk(through, connections=16)[0])
            requests = rates["through"][-1] * SECONDS
            costs["worker"].append((cpu_s(int(worker)) - began[0]) / requests * 1e6)
            costs["host"].append((cpu_s(host) - began[1]) / requests * 1e6)
        medians = {
            name: [wrk(where, connections=1)[1] for _ in range(ROUNDS)]
            for name, where in (("direct", direct), ("through", through))
        }
    line("gunicorn itself", rates["direct"], "req/s")
    line("through the gateway", rates["through"], "req/s")
    line("the worker's CPU a request", costs["worker"], "us")
    line("the host's CPU a request", costs["host"], "us")
    share = statistics.median(rates["through"]) / statistics.median(rates["direct"])
    print(f"{'share':<26}{share * 100:9.1f} %")
    line("p50 of one client, direct", medians["direct"], "ms")
    line("p50 of one client, through", medians["through"], "ms")
    print(f"{'added':<26}{statistics.median(medians['through']) - statistics.median(medians['direct']):9.2f} ms")


def deploy(url: str, folder: str) -> str:
    """Make a Service of the function; return its URL once it is Ready."""
    container = {
        "image": "hello",
        "command": ["gunicorn"],
        "args": ["--threads=16", "hello_bench:application"],
        "env": [{"name": "PYTHONPATH", "value": folder}],
    }
    annotations = {"zeroflow.dev/runtime": "function", "autoscaling.knative.dev/max-scale": "1"}
    service = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "hello", "namespace": "default"},
        "spec": {"template": {"metadata": {"annotations": annotations}, "spec": {"containers": [container]}}},
    }
    path = f"{url}/apis/serving.knative.dev/v1/namespaces/default/services"
    answer = urllib3.request("POST", path, json=service, retries=False)
    if answer.status != 201:
        raise RuntimeError(answer.data.decode())
    through = f"{url}/serving/default/hello/"
    ask(through)
    return through


def ask(url: str) -> str:
    """Return the function's answer: the port at which it listens itself, and its process id."""
    answer = urllib3.request("GET", url, retries=False, timeout=60.0)
    if answer.status != 200:
        raise RuntimeError(f"the function answers {answer.status}: {answer.data.decode()}")
    return answer.data.decode()


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wrk(url: str, connections: int) -> tuple[float, float]:
    """Return requests per second and the median latency in milliseconds."""
    command = ["wrk", f"-t{1 if connections == 1 else 2}", f"-c{connections}", f"-d{SECONDS}s", "--latency", url]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in told:
        raise RuntimeError(told)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", told)
    median = re.search(r"50%\s+([\d.]+)(us|ms|s)", told)
    assert rate is not None
    assert median is not None
    return float(rate[1]), float(median[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[median[2]]


if __name__ == "__main__":
    main()
