"""The resource API: what one create, get and list takes, and how soon a watcher hears of a create.

A custom kind with a schema, objects of about 700 bytes, one client over one kept connection; every create is on disk
when it is answered. Beside each figure is the limit: what a real kube-apiserver with etcd gave on such a machine.
Then the same with 10,000 objects in the store.
Run: `python -m benchmarks resources`.
"""

from __future__ import annotations

import http.client
import json
import queue
import statistics
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from benchmarks.host import running_host
from benchmarks.report import line

FEW, MANY, SAMPLES, LANES = 300, 10_000, 200, 8
LIMITS_MS = {"create": 4.0, "get": 1.5, "create to watch": 4.0, "list of 300": 100.0}
PATH = "/apis/bench.example.com/v1/namespaces/default/samples"
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "samples.bench.example.com"},
    "spec": {
        "group": "bench.example.com",
        "scope": "Namespaced",
        "names": {"plural": "samples", "kind": "Sample"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "required": ["steps"],
                                "properties": {
                                    "size": {"type": "integer", "minimum": 0, "default": 1},
                                    "steps": {
                                        "type": "array",
                                        "items": {
                                            "type": "object",
                                            "properties": {
                                                "name": {"type": "string", "pattern": "^[a-z0-9-]+$"},
                                                "words": {"type": "array", "items": {"type": "string"}},
                                            },
                                        },
                                    },
                                },
                            },
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}


class Client:
    """One kept connection."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)

    def call(self, method: str, path: str, body: object = None) -> bytes:
        """Send one request; return the body of a good answer."""
        data = json.dumps(body) if body is not None else None
        self._connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})
        answer = self._connection.getresponse()
        found = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {found[:300]!r}")
        return found


def sample(name: str) -> dict[str, object]:
    """Return an object of about 700 bytes."""
    steps = [{"name": f"step-{number}", "words": ["some", "words", "of", "text", str(number)]} for number in range(6)]
    labels = {"app": "bench", "part": name[-1]}
    head = {"apiVersion": "bench.example.com/v1", "kind": "Sample"}
    return {**head, "metadata": {"name": name, "labels": labels}, "spec": {"size": 3, "steps": steps}}


def timed(calls: int, call: Callable[[int], object]) -> list[float]:
    """Return what each call took, in milliseconds."""
    took = []
    for number in range(calls):
        started = time.perf_counter()
        call(number)
        took.append((time.perf_counter() - started) * 1e3)
    return took


def watched(url: str, client: Client, prefix: str) -> list[float]:
    """Return the time from the start of each create to the line that a watcher reads."""
    seen: queue.Queue[tuple[str, float]] = queue.Queue()
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.request("GET", f"{PATH}?watch=true&resourceVersion={version(client)}")
    stream = connection.getresponse()

    def read() -> None:
        while text := stream.readline():
            seen.put((json.loads(text)["object"]["metadata"]["name"], time.perf_counter()))

    threading.Thread(target=read, daemon=True).start()
    took = []
    for number in range(SAMPLES):
        name = f"{prefix}-{number}"
        started = time.perf_counter()
        client.call("POST", PATH, sample(name))
        found, at = seen.get(timeout=10)
        assert found == name
        took.append((at - started) * 1e3)
    return took


def version(client: Client) -> str:
    """Return the resourceVersion of now."""
    return str(json.loads(client.call("GET", f"{PATH}?limit=1"))["metadata"]["resourceVersion"])


def fill(url: str, count: int) -> float:
    """Create many objects over several connections; return how many per second."""

    def lane(start: int) -> None:
        client = Client(url)
        for number in range(start, count, LANES):
            client.call("POST", PATH, sample(f"fill-{number}"))

    threads = [threading.Thread(target=lane, args=(start,)) for start in range(LANES)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return count / (time.perf_counter() - started)


def measure(url: str, client: Client, prefix: str) -> dict[str, list[float]]:
    """Measure create, get and create-to-watch."""
    return {
        "create": timed(SAMPLES, lambda n: client.call("POST", PATH, sample(f"{prefix}-c{n}"))),
        "get": timed(SAMPLES, lambda n: client.call("GET", f"{PATH}/{prefix}-c{n}")),
        "create to watch": watched(url, client, f"{prefix}-w"),
    }


def show(found: dict[str, list[float]]) -> None:
    """Print figures beside their limits."""
    for label, samples in found.items():
        line(label, samples, "ms")
        if (limit := LIMITS_MS.get(label)) is not None:
            verdict = "within" if statistics.median(samples) <= limit else "ABOVE"
            print(f"{'':<26}{limit:9.1f} ms         (kube-apiserver: {verdict})")


def main() -> None:
    """Measure with few objects and with many."""
    with running_host() as url:
        client = Client(url)
        client.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", DEFINITION)
        for number in range(FEW):
            client.call("POST", PATH, sample(f"few-{number}"))
        found = {"list of 300": timed(20, lambda _: client.call("GET", f"{PATH}?limit=300"))}
        show(measure(url, client, "few") | found)
        per_second = fill(url, MANY)
        print(f"{MANY:,} objects more, over {LANES} connections: {per_second:,.0f} creates a second")
        pages = timed(3, lambda _: client.call("GET", f"{PATH}?limit=500"))
        show(measure(url, client, "many") | {"a page of 500 of them": pages})
        line("a list of all of them", timed(3, lambda _: client.call("GET", PATH)), "ms")


if __name__ == "__main__":
    main()
