"""A real gunicorn process of the step function, and components compiled by the official SDK."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the SDK's modules warn while they are imported, which pytest makes an error
    from kfp import compiler

from zeroflow.metadata import Database
from zeroflow.metadata.schema import Base

DEADLINE_S = 30.0


def wait_for(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """Return the condition's first true value."""
    deadline = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {deadline_s:g} s for {what}"
        time.sleep(0.005)
    return value


def process_lives(pid: int) -> bool:
    """Say whether a process exists and is not only waiting to be waited for."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def compiled(component: Any, tmp: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the PipelineContainerSpec and the ComponentSpec that the SDK makes of a component."""
    path = tmp / f"{uuid.uuid4().hex}.yaml"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiler.Compiler().compile(component, str(path))
    document = yaml.safe_load(path.read_text())
    (executor,) = document["deploymentSpec"]["executors"].values()
    (spec,) = document["components"].values()
    return executor["container"], spec


class StepFunction:
    """The function as the host runs it: gunicorn, one worker, threads; its home is a folder of the test."""

    def __init__(self, home: Path, threads: int = 16, **environment: str) -> None:
        self.home, self.store, self.log = home, home / "store", home / "function.log"
        self.store.mkdir(parents=True, exist_ok=True)
        url = f"sqlite:///{home}/metadata.sqlite"
        self.database = Database(url)
        Base.metadata.create_all(self.database.engine)
        self.environment = {
            **os.environ,
            "ZEROFLOW_HOME": str(home),
            "ZEROFLOW_STORE": str(self.store),
            "ZEROFLOW_SCRATCH": str(home / "run"),
            "ZEROFLOW_DATABASE_URL": url,
            "ZEROFLOW_TOKEN": "platform-secret-token",
            "K_SINK": "http://127.0.0.1:9/never",
            "K_SERVICE": "step",
            "KUBECONFIG": str(home / "kubeconfig"),
            "AWS_SECRET_ACCESS_KEY": "platform-secret-key",
            **environment,
        }
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # gunicorn leaves a given socket as it is
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = threads
        self.http = urllib3.PoolManager(maxsize=64, retries=False, timeout=urllib3.Timeout(60))
        self.start()

    def start(self) -> None:
        """Start gunicorn and wait until it answers."""
        fd = self._listener.fileno()
        argv = [sys.executable, "-m", "gunicorn", "--bind", f"fd://{fd}", "--worker-class", "gthread"]
        argv += ["--threads", str(self._threads), "--workers", "1", "--timeout", "0", "--log-level", "warning"]
        argv += ["--no-control-socket", "zeroflow.functions.step.handler:create_app()"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                argv, env=self.environment, pass_fds=[fd], stdout=log, stderr=log, cwd=self.home, start_new_session=True
            )
        wait_for(self.ready, "gunicorn")

    def ready(self) -> bool:
        """Say whether the function answers."""
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.http.request("GET", f"{self.url}/health/readiness", timeout=2).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def descendants(self) -> list[int]:
        """Return the pids of all processes below gunicorn, the nearest first."""
        parents: dict[int, list[int]] = {}
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    stat = Path(f"/proc/{name}/stat").read_text()
                except OSError:
                    continue
                parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(name))
        found, queue = [], [self.process.pid]
        while queue:
            below = parents.get(queue.pop(0), [])
            found += below
            queue += below
        return found

    def kill_worker(self) -> None:
        """Kill -9 the gunicorn worker, which its arbiter replaces."""
        os.kill(self.descendants()[0], signal.SIGKILL)

    def kill(self) -> None:
        """Kill -9 gunicorn as a whole."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Stop gunicorn and see that nothing is left of it."""
        self.http.clear()  # gunicorn waits for connections that are kept
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()

    def close(self) -> None:
        self.stop()
        self.database.close()
        self._listener.close()

    def send(self, event_type: str, event_id: str, data: dict[str, Any], subject: str = "") -> urllib3.BaseHTTPResponse:
        """POST a CloudEvent as the broker does."""
        headers = {
            "ce-specversion": "1.0",
            "ce-type": event_type,
            "ce-source": "/zeroflow/functions/pipeline",
            "ce-id": event_id,
            "content-type": "application/json",
            "prefer": "reply",
        }
        if subject:
            headers["ce-subject"] = subject
        return self.http.request("POST", f"{self.url}/", body=json.dumps(data), headers=headers)

    def request(self, task: dict[str, Any]) -> dict[str, Any]:
        """Deliver a task and return the data of the reply."""
        event_id = f"{task['task_id']}.{task['attempt']}.requested"
        subject = f"runs/{task['run_id']}/tasks/{task['task_name']}"
        answer = self.send("dev.zeroflow.task.requested", event_id, task, subject)
        assert answer.status == 200, (answer.status, answer.data, self.log.read_text())
        assert answer.headers["ce-type"] == "dev.zeroflow.task.finished"
        assert answer.headers["ce-id"] == f"{task['task_id']}.{task['attempt']}.finished"
        assert answer.headers["ce-subject"] == subject
        return json.loads(answer.data)

    def cancel(self, task: dict[str, Any]) -> None:
        """Deliver a cancelation."""
        data = {name: task[name] for name in ("run_id", "task_id", "attempt")}
        answer = self.send("dev.zeroflow.task.canceled", f"{task['task_id']}.{task['attempt']}.canceled", data)
        assert answer.status == 204, answer.data

    def path(self, uri: str) -> Path:
        """Return where the local store has a location."""
        return self.store / uri.removeprefix("store://")

    def log_of(self, task: dict[str, Any]) -> str:
        """Return a task's log."""
        path = self.path(task["log_uri"])
        return path.read_text() if path.exists() else ""

    def folder(self, task: dict[str, Any]) -> Path:
        """Return the folder in which an attempt works."""
        return self.home / "run" / "steps" / f"{task['task_id']}.{task['attempt']}"


class Tasks:
    """Builds the data of `task.requested` as the pipeline function does."""

    def __init__(self, tmp: Path) -> None:
        self._tmp = tmp

    def __call__(
        self,
        component: Any,
        parameters: dict[str, Any] | None = None,
        artifacts: dict[str, list[dict[str, Any]]] | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        executor, spec = compiled(component, self._tmp)
        return self.of(executor, spec, parameters, artifacts, timeout_s)

    def of(
        self,
        executor: dict[str, Any],
        spec: dict[str, Any],
        parameters: dict[str, Any] | None = None,
        artifacts: dict[str, list[dict[str, Any]]] | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        run_id, name = uuid.uuid4().hex, "task"
        root = f"store://artifacts/default/pipe/{run_id}/{name}"
        outputs = spec.get("outputDefinitions", {})
        return {
            "run_id": run_id,
            "run_name": "a run",
            "pipeline_name": "pipe",
            "namespace": "default",
            "task_id": f"{run_id}-{name}",
            "task_name": name,
            "attempt": 1,
            "executor": executor,
            "component": {k: spec[k] for k in ("inputDefinitions", "outputDefinitions") if k in spec},
            "executor_input": {
                "inputs": {
                    "parameterValues": parameters or {},
                    "artifacts": {key: {"artifacts": value} for key, value in (artifacts or {}).items()},
                },
                "outputs": {
                    "parameters": {key: {} for key in outputs.get("parameters", {})},
                    "artifacts": {
                        key: {
                            "artifacts": [
                                {"name": key, "uri": f"{root}/{key}", "type": value["artifactType"], "metadata": {}}
                            ]
                        }
                        for key, value in outputs.get("artifacts", {}).items()
                    },
                },
            },
            "log_uri": f"store://logs/{run_id}/{name}.1.log",
            "timeout_s": timeout_s,
        }


@pytest.fixture(scope="session")
def function(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StepFunction]:
    """One step function for the tests that leave it as they found it."""
    running = StepFunction(tmp_path_factory.mktemp("step"))
    yield running
    running.close()


@pytest.fixture
def own_function(tmp_path: Path) -> Iterator[Callable[..., StepFunction]]:
    """Start step functions that the test may kill."""
    started: list[StepFunction] = []

    def start(**options: Any) -> StepFunction:
        started.append(StepFunction(tmp_path / f"home{len(started)}", **options))
        return started[-1]

    yield start
    for running in started:
        running.close()


@pytest.fixture(scope="session")
def components() -> Any:
    """Return the module of sample components."""
    spec = importlib.util.spec_from_file_location("step_components", Path(__file__).parent / "components.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def task(tmp_path: Path) -> Tasks:
    """Build task requests from components."""
    return Tasks(tmp_path)


@pytest.fixture
def lives() -> Callable[[int], bool]:
    """Say whether a process lives."""
    return process_lives


@pytest.fixture
def until() -> Callable[..., Any]:
    """Wait for a condition with a deadline."""
    return wait_for
