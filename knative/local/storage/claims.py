"""The controller of PersistentVolumeClaims: binds each to a directory of the home, removes what no claim holds.

A claim is Bound once its directory is there; a larger request is granted at once. A claim that is deleted goes when
no running Pod uses it (finalizer kubernetes.io/pvc-protection), and its directory with it, as with a StorageClass
whose reclaimPolicy is Delete. Directories carry the claim's uid: a new claim of an old name never sees old bytes,
and what a crash left behind is removed at the next start.
Source: Kubernetes "Persistent Volumes" (binding, storage object in use protection, reclaiming).
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from pathlib import Path
from typing import Any

from zeroflow.errors import ZeroflowError
from zeroflow.knative.local.api.happenings import Recorder
from zeroflow.knative.local.api.objects import copy
from zeroflow.knative.local.api.state import Change
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.processes.pods import Places
from zeroflow.knative.local.processes.volumes import claim_names
from zeroflow.knative.local.storage import admission
from zeroflow.knative.local.storage.admission import CLAIM_KIND, PROTECTION, requested

Object = dict[str, Any]
logger = logging.getLogger(__name__)


class Claims:
    """Keep the claims of the store bound."""

    def __init__(self, store: Store, home: Places) -> None:
        self._store, self._home = store, home
        self._recorder = Recorder(store, "zeroflow")
        self._listener: asyncio.Task[None] | None = None
        self._removals: set[asyncio.Task[None]] = set()
        admission.register(store)

    async def start(self) -> None:
        """Bind what was declared while nobody looked, remove directories without a claim, and listen."""
        subscription = self._store.subscribe((CLAIM_KIND, "Pod"), replay=False, copies=False)
        claims = self._store.list(CLAIM_KIND)
        await asyncio.to_thread(_sweep, self._home.volumes, {self._directory(claim) for claim in claims})
        for claim in claims:
            await self._heed(claim)
        self._listener = asyncio.get_running_loop().create_task(self._listen(subscription))

    async def close(self) -> None:
        """Stop listening; removals in progress are finished."""
        if self._listener is not None:
            self._listener.cancel()
        await asyncio.gather(*self._removals, return_exceptions=True)

    async def _listen(self, subscription: Any) -> None:
        async for change in subscription:
            try:
                await self._react(change)
            except Exception:  # one odd object must not stop the others
                logger.exception("volumes: cannot handle a change of %s", change.kind)

    async def _react(self, change: Change) -> None:
        if change.kind == CLAIM_KIND:
            if change.type == "DELETED":
                self._remove(self._directory(change.object))
            else:
                await self._heed(copy(change.object))
        elif _ended(change):
            namespace = change.object["metadata"]["namespace"]
            for name in claim_names(change.object):
                claim = self._store.find(CLAIM_KIND, namespace, name)
                if claim is not None and claim["metadata"].get("deletionTimestamp"):
                    await self._release(claim)

    async def _heed(self, claim: Object) -> None:
        try:
            if claim["metadata"].get("deletionTimestamp"):
                await self._release(claim)
            else:
                await self._bind(claim)
        except ZeroflowError as error:  # changed or gone in between: the later change is heeded
            logger.debug("claim %s: %s", claim["metadata"]["name"], error)

    async def _bind(self, claim: Object) -> None:
        directory = self._directory(claim)
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            self._recorder.note(claim, "ProvisioningFailed", f"{directory}: {error.strerror}", warning=True)
            return
        metadata, spec = claim["metadata"], claim["spec"]
        name = f"pvc-{metadata['uid']}"
        if spec.get("volumeName") != name:
            spec["volumeName"] = name
            claim = await self._store.update(claim)
            self._recorder.note(claim, "ProvisioningSucceeded", f"Successfully provisioned volume {name}")
        status = {
            "phase": "Bound",
            "accessModes": spec["accessModes"],
            "capacity": {"storage": requested(claim)},
        }
        claim["metadata"].pop("resourceVersion", None)
        await self._store.update_status({**claim, "status": status})

    async def _release(self, claim: Object) -> None:
        """Let a deleted claim go unless a Pod that runs, or will, uses it."""
        metadata = claim["metadata"]
        for pod in self._store.peek("Pod", metadata["namespace"]):
            phase = (pod.get("status") or {}).get("phase")
            if phase not in ("Succeeded", "Failed") and metadata["name"] in claim_names(pod):
                return
        kept = [finalizer for finalizer in metadata.get("finalizers") or () if finalizer != PROTECTION]
        if kept != metadata.get("finalizers"):
            await self._store.update({**claim, "metadata": {**metadata, "finalizers": kept}})

    def _directory(self, claim: Object) -> Path:
        metadata = claim["metadata"]
        return self._home.volume(metadata["namespace"], metadata["name"], metadata["uid"])

    def _remove(self, directory: Path) -> None:
        task = asyncio.get_running_loop().create_task(asyncio.to_thread(_erase, directory))
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)


def _ended(change: Change) -> bool:
    return change.type == "DELETED" or (change.object.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _erase(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    try:
        directory.parent.rmdir()  # the namespace's, when that was the last
    except OSError:
        return


def _sweep(root: Path, claimed: set[Path]) -> None:
    for directory in root.glob("*/*"):
        if directory not in claimed:
            logger.info("volumes: removing %s, which no claim holds any more", directory)
            _erase(directory)
