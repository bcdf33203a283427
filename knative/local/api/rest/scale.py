"""The scale subresource of custom kinds: `kubectl scale`, autoscalers.

Source: autoscaling/v1 Scale; apiextensions.k8s.io/v1 CustomResourceSubresourceScale (paths of dots and names).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from zeroflow.knative.local.api import managers
from zeroflow.knative.local.api.errors import BadRequest, Cause, Conflict, Invalid, MethodNotAllowed
from zeroflow.knative.local.api.kinds import Scale
from zeroflow.knative.local.api.managers import Manager
from zeroflow.knative.local.api.objects import Object, copy, meta
from zeroflow.knative.local.api.patches import APPLY_PATCH, patched
from zeroflow.knative.local.api.rest import bodies
from zeroflow.knative.local.api.rest.parameters import WriteOptions
from zeroflow.knative.local.api.rest.replies import reply
from zeroflow.knative.local.api.rest.target import Target
from zeroflow.knative.local.api.state import Draft
from zeroflow.knative.local.api.store import Store

API_VERSION = "autoscaling/v1"


@dataclass(frozen=True, slots=True)
class Scaler:
    """Answers for the scale of objects in a store."""

    store: Store

    async def handle(self, request: web.Request, target: Target) -> web.Response:
        """Answer GET, PUT and PATCH."""
        served = target.kind.version(target.version)
        assert served is not None
        assert served.scale is not None
        where = served.scale
        match request.method:
            case "GET" | "HEAD":
                obj = self.store.get(target.kind, target.namespace, target.name or "")
                return reply(_scale(obj, where))
            case "PUT":
                given = (await bodies.receive(request)).value
                return await self._write(request, target, where, lambda _: given)
            case "PATCH" if request.content_type != APPLY_PATCH:
                patch = (await bodies.receive(request, track_duplicates=False)).value
                media_type = request.content_type
                return await self._write(
                    request, target, where, lambda scale: patched(target.kind, scale, patch, media_type)
                )
        raise MethodNotAllowed("the server does not allow this method on the requested resource")

    async def _write(self, request: web.Request, target: Target, where: Scale, change: Any) -> web.Response:
        options = WriteOptions.of(request)
        manager = Manager(options.manager, "Update", target.api_version, "scale")

        def operation(draft: Draft) -> Object:
            live = self.store.mutations.present(
                draft, target.kind, (target.kind.key, target.namespace or "", target.name or "")
            )
            obj = copy(live)
            _put(obj, where, _wanted(change(_scale(obj, where)), live, target))
            managers.record_update(target.kind, live, obj, manager)
            return self.store.mutations.update(draft, target.kind, obj)

        written = self.store.rehearse(operation) if options.dry_run else await self.store.write(operation)
        return reply(_scale(written, where))


def _scale(obj: Object, where: Scale) -> Object:
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    status: Object = {"replicas": _at(obj, where.status_path) or 0}
    if where.selector_path is not None and (selector := _at(obj, where.selector_path)):
        status["selector"] = selector
    return {
        "kind": "Scale",
        "apiVersion": API_VERSION,
        "metadata": {name: meta(obj)[name] for name in kept if name in meta(obj)},
        "spec": {"replicas": replicas} if (replicas := _at(obj, where.spec_path)) is not None else {},
        "status": status,
    }


def _wanted(scale: Any, live: Object, target: Target) -> int:
    """Read the replicas of a Scale that a client has sent; raise Conflict, BadRequest or Invalid."""
    if not isinstance(scale, dict) or scale.get("kind", "Scale") != "Scale":
        raise BadRequest(f"the body is no Scale of {API_VERSION}")
    version = (scale.get("metadata") or {}).get("resourceVersion")
    if version not in (None, "", meta(live)["resourceVersion"]):
        raise Conflict.stale(target.kind.resource, target.name or "")
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise BadRequest(f"spec.replicas: expected a whole number, found {replicas!r}")
    if replicas < 0:
        cause = Cause("spec.replicas", f"Invalid value: {replicas}: should be a non-negative integer")
        raise Invalid.fields("Scale", "autoscaling", target.name or "", cause)
    return replicas


def _at(obj: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        obj = obj.get(name) if isinstance(obj, dict) else None
    return obj


def _put(obj: Object, where: Scale, replicas: int) -> None:
    *parents, last = where.spec_path
    for name in parents:
        obj = obj.setdefault(name, {})
    obj[last] = replicas
