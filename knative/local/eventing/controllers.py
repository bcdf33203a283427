"""Listens to the resource API and has each changed object reconciled, one after the other.

Guarantees: when `start` returns, every object that existed has been reconciled. An object is reconciled again when
what it refers to comes or goes. A reconciliation that fails is logged and does not stop the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from zeroflow.knative.local.api.builtin import CRD_KEY
from zeroflow.knative.local.api.objects import Object, copy
from zeroflow.knative.local.api.state import Change
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.api.subscriptions import Subscription
from zeroflow.knative.local.eventing.apiserver import APISERVER_SOURCE, ApiServerSources
from zeroflow.knative.local.eventing.destinations import BROKER, JOB_SINK, SERVICE, reference_key
from zeroflow.knative.local.eventing.jobsink import JOB, JobSinks
from zeroflow.knative.local.eventing.ping import PING_SOURCE, PingSources
from zeroflow.knative.local.eventing.sinkbinding import SINK_BINDING, SinkBindings
from zeroflow.knative.local.eventing.status import StatusWriter
from zeroflow.knative.local.eventing.triggers import TRIGGER, BrokerReconciler, TriggerReconciler

logger = logging.getLogger(__name__)

# Replayed in this order, so that references are there before what refers to them.
_KINDS = (SERVICE, JOB_SINK, BROKER, TRIGGER, PING_SOURCE, APISERVER_SOURCE, SINK_BINDING)
_REFERRING = (BROKER, TRIGGER, PING_SOURCE, APISERVER_SOURCE, SINK_BINDING)


class Controllers:
    """One subscription for all kinds of this room."""

    def __init__(
        self,
        store: Store,
        brokers: BrokerReconciler,
        triggers: TriggerReconciler,
        pings: PingSources,
        apiservers: ApiServerSources,
        jobsinks: JobSinks,
        bindings: SinkBindings,
        status: StatusWriter,
    ) -> None:
        self._store, self._brokers, self._triggers = store, brokers, triggers
        self._pings, self._apiservers, self._jobsinks = pings, apiservers, jobsinks
        self._bindings, self._status = bindings, status
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Reconcile what exists, then follow changes."""
        self._subscription = self._store.subscribe((*_KINDS, JOB, CRD_KEY), replay=False, copies=False)
        existing = [Change("ADDED", kind, obj) for kind in _KINDS for obj in self._store.list(kind)]
        for change in existing:
            await self._handle(change)
        self._task = asyncio.get_running_loop().create_task(self._follow(self._subscription))

    async def close(self) -> None:
        """Stop following."""
        if self._subscription is not None:
            self._subscription.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _follow(self, subscription: Subscription) -> None:
        async for change in subscription:
            await self._handle(change)

    async def _handle(self, change: Change) -> None:
        try:
            if (
                change.type == "MODIFIED"
                and not _declared_anew(change)
                and change.kind not in {PING_SOURCE, APISERVER_SOURCE}
            ):
                return
            change = replace(change, object=copy(change.object))
            if change.type != "MODIFIED" or _declared_anew(change):
                await self._reconcile(change)
            await self._reconcile_referring(change)
        except asyncio.CancelledError:
            raise
        except Exception:
            metadata = change.object["metadata"]
            logger.exception(
                "not reconciled: kind=%s name=%s/%s", change.kind, metadata.get("namespace"), metadata["name"]
            )

    async def _reconcile(self, change: Change) -> None:
        obj, gone = change.object, change.type == "DELETED"
        match change.kind:
            case kind if kind == BROKER and not gone:
                await self._brokers.changed(obj)
            case kind if kind == JOB_SINK and not gone:
                await self._jobsinks.changed(obj)
            case kind if kind == TRIGGER:
                await (self._triggers.deleted(obj) if gone else self._triggers.changed(obj))
            case kind if kind == PING_SOURCE:
                await (self._pings.deleted(obj) if gone else self._pings.changed(obj))
            case kind if kind == APISERVER_SOURCE:
                await (self._apiservers.deleted(obj) if gone else self._apiservers.changed(obj))
            case kind if kind == SINK_BINDING:
                await (self._bindings.deleted(obj) if gone else self._bindings.changed(obj, self._status))
            case kind if kind == JOB and gone:
                await self._jobsinks.job_deleted(obj)
            case kind if kind == CRD_KEY:
                for source in self._store.list(APISERVER_SOURCE):
                    await self._apiservers.changed(source)

    async def _reconcile_referring(self, change: Change) -> None:
        if change.kind in {TRIGGER, JOB, CRD_KEY}:
            return
        metadata = change.object["metadata"]
        key = (change.kind, metadata["namespace"], metadata["name"])
        for kind, obj in self._referring(key):
            await self._reconcile(Change("MODIFIED", kind, obj))

    def _referring(self, key: tuple[str, str, str]) -> Iterator[tuple[str, Object]]:
        for kind in _REFERRING:
            for obj in self._store.list(kind):
                references = self._triggers.references(obj) if kind == TRIGGER else _references(obj)
                if key in references:
                    yield kind, obj


def _references(obj: Object) -> set[tuple[str, str, str]]:
    spec, namespace = obj.get("spec") or {}, obj["metadata"]["namespace"]
    destinations: list[Any] = [spec.get("sink"), (spec.get("delivery") or {}).get("deadLetterSink")]
    return {key for each in destinations if (key := reference_key(each, namespace)) is not None}


def _declared_anew(change: Change) -> bool:
    """Tell a change of what is declared from one of status, our own writes above all."""
    if change.old is None:
        return True
    old, new = change.old["metadata"], change.object["metadata"]
    return any(old.get(field) != new.get(field) for field in ("generation", "annotations", "uid"))
