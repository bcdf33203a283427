"""Listens to the resource API and has each changed object reconciled, one after the other.

Guarantees: when `start` returns, every object that existed has been reconciled. An object is reconciled again when
what it refers to comes, goes or, where its state counts, changes its status. A reconciliation that fails is logged and
does not stop the others.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Protocol

from zeroflow.knative.local.api.builtin import CRD_KEY
from zeroflow.knative.local.api.errors import NotFound
from zeroflow.knative.local.api.objects import Object, copy
from zeroflow.knative.local.api.state import Change
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.api.subscriptions import Following
from zeroflow.knative.local.eventing.apiserver import APISERVER_SOURCE, ApiServerSources
from zeroflow.knative.local.eventing.destinations import CHANNEL, IN_MEMORY_CHANNEL, SERVICE, Reference
from zeroflow.knative.local.eventing.jobsink import JOB, JobSinks
from zeroflow.knative.local.eventing.messaging.subscriptions import SUBSCRIPTION
from zeroflow.knative.local.eventing.ping import PING_SOURCE

logger = logging.getLogger(__name__)

# Others are ready when these are: their status is read by who refers to them.
_STATES = frozenset({PING_SOURCE, APISERVER_SOURCE, IN_MEMORY_CHANNEL, CHANNEL, SUBSCRIPTION})


class Reconciler(Protocol):
    """What one kind does about its objects."""

    async def changed(self, obj: Object, /) -> None:
        """Make the world what the object says now."""

    async def deleted(self, obj: Object, /) -> None:
        """Undo it."""

    def references(self, obj: Object, /) -> set[Reference]:
        """Return the objects whose coming and going changes what `changed` does."""


class Controllers:
    """One subscription for all kinds of this room; at the start they are reconciled in the order of `reconcilers`."""

    def __init__(
        self,
        store: Store,
        reconcilers: Mapping[str, Reconciler],
        jobsinks: JobSinks,
        apiservers: ApiServerSources,
    ) -> None:
        self._store, self._reconcilers = store, reconcilers
        self._jobsinks, self._apiservers = jobsinks, apiservers
        self._following: Following | None = None

    async def start(self) -> None:
        """Reconcile what exists, then follow changes."""
        kinds = (SERVICE, *self._reconcilers, JOB, CRD_KEY)
        self._following = Following(self._store.subscribe(kinds, replay=False, copies=False), self._handle)
        for kind in self._reconcilers:
            for obj in self._store.list(kind):
                await self._handle(Change("ADDED", kind, obj))
        self._following.go()

    async def close(self) -> None:
        """Stop following."""
        if self._following is not None:
            await self._following.close()

    async def _handle(self, change: Change) -> None:
        anew = change.type != "MODIFIED" or _declared_anew(change)
        if not anew and change.kind not in _STATES:
            return
        change = replace(change, object=copy(change.object))
        if anew:
            await self._try(change)
        if change.kind not in {JOB, CRD_KEY}:
            metadata = change.object["metadata"]
            for kind, obj in self._referring((change.kind, metadata["namespace"], metadata["name"])):
                await self._try(Change("MODIFIED", kind, obj))

    async def _try(self, change: Change) -> None:
        metadata = change.object["metadata"]
        try:
            await self._reconcile(change)
        except NotFound as error:  # deleted in the middle, with what it owned: its deletion is a change of its own
            logger.debug("not reconciled: kind=%s name=%s: %s", change.kind, metadata["name"], error)
        except Exception:
            logger.exception(
                "not reconciled: kind=%s name=%s/%s", change.kind, metadata.get("namespace"), metadata["name"]
            )

    async def _reconcile(self, change: Change) -> None:
        obj, gone = change.object, change.type == "DELETED"
        if (reconciler := self._reconcilers.get(change.kind)) is not None:
            await (reconciler.deleted(obj) if gone else reconciler.changed(obj))
        elif change.kind == JOB and gone:
            await self._jobsinks.job_deleted(obj)
        elif change.kind == CRD_KEY:
            for source in self._store.list(APISERVER_SOURCE):
                await self._apiservers.changed(source)

    def _referring(self, key: Reference) -> Iterator[tuple[str, Object]]:
        for kind, reconciler in self._reconcilers.items():
            for obj in self._store.list(kind):
                if key in reconciler.references(obj):
                    yield kind, obj


def _declared_anew(change: Change) -> bool:
    """Tell a change of what is declared from one of status, our own writes above all."""
    if change.old is None:
        return True
    old, new = change.old["metadata"], change.object["metadata"]
    return any(old.get(field) != new.get(field) for field in ("generation", "annotations", "uid"))
