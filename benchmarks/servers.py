"""The predictor and its peers as processes to measure: how each is started for a model file, and where it is asked."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PEERS = Path(__file__).parent / "peers"
CACHE = Path(os.environ.get("ZEROFLOW_BENCH_ENVIRONMENTS", Path.home() / ".cache" / "zeroflow-bench"))
PINNED = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
V1, V2 = "/v1/models/model:predict", "/v2/models/model/infer"
PACKAGES = {
    "kserve": ("kserve==0.21.0",),
    "mlserver": ("mlserver", "mlserver-sklearn"),
    "bentoml": ("bentoml",),
    "litserve": ("litserve",),
    "mlflow": ("mlflow==3.17.2",),
    "mlflow-serving": ("mlflow==3.17.2",),
    "metaflow": ("metaflow", "setuptools"),
    "prefect": ("prefect",),
    "flask": ("flask", "gunicorn", "uvicorn", "orjson"),
}
ENVIRONMENT_OF = {"uvicorn": "flask", "mlflow": "mlflow-serving"}
NAMES = ("zeroflow", "kserve", "mlserver", "bentoml", "mlflow", "litserve", "flask", "uvicorn")
START_S = 90.0


@dataclass(frozen=True)
class Server:
    """A command that serves one model."""

    command: list[str]
    env: dict[str, str] = field(default_factory=dict)
    path: str = V1
    cwd: Path | None = None


def server(name: str, file: Path, port: int) -> Server | None:
    """Return a server for a model file; None when it cannot serve such files."""
    if name.startswith("zeroflow"):
        return _ours(file, port, remembers=name == "zeroflow")
    python = python_of(ENVIRONMENT_OF.get(name, name))
    bin_ = Path(python).parent
    model = {"MODEL": str(file)}
    match name:
        case "kserve" | "litserve":
            return Server([python, str(PEERS / f"{name}_server.py"), str(file), str(port)])
        case "flask":
            options = ["--workers=1", "--threads=8", f"--bind=127.0.0.1:{port}", f"--chdir={PEERS}"]
            return Server([str(bin_ / "gunicorn"), *options, "flask_app:app"], model)
        case "uvicorn":
            options = ["--port", str(port), "--app-dir", str(PEERS), "--log-level", "error", "--no-access-log"]
            return Server([str(bin_ / "uvicorn"), *options, "asgi_app:app"], model)
        case "bentoml":
            options = ["--port", str(port), "--working-dir", str(PEERS)]
            return Server([str(bin_ / "bentoml"), "serve", "bentoml_service:Peer", *options], model)
        case "mlflow":
            return _mlflow(file, port, python)
        case "mlserver":
            return None if file.suffix == ".pt" else _mlserver(file, port, str(bin_ / "mlserver"))
    raise ValueError(f"no server {name!r}")


def _ours(file: Path, port: int, remembers: bool) -> Server:
    from zeroflow.functions.inference.containers import WORKER_OPTIONS

    options = ["--workers=1", *WORKER_OPTIONS, "--timeout=0", f"--bind=127.0.0.1:{port}", "--keep-alive=60"]
    gunicorn = str(Path(sys.executable).parent / "gunicorn")
    env = {
        "MODEL_NAME": "model",
        "STORAGE_URI": f"store://models/{file.parent.name}",
        "ZEROFLOW_STORE": str(file.parents[2]),
        "ZEROFLOW_MODEL_VOUCHED_BY": "run/bench/train",
    }
    if remembers:
        env["ZEROFLOW_MODEL_CACHE"] = str(file.parents[2] / "cache")
    return Server([gunicorn, "zeroflow.functions.predictor.handler:create_app()", *options], env)


def _mlserver(file: Path, port: int, program: str) -> Server:
    place = file.parent / "mlserver"
    place.mkdir(exist_ok=True)
    settings = {"parallel_workers": 0, "http_port": port, "grpc_port": free_port(), "metrics_port": free_port()}
    (place / "settings.json").write_text(json.dumps(settings))
    model = {"name": "model", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": str(file)}}
    (place / "model-settings.json").write_text(json.dumps(model))
    return Server([program, "start", str(place)], path=V2)


def _mlflow(file: Path, port: int, python: str) -> Server:
    place = file.parent / "mlflow"
    if not place.exists():
        subprocess.run([python, str(PEERS / "mlflow_save.py"), str(file), str(place)], check=True, capture_output=True)
    options = ["--env-manager=local", "--workers=1", "--host=127.0.0.1", f"--port={port}"]
    path = f"{Path(python).parent}:{os.environ.get('PATH', '')}"  # it starts uvicorn by name
    program = str(Path(python).parent / "mlflow")
    return Server([program, "models", "serve", f"--model-uri={place}", *options], {"PATH": path}, path="/invocations")


def python_of(name: str) -> str:
    """Return the Python of a peer's environment, made once and kept."""
    import sklearn

    folder = CACHE / name
    python = folder / "bin" / "python"
    if not python.exists():
        uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
        if uv is None:
            raise RuntimeError("uv makes the environments of the peers: pip install uv")
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
        serving = () if name in ("mlflow", "metaflow", "prefect") else (f"scikit-learn=={sklearn.__version__}", "torch")
        wanted = (*PACKAGES[name], *serving)
        # Compiled, as pip would leave them: a peer's start is not to be measured with its modules' compiling.
        command = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *wanted]
        subprocess.run(command, check=True)
    return str(python)


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(found: Server, port: int, body: bytes, headers: dict[str, str]) -> Iterator[tuple[int, float]]:
    """Run a server until it answers; yield its process id and the seconds that its first answer took from launch."""
    began = time.monotonic()
    process = subprocess.Popen(
        found.command,
        env={**_as_usual(), **PINNED, **found.env},
        cwd=found.cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if ask(http.client.HTTPConnection("127.0.0.1", port, timeout=30), found.path, body, headers) == 200:
                    break
            if process.poll() is not None or time.monotonic() - began > START_S:
                raise RuntimeError(f"{found.command[0]} does not answer")
            time.sleep(0.01)
        yield process.pid, time.monotonic() - began
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)


def _as_usual() -> dict[str, str]:
    """Return this environment, in which every server may keep its modules compiled."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def ask(connection: http.client.HTTPConnection, path: str, body: bytes, headers: dict[str, str]) -> int:
    """Send one prediction; return the status."""
    connection.request("POST", path, body, {"Content-Type": "application/json", **headers})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def family(pid: int) -> set[int]:
    """Return a process and all its descendants."""
    found, new = {pid}, {pid}
    while new:
        children = set()
        for each in new:
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{each}/task").iterdir():
                    children |= {int(word) for word in (task / "children").read_text().split()}
        new = children - found
        found |= new
    return found


def cpu_s(pid: int) -> float:
    """Return the processor time of a process and its descendants so far."""
    total = 0.0
    for each in family(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def pss_mib(pid: int) -> float:
    """Return the memory of a process and its descendants, what is shared in shares."""
    total = 0
    for each in family(pid):
        with contextlib.suppress(OSError):
            rollup = Path(f"/proc/{each}/smaps_rollup").read_text()
            total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total / 1024
