"""What every pass works with: the store, the route table, the pools, and how a status is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zeroflow.knative.local.api.errors import NotFound
from zeroflow.knative.local.api.happenings import Recorder
from zeroflow.knative.local.api.objects import copy
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.serving import conditions
from zeroflow.knative.local.serving.conditions import Condition
from zeroflow.knative.local.serving.configuration.maps import ConfigMaps
from zeroflow.knative.local.serving.pool import Pool
from zeroflow.knative.local.serving.routes import RouteTable
from zeroflow.knative.local.urls import Urls

Object = dict[str, Any]
_READY_NEWS = {"Revision": "Revision becomes ready upon all resources being ready"}


@dataclass(frozen=True)
class Scope:
    """Serving as one pass sees it."""

    store: Store
    urls: Urls
    routes: RouteTable
    pool_of: Callable[[Object], Pool]
    touch: Callable[[str, str, str], None]
    """Asks for a pass: (kind, namespace, name)."""
    later: Callable[[float, str, str, str], None]
    """Asks for a pass in so many seconds: (seconds, kind, namespace, name)."""
    recorder: Recorder
    maps: ConfigMaps

    async def write_status(self, obj: Object, given: list[Condition], happy: list[Condition] | None = None) -> None:
        """Write status and conditions; `happy` replaces the computed Ready. A deleted object is left alone."""
        before = conditions.read(obj, "Ready").status
        conditions.write(obj, happy if happy is not None else given, computed=happy is None)
        wire = copy(obj)
        wire["metadata"].pop("resourceVersion", None)  # what is observed is named by observedGeneration
        try:
            await self.store.update_status(wire)
        except NotFound:
            return
        ready = conditions.read(obj, "Ready")
        if ready.status != before and ready.status == "True":
            said = _READY_NEWS.get(obj["kind"], "{kind} becomes ready").format(kind=obj["kind"])
            self.recorder.note(obj, f"{obj['kind']}Ready", said)
        elif ready.status != before and ready.status == "False":
            self.recorder.note(obj, ready.reason or "Failed", ready.message, warning=True)
