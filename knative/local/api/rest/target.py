"""What a URL of the resource API addresses.

`/api/v1/...` and `/apis/<group>/<version>/...`, then `[namespaces/<namespace>/]<plural>[/<name>[/<subresource>]]`.
Source: Kubernetes API concepts, "Resource URIs".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from zeroflow.knative.local.api.errors import NotFound
from zeroflow.knative.local.api.kinds import Kind, KindRegistry
from zeroflow.knative.local.api.objects import Object

NOWHERE: Final = "the server could not find the requested resource"
ABSENT: Final = {
    "apps": "this host has no Deployments, StatefulSets or DaemonSets: declare a Service of serving.knative.dev or a "
    "Job",
    "networking.k8s.io": "this host has no Ingresses and no network policies: a Service of serving.knative.dev has a "
    "URL",
    "autoscaling": "this host has no HorizontalPodAutoscalers: Services of serving.knative.dev scale by annotations",
}
"""Groups that every cluster has and that are looked for here in vain: what there is instead."""
SUBRESOURCES: Final = {
    "Pod": ("status", "log", "exec", "attach", "portforward"),
    "Namespace": ("status",),
    "ServiceAccount": ("token",),
}


@dataclass(frozen=True, slots=True)
class Target:
    """A collection (`name` is None) or an object, in the version in which the client speaks of it."""

    kind: Kind
    version: str
    namespace: str | None = None
    name: str | None = None
    subresource: str = ""

    @property
    def api_version(self) -> str:
        return self.kind.api_version(self.version)

    def shown(self, obj: Object) -> Object:
        """Return an object as this version shows it (a shallow copy where it differs)."""
        return obj if obj.get("apiVersion") == self.api_version else {**obj, "apiVersion": self.api_version}


def parse(parts: list[str], group: str, version: str, kinds: KindRegistry) -> Target:
    """Read the path below the version; raise NotFound for kinds, versions and subresources that do not exist."""
    namespace: str | None = None
    if parts[0] == "namespaces" and len(parts) > 2 and not (group == "" and len(parts) == 3 and parts[2] == "status"):
        namespace, parts = parts[1], parts[2:]
    if len(parts) > 3 or not all(parts):
        raise NotFound(NOWHERE)
    kind = kinds.find_plural(group, parts[0])
    served = kind.version(version) if kind is not None else None
    if kind is None or served is None or (namespace is not None and not kind.namespaced):
        raise NotFound(ABSENT.get(group, NOWHERE))
    name = parts[1] if len(parts) > 1 else None
    subresource = parts[2] if len(parts) > 2 else ""
    if subresource == "ephemeralcontainers" and kind.key == "Pod":  # kubectl debug shows a NotFound's words
        raise NotFound("this host adds no containers to a Pod: kubectl exec runs beside the container's process")
    if subresource:
        own = (*(("status",) if served.status else ()), *(("scale",) if served.scale else ()))
        if subresource not in SUBRESOURCES.get(kind.key, own):
            raise NotFound(NOWHERE)
    if name is not None and kind.namespaced and namespace is None:
        raise NotFound(NOWHERE)
    return Target(kind, version, namespace, name, subresource)
