"""One host for all black-box checks: they know its URL and nothing of its code."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from lifecycle.conftest import Host, eventually, running

APPS = Path(__file__).with_name("apps")
CLIENTS = urllib3.PoolManager(maxsize=128, retries=False, timeout=60.0)
SERVICES = "/apis/serving.knative.dev/v1/namespaces/default/services"


class Cluster:
    """What a user does with a cluster: apply, look, ask."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.url, self.port = host.url, host.port

    def service(
        self,
        name: str,
        app: str | None = None,
        *,
        wait: bool = True,
        container: dict[str, Any] | None = None,
        spec: dict[str, Any] | None = None,
        annotations: dict[str, str] | None = None,
        service_annotations: dict[str, str] | None = None,
        labels: dict[str, str] | None = None,
        traffic: list[dict[str, Any]] | None = None,
        revision: str | None = None,
    ) -> dict[str, Any]:
        """Apply a Service that runs `apps/<app>.py`; return it, Ready unless told not to wait."""
        template = self.template(container or {}, app, spec, annotations, revision)
        return self.apply(name, template, service_annotations, labels, traffic, wait=wait)

    def template(
        self,
        container: dict[str, Any],
        app: str | None,
        spec: dict[str, Any] | None = None,
        annotations: dict[str, str] | None = None,
        revision: str | None = None,
    ) -> dict[str, Any]:
        """Return a revision template."""
        command = {"command": ["python", str(APPS / f"{app}.py")]} if app else {}
        metadata: dict[str, Any] = {"annotations": annotations or {}}
        if revision:
            metadata["name"] = revision
        return {"metadata": metadata, "spec": {"containers": [{"image": "app"} | command | container]} | (spec or {})}

    def try_to_apply(
        self,
        name: str,
        template: dict[str, Any],
        annotations: dict[str, str] | None = None,
        labels: dict[str, str] | None = None,
        traffic: list[dict[str, Any]] | None = None,
    ) -> Any:
        """Apply a Service and return the API's answer."""
        declared = {
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "metadata": {"name": name, "annotations": annotations or {}, "labels": labels or {}},
            "spec": {"template": template} | ({"traffic": traffic} if traffic else {}),
        }
        path = f"{SERVICES}/{name}?fieldManager=checker&force=true"
        headers = {"Content-Type": "application/apply-patch+yaml"}
        return self.host.request("PATCH", path, json=declared, headers=headers)

    def apply(self, name: str, *given: Any, wait: bool = True) -> dict[str, Any]:
        """Apply a Service; return it, Ready unless told not to wait."""
        answer = self.try_to_apply(name, *given)
        assert answer.status in (200, 201), answer.data
        return self.ready(name) if wait else answer.json()

    def get(self, name: str, kind: str = "services") -> dict[str, Any]:
        """Return one object of serving.knative.dev."""
        return self.host.get(f"/apis/serving.knative.dev/v1/namespaces/default/{kind}/{name}")

    def condition(self, name: str, type_: str = "Ready", kind: str = "services") -> dict[str, Any]:
        """Return a condition; {} while there is none that speaks of the present generation."""
        obj = self.get(name, kind)
        status = obj.get("status", {})
        if status.get("observedGeneration") != obj["metadata"]["generation"]:
            return {}
        return next((one for one in status.get("conditions", []) if one["type"] == type_), {})

    def ready(self, name: str) -> dict[str, Any]:
        """Wait until a Service is Ready and return it."""
        eventually(lambda: self.condition(name).get("status") == "True", f"{name} to be ready")
        return self.get(name)

    def delete(self, name: str) -> None:
        """Delete a Service."""
        self.host.request("DELETE", f"{SERVICES}/{name}")

    def configure(self, name: str, data: dict[str, str | None]) -> Any:
        """Change a ConfigMap of Knative as `kubectl patch` does; return the API's answer."""
        path = f"/api/v1/namespaces/knative-serving/configmaps/{name}"
        headers = {"Content-Type": "application/merge-patch+json"}
        return self.host.request("PATCH", path, json={"data": data}, headers=headers)

    def ask(self, name: str, path: str = "/", method: str = "GET", **options: Any) -> Any:
        """Send a request to a Service (or a tag) by its Host header."""
        headers = {"Host": f"{name}.default.localhost:{self.port}"} | options.pop("headers", {})
        return CLIENTS.request(method, self.url + path, headers=headers, **options)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A host that is shared by all checks."""
    with running(tmp_path_factory.mktemp("home"), "--stable-window", "6") as host:
        yield Cluster(host)


@pytest.fixture
def wait_until() -> Any:
    """Return `eventually`."""
    return eventually


@pytest.fixture
def removed(cluster: Cluster) -> Iterator[Any]:
    """Register names of Services that go when the test is over."""
    with contextlib.ExitStack() as stack:
        yield lambda name: stack.callback(cluster.delete, name) and name
