"""Serving: puts reconciler, pools and activator together and keeps them going.

It listens to the store and to its pools; a change leads to one reconciliation of the Service that it concerns.
Nothing polls. After a restart of the host the Services are Ready again from what is stored, and nothing runs until it
is asked for or `min-scale` says so.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from zeroflow.errors import InvalidInput, ZeroflowError
from zeroflow.images import Images
from zeroflow.knative.local.api.errors import AlreadyExists, Conflict
from zeroflow.knative.local.api.happenings import Recorder
from zeroflow.knative.local.api.objects import controller_of
from zeroflow.knative.local.api.state import Change
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.processes.launcher import Launcher
from zeroflow.knative.local.processes.pods import Places, PodContext
from zeroflow.knative.local.serving import conditions, labels
from zeroflow.knative.local.serving.activator import Activator
from zeroflow.knative.local.serving.admission import kinds
from zeroflow.knative.local.serving.admission.features import TAG_HEADER
from zeroflow.knative.local.serving.configuration import maps
from zeroflow.knative.local.serving.configuration.maps import ConfigMaps
from zeroflow.knative.local.serving.failures import Pace
from zeroflow.knative.local.serving.garbage import Retention
from zeroflow.knative.local.serving.pool import Pool
from zeroflow.knative.local.serving.reconciling import configurations, mappings, routing, services
from zeroflow.knative.local.serving.reconciling.scope import Scope
from zeroflow.knative.local.serving.routes import RouteTable
from zeroflow.knative.local.serving.scaling import ScaleDefaults, ScaleSettings, progress_deadline_s, settings_of
from zeroflow.knative.local.urls import Urls

Object = dict[str, Any]
logger = logging.getLogger(__name__)

_DECLARED = (labels.SERVICE_KIND, labels.CONFIGURATION_KIND, labels.ROUTE_KIND, labels.MAPPING_KIND)
_KINDS = (*_DECLARED, labels.REVISION_KIND, "Pod", maps.KIND)
_ATTEMPTS = 10


class Serving:
    """Knative Serving for one host. `window_s` is the stable window of revisions that name none."""

    def __init__(
        self,
        store: Store,
        launcher: Launcher,
        urls: Urls,
        home: Places,
        *,
        window_s: float = 60.0,
        pace: Pace | None = None,
        retention: Retention | None = None,
    ) -> None:
        self._store = store
        self._context = PodContext(store, store.find, launcher, home, Recorder(store, "zeroflow"), Images(home.root))
        self._pace = pace or Pace()
        defaults = ScaleDefaults(window_s=window_s)
        self._maps = ConfigMaps(store, defaults, self._pace.progress_deadline_s, retention)
        self._pools: dict[tuple[str, str], Pool] = {}
        self._routes = RouteTable()
        self._changed = asyncio.Condition()
        self._timers: dict[tuple[str, str, str], asyncio.TimerHandle] = {}
        self._scope = Scope(
            store,
            urls,
            self._routes,
            self._pool_of,
            self._touch_name,
            self._later,
            Recorder(store, "knative-serving"),
            self._maps,
        )
        self._due: dict[tuple[str, str, str], None] = {}
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._closing: set[asyncio.Task[None]] = set()
        self.activator = Activator(
            self._routes,
            lambda namespace, name: self._pools.get((namespace, name)),
            self._expected,
            self._changed,
        )
        self._features = kinds.register(store, self._maps)

    async def start(self) -> None:
        """Reconcile everything that is stored, then whatever changes."""
        subscription = self._store.subscribe(_KINDS, replay=False, copies=False)
        self._configure()
        for kind in _DECLARED:
            for obj in self._store.list(kind):
                self._touch(kind, obj)
        await self._reconcile_due()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._listen(subscription)), loop.create_task(self._work())]

    async def stop(self) -> None:
        """Begin to stop: nobody waits for an instance from now on."""
        await self.activator.stop(self._pools.values())

    async def close(self, grace_s: float = 10.0) -> None:
        """Stop all instances; requests in progress have `grace_s` to end."""
        for timer in self._timers.values():
            timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(pool.close(grace_s) for pool in self._pools.values()), *self._closing)
        self._pools.clear()
        await self.activator.close()

    @property
    def idle(self) -> bool:
        """Whether no instance runs and nothing is left to reconcile."""
        return not self._due and not self._closing and all(pool.idle for pool in self._pools.values())

    def pools(self) -> dict[tuple[str, str], Pool]:
        """Return the pools by (namespace, revision), to look at."""
        return dict(self._pools)

    async def _listen(self, subscription: Any) -> None:
        async for change in subscription:
            try:
                self._heed(change)
            except Exception:  # one odd object must not stop the others
                logger.exception("serving: cannot handle a change of %s", change.kind)

    def _heed(self, change: Change) -> None:
        obj, old = change.object, change.old
        meta = obj["metadata"]
        marks = meta.get("labels") or {}
        if change.kind == maps.KIND:
            if meta["namespace"] == maps.NAMESPACE:
                self._configure()
        elif change.kind == "Pod":
            pool = self._pools.get((meta["namespace"], marks.get(labels.REVISION, "")))
            if change.type == "DELETED" and pool is not None:
                pool.remove_pod(meta["name"])
        elif change.kind == labels.REVISION_KIND:
            if change.type == "DELETED":
                self._drop(meta["namespace"], meta["name"], meta["uid"])
                self._touch_name(*_maker(obj))
        elif change.type != "MODIFIED" or old is None or _declared(obj) != _declared(old):
            self._touch(change.kind, obj)
            if change.kind == labels.SERVICE_KIND and change.type != "MODIFIED":
                self._touch_mappings(meta["namespace"], meta["name"])
        if change.kind == labels.CONFIGURATION_KIND and (old is None or _ready(obj) != _ready(old)):
            self._touch_routes(meta["namespace"], meta["name"])

    def _configure(self) -> None:
        """Heed what the ConfigMaps say now."""
        self.activator.tags_by_header = TAG_HEADER in self._features.enabled()
        for pool in self._pools.values():
            pool.adopt(*self._settings(pool.revision))

    def _touch_routes(self, namespace: str, config: str) -> None:
        """Have another look at the Routes that lead to a Configuration."""
        for route in self._store.peek(labels.ROUTE_KIND, namespace):
            if any(target.get("configurationName") == config for target in route["spec"].get("traffic") or ()):
                self._touch(labels.ROUTE_KIND, route)

    def _touch_mappings(self, namespace: str, service: str) -> None:
        for mapping in self._store.list(labels.MAPPING_KIND, namespace):
            if mapping["spec"]["ref"]["name"] == service:
                self._touch(labels.MAPPING_KIND, mapping)

    def _touch(self, kind: str, obj: Object) -> None:
        """Ask for a pass over an object; what a Service owns is looked at with the Service."""
        meta = obj["metadata"]
        service = (meta.get("labels") or {}).get(labels.SERVICE)
        if service and controller_of(obj):
            kind, name = labels.SERVICE_KIND, service
        else:
            name = meta["name"]
        self._touch_name(kind, meta["namespace"], name)

    def _later(self, delay_s: float, kind: str, namespace: str, name: str) -> None:
        key = (kind, namespace, name)
        if key in self._timers:
            self._timers[key].cancel()

        def due() -> None:
            del self._timers[key]
            self._touch_name(kind, namespace, name)

        self._timers[key] = asyncio.get_running_loop().call_later(max(0.0, delay_s), due)

    def _expected(self, namespace: str, label: str) -> bool:
        """Return whether a label that no route knows yet will have one: what declares it has not been heeded yet."""
        if any(self._store.find(kind, namespace, label) for kind in (labels.SERVICE_KIND, labels.ROUTE_KIND)):
            return True
        tags = [
            (service, target.get("tag"))
            for service in self._store.peek(labels.SERVICE_KIND, namespace)
            for target in service["spec"].get("traffic") or ()
        ]
        for service, tag in tags:
            if tag and f"{tag}-{service['metadata']['name']}" == label:
                observed = (service.get("status") or {}).get("observedGeneration")
                return bool(observed != service["metadata"]["generation"])
        mappings = self._store.peek(labels.MAPPING_KIND, namespace)
        return any(
            mapping["metadata"]["name"].startswith(f"{label}.{namespace}.") and "status" not in mapping
            for mapping in mappings
        )

    def _touch_name(self, kind: str, namespace: str, name: str) -> None:
        self._due[kind, namespace, name] = None
        self._wake.set()

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._reconcile_due()

    async def _reconcile_due(self) -> None:
        while self._due:
            kind, namespace, name = next(iter(self._due))
            del self._due[kind, namespace, name]
            await self._reconcile(kind, namespace, name)
        async with self._changed:
            self._changed.notify_all()

    async def _reconcile(self, kind: str, namespace: str, name: str) -> None:
        for _ in range(_ATTEMPTS):
            try:
                await self._pass(kind, namespace, name)
                return
            except (Conflict, AlreadyExists):
                continue
            except ZeroflowError as error:
                logger.warning("%s %s/%s: %s", kind, namespace, name, error)
                return
            except Exception:
                logger.exception("%s %s/%s cannot be reconciled", kind, namespace, name)
                return

    async def _pass(self, kind: str, namespace: str, name: str) -> None:
        if kind == labels.MAPPING_KIND:
            await mappings.reconcile(self._scope, namespace, name)
            return
        obj = self._store.find(kind, namespace, name)
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            if kind != labels.CONFIGURATION_KIND:
                self._routes.remove(namespace, name)
        elif kind == labels.SERVICE_KIND:
            await services.reconcile(self._scope, obj)
        elif kind == labels.CONFIGURATION_KIND:
            await configurations.reconcile(self._scope, obj)
        else:
            await routing.reconcile(self._scope, obj)

    def _pool_of(self, revision: Object) -> Pool:
        """Return the pool of a revision, made when there is none."""
        meta = revision["metadata"]
        key = (meta["namespace"], meta["name"])
        pool = self._pools.get(key)
        if pool is not None and pool.revision["metadata"]["uid"] != meta["uid"]:
            self._drop(*key, pool.revision["metadata"]["uid"])
            pool = None
        if pool is None:
            maker = _maker(revision)
            pool = self._pools[key] = Pool(
                self._context,
                revision,
                *self._settings(revision),
                self._pace,
                lambda: self._touch_name(*maker),
                proven=conditions.read(revision, "Ready").status == "True",
            )
        return pool

    def _settings(self, revision: Object) -> tuple[ScaleSettings, float]:
        """Return how a revision scales, and how long an instance may take to become ready."""
        concurrency = int(revision["spec"].get("containerConcurrency") or 0)
        annotations = revision["metadata"].get("annotations") or {}
        defaults, deadline_s = self._maps.scaling(), self._maps.progress_deadline_s()
        try:
            return settings_of(annotations, concurrency, defaults), progress_deadline_s(annotations, deadline_s)
        except InvalidInput as error:  # admitted by an earlier version, or before a limit was set
            logger.warning("revision %s: %s", revision["metadata"]["name"], error)
            return settings_of({}, concurrency, defaults), deadline_s

    def _drop(self, namespace: str, name: str, uid: str) -> None:
        pool = self._pools.get((namespace, name))
        if pool is None or pool.revision["metadata"]["uid"] != uid:
            return
        del self._pools[namespace, name]
        grace_s = float(pool.revision["spec"].get("timeoutSeconds") or 300)
        task = asyncio.get_running_loop().create_task(pool.close(grace_s))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _maker(revision: Object) -> tuple[str, str, str]:
    """Return (kind, namespace, name) of what a revision is reconciled with."""
    meta, marks = revision["metadata"], revision["metadata"].get("labels") or {}
    if service := marks.get(labels.SERVICE):
        return labels.SERVICE_KIND, meta["namespace"], service
    return labels.CONFIGURATION_KIND, meta["namespace"], marks.get(labels.CONFIGURATION, "")


def _ready(obj: Object) -> tuple[object, object]:
    """Return what a Route wants to know of a Configuration."""
    status = obj.get("status") or {}
    return status.get("latestReadyRevisionName"), conditions.read(obj, "Ready")


def _declared(obj: Object) -> tuple[object, object, object]:
    meta = obj["metadata"]
    return meta.get("generation"), meta.get("annotations"), meta.get("deletionTimestamp")
