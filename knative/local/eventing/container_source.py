"""ContainerSources: a program that is kept running and told where its events go.

Guarantees: one process for each source, with K_SINK and K_CE_OVERRIDES in every container's environment, while its
sink leads somewhere; it is started again when it ends, after a growing pause, and anew when the source or its sink
changes; it ends with the source and with the host. Nothing runs where there is no ContainerSource.
Source: sources.knative.dev/v1 ContainerSource (a Deployment and a SinkBinding there).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from dataclasses import dataclass, field
from typing import Any

from zeroflow.errors import ZeroflowError
from zeroflow.knative.local.api.errors import NotFound
from zeroflow.knative.local.api.objects import Object, copy, generated_name
from zeroflow.knative.local.api.state import Change
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.api.subscriptions import Following
from zeroflow.knative.local.eventing import destinations, overrides
from zeroflow.knative.local.eventing.conditions import Conditions
from zeroflow.knative.local.eventing.destinations import RECEIVERS, Resolver
from zeroflow.knative.local.eventing.errors import InvalidSpec, Unresolved
from zeroflow.knative.local.eventing.sinkbinding import bind
from zeroflow.knative.local.eventing.status import StatusWriter
from zeroflow.knative.local.processes.pod_run import PodRun
from zeroflow.knative.local.processes.pods import PodContext, shell_code
from zeroflow.resources.owners import owned_by

logger = logging.getLogger(__name__)

CONTAINER_SOURCE = "ContainerSource.sources.knative.dev"
SOURCE_LABEL = "sources.knative.dev/containerSource"
BACKOFF_S = (0.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0)
SETTLED_S = 600.0  # a program that ran for so long has no history of failures
_CONDITIONS = ("SinkBindingReady", "ReceiveAdapterReady")


def check_container_source(new: Object, old: Object | None) -> Object:
    """Check sink and template."""
    spec, namespace = new.get("spec") or {}, new["metadata"].get("namespace", "")
    new["spec"] = spec
    destinations.validate(spec.get("sink"), "spec.sink")
    spec["sink"] = destinations.with_namespace(spec["sink"], namespace)
    overrides.extensions(spec)
    containers = ((spec.get("template") or {}).get("spec") or {}).get("containers")
    if not containers:
        raise InvalidSpec("spec.containers", "missing")
    for index, container in enumerate(containers):
        for name in ("name", "image"):
            if not isinstance(container, dict) or not container.get(name):
                raise InvalidSpec(f"spec.containers[{index}].{name}", "missing")
    return new


@dataclass(eq=False)
class _Kept:
    """A source's program as it runs now, and what it was started for."""

    wanted: Any
    task: asyncio.Task[None] | None = None
    run: PodRun | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class ContainerSources:
    """Keeps the programs of all ContainerSources running."""

    def __init__(
        self, store: Store, context: PodContext, resolver: Resolver, backoff_s: tuple[float, ...] = BACKOFF_S
    ) -> None:
        self._store, self._context, self._resolver, self._backoff_s = store, context, resolver, backoff_s
        self._status = StatusWriter(store)
        self._kept: dict[str, _Kept] = {}
        self._following: Following | None = None

    async def start(self) -> None:
        """Start what is declared, then follow changes."""
        kinds = (CONTAINER_SOURCE, *RECEIVERS, "ConfigMap", "Secret", "PersistentVolumeClaim")
        self._following = Following(self._store.subscribe(kinds, replay=False, copies=False), self._heed)
        for source in self._store.list(CONTAINER_SOURCE):
            await self._changed(source)
        self._following.go()

    async def close(self) -> None:
        """End all programs."""
        if self._following is not None:
            await self._following.close()
        await asyncio.gather(*(self._stop(uid, grace_s=2.0) for uid in list(self._kept)))

    async def _heed(self, change: Change) -> None:
        metadata = change.object["metadata"]
        try:
            if change.kind == CONTAINER_SOURCE and change.type == "DELETED":
                await self._stop(metadata["uid"])
            elif change.kind == CONTAINER_SOURCE:
                await self._changed(self._store.get(CONTAINER_SOURCE, metadata["namespace"], metadata["name"]))
            elif change.kind not in RECEIVERS:
                for kept in self._kept.values():
                    kept.changed.set()
            elif change.type != "MODIFIED":
                await self._sink_changed((change.kind, metadata["namespace"], metadata["name"]))
        except NotFound:
            logger.debug("container source %s is gone again", metadata["name"])
        except Exception:
            logger.exception("container source not reconciled: %s", metadata["name"])

    async def _sink_changed(self, key: destinations.Reference) -> None:
        for source in self._store.list(CONTAINER_SOURCE):
            if key in destinations.references(source["metadata"]["namespace"], source["spec"]["sink"]):
                await self._changed(source)

    async def _changed(self, source: Object) -> None:
        """Run what the source says now."""
        metadata, spec = source["metadata"], source["spec"]
        try:
            uri = self._resolver.resolve(spec["sink"], metadata["namespace"]).uri
        except Unresolved as error:
            await self._stop(metadata["uid"])
            await self._write(source, None, sink=error)
            return
        wanted = (spec["template"], uri, spec.get("ceOverrides"))
        kept = self._kept.get(metadata["uid"])
        if kept is not None and kept.wanted == wanted:
            return
        await self._stop(metadata["uid"])
        kept = self._kept[metadata["uid"]] = _Kept(wanted)
        kept.task = asyncio.get_running_loop().create_task(self._keep(source, kept, uri))

    async def _keep(self, source: Object, kept: _Kept, uri: str) -> None:
        failures, loop = 0, asyncio.get_running_loop()
        await self._write(source, uri, adapter=("Unknown", "DeploymentUnavailable", "its process is being started"))
        while True:
            if kept.run is not None:  # until now it could be looked at
                _forget(kept.run)
            kept.run = PodRun(self._context, _pod(source, uri))
            begun = loop.time()
            running = loop.create_task(self._tell(source, uri, kept.run))
            try:
                why = f"exit code {shell_code(await kept.run.run(kept.changed))}"
            except ZeroflowError as error:
                why = str(error)
            finally:
                running.cancel()
            failures = 0 if loop.time() - begun > SETTLED_S else failures + 1
            pause_s = self._backoff_s[min(failures, len(self._backoff_s)) - 1] if failures else 0.0
            message = f"its process has ended ({why}) and is started again in {pause_s:g} s"
            logger.info("container source %s: %s", source["metadata"]["name"], message)
            await self._write(source, uri, adapter=("False", "CrashLoopBackOff", message))
            await asyncio.sleep(pause_s)

    async def _tell(self, source: Object, uri: str, run: PodRun) -> None:
        """Write the status when the process runs."""
        await run.started.wait()
        await self._write(source, uri, adapter=("True", "", ""))

    async def _stop(self, uid: str, grace_s: float | None = None) -> None:
        kept = self._kept.pop(uid, None)
        if kept is None or kept.task is None:
            return
        if kept.run is not None:
            await kept.run.stop(grace_s)
        kept.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await kept.task
        if kept.run is not None:
            _forget(kept.run)

    async def _write(
        self,
        source: Object,
        uri: str | None,
        *,
        sink: Unresolved | None = None,
        adapter: tuple[str, str, str] = ("Unknown", "DeploymentUnavailable", "nothing runs while its sink is missing"),
    ) -> None:
        conditions = Conditions(_CONDITIONS)
        if sink is None:
            conditions.true("SinkBindingReady")
        else:
            conditions.false("SinkBindingReady", sink.why, str(sink))
        status, *why = adapter
        mark = {"True": conditions.true, "False": conditions.false, "Unknown": conditions.unknown}[status]
        mark("ReceiveAdapterReady", *why)
        metadata = source["metadata"]
        found = self._store.find(CONTAINER_SOURCE, metadata["namespace"], metadata["name"])
        if found is not None and found["metadata"]["uid"] == metadata["uid"]:
            found["metadata"].pop("resourceVersion")
            await self._status.write(conditions.written(found, {"sinkUri": uri}))


def _forget(run: PodRun) -> None:
    """Remove a Pod that has ended, and what it has written."""
    run.record.remove()
    shutil.rmtree(run.log.parent, ignore_errors=True)


def _pod(source: Object, uri: str) -> Object:
    metadata, template = source["metadata"], copy(source["spec"]["template"])
    given = template.get("metadata") or {}
    spec = {"restartPolicy": "Always", **template["spec"], "nodeName": "localhost"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": generated_name(f"{metadata['name']}-deployment-"),
            "namespace": metadata["namespace"],
            "labels": {**(given.get("labels") or {}), SOURCE_LABEL: metadata["name"]},
            "annotations": dict(given.get("annotations") or {}),
            "ownerReferences": owned_by(source),
        },
        "spec": spec,
    }
    bind({"template": pod}, uri, source["spec"].get("ceOverrides"))
    return pod
