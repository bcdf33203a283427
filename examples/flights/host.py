"""The demo's own host: started on a free port, asked over HTTP as any client would."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
from rich.console import Console

STABLE_WINDOW_S = 6.0
DEADLINE_S = 60.0
http = urllib3.PoolManager(retries=False, timeout=60.0)
console = Console(highlight=False, width=100)


class DemoFailed(Exception):
    """The demo cannot go on; the message says what was awaited."""


@dataclass
class Host:
    """A host of the demo's own."""

    home: Path
    url: str
    process: subprocess.Popen[str]

    def get(self, path: str) -> Any:
        """GET JSON."""
        answer = http.request("GET", self.url + path)
        if answer.status >= 400:
            raise DemoFailed(f"GET {path} answered {answer.status}: {answer.data[:300]!r}")
        return answer.json()

    def put_object(self, uri: str, body: bytes) -> Any:
        """Upload to the object store, as `zeroflow store put` does."""
        answer = http.request("PUT", f"{self.url}/objects/{uri.removeprefix('store://')}", body=body)
        if answer.status != 201:
            raise DemoFailed(f"upload of {uri} answered {answer.status}: {answer.data[:300]!r}")
        return answer.json()

    def apply(self, document: dict[str, Any]) -> None:
        """Declare a resource, as `kubectl apply --server-side` does."""
        path = resource_path(document["apiVersion"], document["kind"], document["metadata"])
        self._patch(f"{path}?fieldManager=demo&force=true", "application/apply-patch+yaml", document)

    def merge(self, kind: tuple[str, str], name: str, change: dict[str, Any]) -> None:
        """Change a resource in namespace default, as `kubectl patch --type=merge` does."""
        path = resource_path(*kind, {"namespace": "default", "name": name})
        self._patch(path, "application/merge-patch+json", change)

    def _patch(self, path: str, content_type: str, body: dict[str, Any]) -> None:
        answer = http.request("PATCH", self.url + path, body=json.dumps(body), headers={"content-type": content_type})
        if answer.status >= 400:
            raise DemoFailed(f"PATCH {path} answered {answer.status}: {answer.data[:300]!r}")

    def inference_service(self, name: str) -> dict[str, Any]:
        """Return an InferenceService."""
        found: dict[str, Any] = self.get(f"/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices/{name}")
        return found


def resource_path(group: str, kind: str, meta: dict[str, Any]) -> str:
    """Return where a resource lies in the Kubernetes API."""
    return f"/apis/{group}/namespaces/{meta['namespace']}/{kind.lower()}s/{meta['name']}"


def start_host(home: Path) -> Host:
    """Start `zeroflow up` on a free port and wait until it answers."""
    stage(f"zeroflow up --home {home}")
    began = time.monotonic()
    command = [sys.executable, "-m", "zeroflow", "up", "--home", str(home), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--stable-window", str(STABLE_WINDOW_S)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("zeroflow is up"):
        raise DemoFailed("the host did not start; try `zeroflow up` by hand to see why")
    url = json.loads((home / "host.json").read_text())["url"]
    detail(f"{url} answers after {time.monotonic() - began:.2f} s")
    return Host(home, url, process)


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Poll until the condition holds; give up with a message after the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise DemoFailed(f"waited {DEADLINE_S:.0f} s for {what}")
        time.sleep(0.1)
    return found


def stage(text: str) -> None:
    """Print what happens now."""
    console.print(f"\n[bold]{text}[/]")


def detail(text: str) -> None:
    """Print what was seen."""
    console.print(f"  {text}")
