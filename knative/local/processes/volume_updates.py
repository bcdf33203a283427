"""ConfigMaps and Secrets that change while Pods have them mounted: the files follow, as kubelet has them do.

Guarantees: a change that is committed is in the files of every running Pod a moment later, whole (volume_files.py);
a Pod that is made meanwhile misses none. As in Kubernetes what is mounted by `subPath`, and environment variables,
stay as they were, and so do the files of what is deleted.
"""

from __future__ import annotations

import asyncio
import logging

from zeroflow.knative.local.api.state import Change
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.api.subscriptions import Subscription
from zeroflow.knative.local.processes import volumes
from zeroflow.knative.local.processes.pods import PodContext

logger = logging.getLogger(__name__)

KINDS = ("ConfigMap", "Secret")


class VolumeUpdates:
    """Those of one host."""

    def __init__(self, store: Store, context: PodContext) -> None:
        self._store, self._context = store, context
        self._subscription: Subscription | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Follow from now on."""
        self._subscription = self._store.subscribe((*KINDS, "Pod"), replay=False, copies=False)
        self._task = asyncio.get_running_loop().create_task(self._listen(self._subscription))

    async def close(self) -> None:
        """Follow no more."""
        if self._subscription is not None and self._task is not None:
            self._subscription.close()
            await asyncio.wait([self._task])

    async def _listen(self, subscription: Subscription) -> None:
        async for change in subscription:
            try:
                self._heed(change)
            except Exception:  # one odd object must not stop the others
                logger.exception("volumes: cannot follow a change of %s", change.kind)

    def _heed(self, change: Change) -> None:
        if change.type == "DELETED":
            return
        if change.kind == "Pod":
            if change.type == "ADDED":  # what changed between the writing of its files and now
                volumes.refresh(self._context, change.object, None)
            return
        metadata = change.object["metadata"]
        for pod in self._store.peek("Pod", metadata["namespace"]):
            volumes.refresh(self._context, pod, (change.kind, metadata["name"]))
