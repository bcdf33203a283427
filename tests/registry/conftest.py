"""The register function as a real gunicorn process over HTTP, a broker that records, and the official clients."""

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import urllib3
import yaml

from environments import python_of

START_TIMEOUT_S = 30.0
PREFIX = "/api/model_registry/"
MANIFESTS = Path(__file__).parents[2] / "knative" / "manifests" / "functions"
POLICY = json.dumps(
    {
        "identities": [
            {"name": name, "tokenSha256": hashlib.sha256(f"token of {name}".encode()).hexdigest()}
            for name in ("ada", "bob", "eve")
        ],
        "approvals": [
            {
                "models": ["governed *"],
                "approvers": ["ada", "bob"],
                "metrics": {"auc": {"min": 0.8}},
                "artifacts": ["evaluation"],
            }
        ],
    }
)
"""The approval policy of the tests' registry; JSON is YAML."""


@dataclass
class Answer:
    """An HTTP answer."""

    status: int
    body: Any
    headers: Mapping[str, str]


@dataclass
class RecordingBroker:
    """A broker ingress that accepts everything and remembers it."""

    url: str = ""
    received: list[dict[str, Any]] = field(default_factory=list)


class Registry:
    """A running register function."""

    def __init__(self, url: str, database_url: str, broker: RecordingBroker) -> None:
        self.url, self.database_url, self.broker = url, database_url, broker
        self.store = self.policy = Path()
        self.documents: dict[str, Callable[[str, str, Answer], None]] = {}
        self._pool = urllib3.PoolManager(maxsize=32, retries=False)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        version: str = "v1alpha3",
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Call an operation; `body` is encoded as JSON unless it is bytes."""
        raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        answer = self.raw(method, f"/api/model_registry/{version}/{path}", raw, query=query, headers=headers)
        if version in self.documents:
            self.documents[version](method, path.partition("?")[0], answer)
        return answer

    def raw(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send any request."""
        answer = self._pool.request(
            method,
            self.url + path + (f"?{urlencode(query)}" if query else ""),
            body=body,
            headers={"content-type": "application/json", **(headers or {})},
        )
        document = answer.data
        with contextlib.suppress(ValueError):
            document = json.loads(answer.data)
        return Answer(answer.status, document, {name.lower(): value for name, value in answer.headers.items()})

    def ok(self, method: str, path: str, body: Any = None, **options: Any) -> dict[str, Any]:
        """Call an operation that must succeed; return what it answers."""
        answer = self.call(method, path, body, **options)
        assert answer.status in (200, 201), answer
        assert isinstance(answer.body, dict)
        return answer.body

    def model(self, **fields: Any) -> dict[str, Any]:
        """Create a registered model."""
        return self.ok("POST", "registered_models", {"name": unique("model"), **fields})

    def version(self, model: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
        """Create a version, of a new model unless one is given."""
        owner = model or self.model()
        return self.ok("POST", "model_versions", {"name": unique("v"), "registeredModelId": owner["id"], **fields})

    def artifact(self, version: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
        """Create a model artifact under a version, a new one unless it is given."""
        owner = version or self.version()
        body = {"artifactType": "model-artifact", "name": unique("a"), "uri": "s3://bucket/model", **fields}
        return self.ok("POST", f"model_versions/{owner['id']}/artifacts", body)

    def deliver(
        self,
        data: Any,
        event_id: str,
        *,
        reply: bool = False,
        event_type: str = "dev.zeroflow.model.produced",
        source: str = "/zeroflow/functions/pipeline",
    ) -> Answer:
        """Deliver an event as the broker does."""
        headers = {
            "ce-specversion": "1.0",
            "ce-type": event_type,
            "ce-source": source,
            "ce-id": event_id,
            **({"prefer": "reply"} if reply else {}),
        }
        return self.raw("POST", "/", data if isinstance(data, bytes) else json.dumps(data).encode(), headers)


def unique(prefix: str) -> str:
    """Return a name that no other test uses."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def broker() -> Iterator[RecordingBroker]:
    """Run a recording broker for the session."""
    recording = RecordingBroker()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            recording.received.append({**headers, "data": json.loads(body)})
            self.send_response(202)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    recording.url = f"http://127.0.0.1:{server.server_address[1]}/zeroflow/default"
    yield recording
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def registry_database_url(
    request: pytest.FixtureRequest, new_database: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Yield one database for all of this topic's tests, per supported server; they keep apart by names."""
    with new_database(request.param, tmp_path_factory.mktemp("registry")) as url:
        yield url


def openapi_documents() -> dict[str, Callable[[str, str, Answer], None]]:
    """Return what checks each answer against the OpenAPI document of its version, where the documents are."""
    folder = os.environ.get("ZEROFLOW_CONTRACTS")
    if folder is None:
        return {}
    import jsonschema

    def checker(document: dict[str, Any], prefix: str) -> Callable[[str, str, Answer], None]:
        places = {
            re.compile(re.sub(r"\\{[^/]*?\\}", "[^/]+", re.escape(path.removeprefix(prefix))) + r"\Z"): operations
            for path, operations in sorted(document["paths"].items(), key=lambda place: place[0].count("{"))
        }
        schemas = by_discriminator(document)
        validators: dict[str, Any] = {}

        def check(method: str, path: str, answer: Answer) -> None:
            operation = next((found for place, found in places.items() if place.match("/" + path)), {}).get(
                method.lower()
            )
            if operation is None:
                assert answer.status in (404, 405, 400), (method, path, answer)
                return
            if answer.status >= 400:
                assert set(answer.body) == {"code", "message"}, (method, path, answer)
                return
            response = operation["responses"].get(str(answer.status))
            assert response is not None, (method, path, answer.status)
            if "$ref" in response:
                response = document["components"]["responses"][response["$ref"].split("/")[-1]]
            schema = response["content"]["application/json"]["schema"]
            key = json.dumps(schema)
            if key not in validators:
                validators[key] = jsonschema.Draft202012Validator({**schema, **schemas})
            fault = next(validators[key].iter_errors(answer.body), None)
            assert fault is None, (method, path, fault)

        return check

    contracts = Path(folder) / "model-registry"
    return {
        "v1alpha3": checker(
            yaml.load((contracts / "model-registry.yaml").read_text(), yaml.CSafeLoader), PREFIX + "v1alpha3"
        ),
        "v1": checker(json.loads((contracts / "model-registry-v1.from-client-0.3.18.json").read_text()), PREFIX + "v1"),
    }


def by_discriminator(document: dict[str, Any]) -> dict[str, Any]:
    """Return the components with every discriminated oneOf as conditions, which plain JSON Schema understands."""
    components = json.loads(json.dumps({"components": {"schemas": document["components"]["schemas"]}}))
    for schema in components["components"]["schemas"].values():
        chosen = schema.pop("discriminator", None)
        if chosen and "mapping" not in chosen:
            schema["anyOf"] = schema.pop("oneOf")
        elif chosen:
            schema.pop("oneOf", None)
            name = chosen["propertyName"]
            schema["properties"] = {name: {"enum": sorted(chosen["mapping"])}}
            schema["required"] = [name]
            schema["allOf"] = [
                {"if": {"properties": {name: {"const": value}}}, "then": {"$ref": target}}
                for value, target in chosen["mapping"].items()
            ]
    return dict(components)


@pytest.fixture(scope="session")
def registry(
    registry_database_url: str, broker: RecordingBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    """Run the register function under gunicorn, with the arguments of its manifest."""
    folder = tmp_path_factory.mktemp("register")
    log = folder / "log"
    environment = {
        **os.environ,
        "ZEROFLOW_DATABASE_URL": registry_database_url,
        "ZEROFLOW_STORE": str(folder / "store"),
        "K_SINK": broker.url,
        "K_SERVICE": "register",
    }
    environment["ZEROFLOW_REGISTRY_POLICY"] = str(folder / "policy.yaml")
    (folder / "policy.yaml").write_text(POLICY)
    manifest = yaml.safe_load((MANIFESTS / "register.yaml").read_text())
    arguments = manifest["spec"]["template"]["spec"]["containers"][0]["args"]
    options = ["--bind", "127.0.0.1:0", "--no-control-socket"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *options, *arguments], env=environment, stdout=output, stderr=output
        )
    try:
        running = Registry(_address(process, log), registry_database_url, broker)
        running.documents, running.store = openapi_documents(), folder / "store"
        running.policy = folder / "policy.yaml"
        yield running
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        process.terminate()
        process.wait(timeout=20)


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """Return the URL that gunicorn's log names, once the function answers there."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        for line in log.read_text().splitlines():
            if "Listening at: " in line:
                url = line.split("Listening at: ")[1].split()[0]
                with contextlib.suppress(urllib3.exceptions.HTTPError):
                    if urllib3.request("GET", f"{url}/health/readiness", retries=False, timeout=5.0).status == 200:
                        return url
        time.sleep(0.02)
    raise AssertionError(f"the function did not answer in {START_TIMEOUT_S} s: {log.read_text()}")


@pytest.fixture(scope="session")
def client_python() -> Callable[[str], str]:
    """Return a function from a client release to the Python of an environment that has it."""
    return lambda release: python_of(f"model-registry=={release}")


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Run an S3 server of moto's with bucket `models`; yield a client of it."""
    from moto.server import ThreadedMotoServer

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        import boto3

        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        client = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket="models")
        yield client
    finally:
        server.stop()
