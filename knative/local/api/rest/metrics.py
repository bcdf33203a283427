"""metrics.k8s.io: what Pods and this machine use now, for `kubectl top`.

Nobody samples while nobody asks: processor time is measured over `WINDOW_S` once a request is there. Pods without a
process that runs have no metrics, as on a cluster. Source: metrics.k8s.io/v1beta1 PodMetrics, NodeMetrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from aiohttp import web

from zeroflow.knative.local.api.errors import MethodNotAllowed, NotFound
from zeroflow.knative.local.api.objects import Object, meta, now
from zeroflow.knative.local.api.rest import access, parameters
from zeroflow.knative.local.api.rest.replies import reply
from zeroflow.knative.local.api.rest.target import NOWHERE
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.identity.authorization import Action, Authorizer

GROUP: Final = "metrics.k8s.io"
API_VERSION: Final = f"{GROUP}/v1beta1"
WINDOW_S: Final = 1.0
KINDS: Final = {"pods": "PodMetrics", "nodes": "NodeMetrics"}


@dataclass(frozen=True, slots=True)
class Use:
    """What something uses: processors, and bytes of memory."""

    cores: float
    memory_bytes: int

    def as_quantities(self) -> Object:
        return {"cpu": f"{round(self.cores * 1e9)}n", "memory": f"{self.memory_bytes // 1024}Ki"}


class Usage(Protocol):
    """Measures processes and the machine."""

    async def containers(
        self, places: Sequence[tuple[str, str, str]], window_s: float
    ) -> dict[tuple[str, str, str], Use]:
        """Return what those of the containers use that run, by (namespace, pod, container)."""
        ...

    async def machine(self, window_s: float) -> Use:
        """Return what all processes of this machine use."""
        ...


@dataclass(frozen=True)
class Metrics:
    """Answers what is below /apis/metrics.k8s.io/v1beta1."""

    store: Store
    authorizer: Authorizer
    usage: Usage

    async def answer(self, request: web.Request, parts: Sequence[str]) -> web.Response:
        """Answer a GET of pods or nodes, of all, of a namespace, or of one; raise NotFound."""
        namespace = ""
        if parts[0] == "namespaces" and len(parts) > 2 and parts[2] == "pods":
            namespace, parts = parts[1], parts[2:]
        plural, name = parts[0], parts[1] if len(parts) > 1 else ""
        if plural not in KINDS or len(parts) > 2 or (plural == "pods" and name and not namespace):
            raise NotFound(NOWHERE)
        if request.method not in ("GET", "HEAD") or parameters.flag(request, "watch"):
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        action = Action("get" if name else "list", GROUP, plural, "", name, namespace)
        caller = access.caller_of(request)
        if not self.authorizer.allows(caller, action):
            raise access.refusal(caller, action)
        kind = plural.removesuffix("s").capitalize()
        selection = parameters.Selection.of(request)
        objects = [
            obj
            for obj in self.store.peek(kind, namespace or None)
            if selection.matches(obj) and name in ("", meta(obj)["name"])
        ]
        measured = await (self._pods(objects) if plural == "pods" else self._nodes(objects))
        if not name:
            metadata = {"resourceVersion": ""}
            head = {"kind": f"{KINDS[plural]}List", "apiVersion": API_VERSION, "metadata": metadata}
            return reply(head | {"items": measured})
        if not measured:
            raise NotFound.named(f"{KINDS[plural].lower()}.{GROUP}", f"{namespace}/{name}" if namespace else name)
        return reply(measured[0])

    async def _pods(self, pods: Iterable[Object]) -> list[Object]:
        names = {
            (meta(pod)["namespace"], meta(pod)["name"]): [
                each["name"] for field in ("containers", "initContainers") for each in pod["spec"].get(field) or ()
            ]
            for pod in pods
        }
        labels = {(meta(pod)["namespace"], meta(pod)["name"]): meta(pod).get("labels") for pod in pods}
        used = await self.usage.containers([(*pod, name) for pod in names for name in names[pod]], WINDOW_S)
        found = []
        for (namespace, name), containers in names.items():
            running = [each for each in containers if (namespace, name, each) in used]
            if running:
                parts = [{"name": each, "usage": used[namespace, name, each].as_quantities()} for each in running]
                made = _head("PodMetrics", name, labels[namespace, name], namespace)
                found.append(made | {"containers": parts})
        return found

    async def _nodes(self, nodes: Iterable[Object]) -> list[Object]:
        use = (await self.usage.machine(WINDOW_S)).as_quantities()
        return [_head("NodeMetrics", meta(node)["name"], meta(node).get("labels")) | {"usage": use} for node in nodes]


def _head(kind: str, name: str, labels: Object | None, namespace: str = "") -> Object:
    at = now()
    metadata: Object = {"name": name, "creationTimestamp": at}
    if namespace:
        metadata["namespace"] = namespace
    if labels:
        metadata["labels"] = labels
    return {
        "kind": kind,
        "apiVersion": API_VERSION,
        "metadata": metadata,
        "timestamp": at,
        "window": f"{WINDOW_S:g}s",
    }
