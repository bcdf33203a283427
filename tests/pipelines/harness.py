"""A pipeline function with everything around it that it needs: a broker, and a step that answers."""

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import urllib3
from sqlalchemy import select
from werkzeug.serving import make_server

from zeroflow.artifacts import Stores
from zeroflow.functions.pipeline.handler import create_app
from zeroflow.metadata import Database
from zeroflow.metadata.pipelines import Task
from zeroflow.settings import Settings

Event = dict[str, Any]


class Broker:
    """Accepts events over HTTP, in binary mode, and keeps them in order."""

    def __init__(self) -> None:
        self.events: deque[Event] = deque()
        self.arrived = threading.Condition()
        outer = self

        class Ingress(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.accept(dict(self.headers), body)
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Ingress)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/eventing/zeroflow/default"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def accept(self, headers: dict[str, str], body: bytes) -> None:
        lowered = {name.lower(): value for name, value in headers.items()}
        event = {name[3:]: value for name, value in lowered.items() if name.startswith("ce-")}
        with self.arrived:
            self.events.append({**event, "data": orjson.loads(body) if body else None})
            self.arrived.notify_all()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def headers_of(event: Event) -> dict[str, str]:
    attributes = {f"ce-{name}": str(value) for name, value in event.items() if name != "data"}
    return {**attributes, "content-type": "application/json", "prefer": "reply"}


def finished(request: Event, **outcome: Any) -> Event:
    """Build the step's answer to a task.requested event."""
    data = request["data"]
    identity = {key: data[key] for key in ("run_id", "task_id", "task_name", "attempt", "log_uri")}
    return {
        "specversion": "1.0",
        "type": "dev.zeroflow.task.finished",
        "source": "/zeroflow/functions/step",
        "id": f"{data['task_id']}.{data['attempt']}.finished",
        "data": {
            **identity,
            "state": "SUCCEEDED",
            "error": None,
            "exit_code": 0,
            "started_ms": 1_000,
            "finished_ms": 1_010,
            "timings": {"run": 10},
            "outputs": {"parameterValues": {}, "artifacts": {}},
            **outcome,
        },
    }


def gives(parameters: dict[str, Any] | None = None, artifacts: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"outputs": {"parameterValues": parameters or {}, "artifacts": artifacts or {}}}


def fails(message: str, exit_code: int = 1) -> dict[str, Any]:
    return {"state": "FAILED", "error": {"message": message, "reason": "UserError"}, "exit_code": exit_code}


def writes(platform: "Platform", key: str, content: str, **metadata: Any) -> "Step":
    """Answer as a step that stores a file as its output."""

    def step(request: dict[str, Any]) -> dict[str, Any]:
        assigned = request["data"]["executor_input"]["outputs"]["artifacts"][key]["artifacts"][0]
        source = platform.store.parent / "source"
        source.write_text(content)
        stored = Stores(platform.store).put(source, assigned["uri"])
        artifact = {
            "name": key, "uri": assigned["uri"], "type": assigned["type"]["schemaTitle"], "metadata": metadata,
            "sha256": stored.sha256, "size_bytes": stored.size_bytes,
        }  # fmt: skip
        return gives(artifacts={key: [artifact]})

    return step


Step = Callable[[Event], dict[str, Any]]


class Platform:
    """The pipeline function in this process, its broker, and a fake step: `steps[name]` answers for a task."""

    def __init__(self, url: str, root: Path, broker: Broker, resources: Any = None) -> None:
        self.database = Database(url)
        self.broker, self.store = broker, root / "store"
        self.settings = Settings(database_url=url, store=self.store, sink=broker.url, service="pipeline")
        self.app = create_app(self.settings, resources)
        self.client = self.app.test_client()
        self.steps: dict[str, Step] = {}
        self.requested: list[Event] = []
        self.log: list[Event] = []
        self._ids = itertools.count()

    def close(self) -> None:
        self.database.close()
        self.app.extensions["zeroflow"].database.close()

    @contextmanager
    def served(self) -> Iterator[str]:
        """Answer HTTP from a thread of this process; yield the URL."""
        server = make_server("127.0.0.1", 0, self.app, threaded=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def deliver(self, event: Event, path: str = "/") -> Any:
        """Deliver one event to the function, as the broker does; its reply is accepted."""
        answer = self.app.test_client().post(path, data=orjson.dumps(event["data"]), headers=headers_of(event))
        if answer.status_code == 200:
            self.broker.accept(dict(answer.headers), answer.data)
        return answer

    def answer(self, request: Event) -> Event:
        """Let the fake step execute a requested task."""
        step = self.steps.get(request["data"]["task_name"], lambda _: gives())
        return finished(request, **step(request))

    def drain(self, until: Callable[[], bool] = lambda: False) -> None:
        """Deliver events until none is left."""
        while self.broker.events and not until():
            event = self.broker.events.popleft()
            self.log.append(event)
            if event["type"] == "dev.zeroflow.task.requested":
                self.requested.append(event)
                event = self.answer(event)
                self.log.append(event)
            if event["type"] in ("dev.zeroflow.task.finished", "dev.zeroflow.task.delayed"):
                assert self.deliver(event).status_code in (200, 204)

    def submit(self, spec: dict[str, Any], **parameters: Any) -> str:
        """Create a run of a definition; return its id."""
        answer = self.post("/runs", {"pipeline_spec": spec, "runtime_config": {"parameters": parameters}})
        assert answer.status_code == 200, answer.data
        return str(answer.json["run_id"])

    def run(self, spec: dict[str, Any], **parameters: Any) -> dict[str, Any]:
        """Run a definition to its end; return the run."""
        run_id = self.submit(spec, **parameters)
        self.drain()
        return self.get(f"/runs/{run_id}")

    def post(self, path: str, body: Any = None) -> Any:
        return self.client.post(f"/apis/v2beta1{path}", data=orjson.dumps(body if body is not None else {}))

    def get(self, path: str) -> Any:
        answer = self.client.get(f"/apis/v2beta1{path}")
        assert answer.status_code == 200, answer.data
        return answer.json

    def tasks(self, run_id: str) -> dict[str, Any]:
        return {task["name"]: task for task in self.get(f"/runs/{run_id}/tasks")["tasks"]}

    def states(self, run_id: str) -> dict[str, str]:
        with self.database.reading() as session:
            rows = session.scalars(select(Task).where(Task.run_id == run_id, Task.name != ""))
            return {row.name: row.state for row in rows}

    def event(self, event_type: str, data: Any = None, **attributes: str) -> Event:
        """Build an event of somebody else's."""
        return {
            "specversion": "1.0", "type": event_type, "source": "/test", "id": f"e{next(self._ids)}", "data": data,
            **attributes,
        }  # fmt: skip


def component(
    name: str,
    takes: dict[str, Any] | None = None,
    reads: dict[str, str] | None = None,
    returns: dict[str, str] | None = None,
    writes: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Describe a lightweight Python component: parameter types, artifact schema titles."""

    def parameter(spec: Any) -> dict[str, Any]:
        return spec if isinstance(spec, dict) else {"parameterType": spec}

    def artifact(title: str) -> dict[str, Any]:
        return {"artifactType": {"schemaTitle": title, "schemaVersion": "0.0.1"}}

    return {
        "executorLabel": f"exec-{name}",
        "inputDefinitions": {
            "parameters": {key: parameter(spec) for key, spec in (takes or {}).items()},
            "artifacts": {key: artifact(title) for key, title in (reads or {}).items()},
        },
        "outputDefinitions": {
            "parameters": {key: parameter(spec) for key, spec in (returns or {}).items()},
            "artifacts": {key: artifact(title) for key, title in (writes or {}).items()},
        },
    }


def task(component_name: str, after: tuple[str, ...] = (), **inputs: Any) -> dict[str, Any]:
    """Describe a task; an input is `pipeline.<name>`, `<task>/<output>`, `<task>//<artifact>` or {constant: value}."""
    parameters, artifacts = {}, {}
    for key, source in inputs.items():
        if isinstance(source, dict):
            parameters[key] = {"runtimeValue": source}
        elif source.startswith("pipeline."):
            parameters[key] = {"componentInputParameter": source.removeprefix("pipeline.")}
        elif "//" in source:
            producer, output = source.split("//")
            artifacts[key] = {"taskOutputArtifact": {"producerTask": producer, "outputArtifactKey": output}}
        else:
            producer, output = source.split("/")
            parameters[key] = {"taskOutputParameter": {"producerTask": producer, "outputParameterKey": output}}
    return {
        "componentRef": {"name": f"comp-{component_name}"},
        "inputs": {"parameters": parameters, "artifacts": artifacts},
        "dependentTasks": list(after),
        "cachingOptions": {},
    }


def constant(value: Any) -> dict[str, Any]:
    return {"constant": value}


def pipeline(
    tasks: dict[str, Any],
    components: dict[str, Any] | None = None,
    takes: dict[str, Any] | None = None,
    outputs: dict[str, Any] | None = None,
    returns: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Describe a whole pipeline. Components that are not given take and give nothing."""
    names = {spec["componentRef"]["name"].removeprefix("comp-") for spec in tasks.values()}
    known = {**{name: component(name) for name in names}, **(components or {})}
    return {
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.17.0",
        "pipelineInfo": {"name": "test-pipeline"},
        "components": {f"comp-{name}": spec for name, spec in known.items()},
        "deploymentSpec": {
            "executors": {
                spec["executorLabel"]: {"container": container(name)}
                for name, spec in known.items()
                if "executorLabel" in spec
            }
        },
        "root": {
            "dag": {"tasks": tasks, "outputs": outputs or {}},
            "inputDefinitions": {
                "parameters": {
                    key: spec if isinstance(spec, dict) else {"parameterType": spec}
                    for key, spec in (takes or {}).items()
                }
            },
            "outputDefinitions": {
                "parameters": {key: {"parameterType": kind} for key, kind in (returns or {}).items()}
            },
        },
    }


def container(name: str) -> dict[str, Any]:
    program = "python3 -m kfp.dsl.executor_main --component_module_path ephemeral_component.py"
    return {
        "image": "python:3.11",
        "command": ["sh", "-ec", program, f"def {name.replace('-', '_')}(): pass"],
        "args": ["--executor_input", "{{$}}", "--function_to_execute", name],
    }


def chain(length: int) -> dict[str, Any]:
    """Describe a chain of steps, each handing a number to the next."""
    tasks = {"t0": task("first", n=constant(0.0))}
    for at in range(1, length):
        tasks[f"t{at}"] = task("first", n=f"t{at - 1}/Output")
    return pipeline(
        tasks, {"first": component("first", takes={"n": "NUMBER_INTEGER"}, returns={"Output": "NUMBER_INTEGER"})}
    )


def post(url: str, event: Event) -> urllib3.BaseHTTPResponse:
    return urllib3.request("POST", url, body=orjson.dumps(event["data"]), headers=headers_of(event), retries=False)
