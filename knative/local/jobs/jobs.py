"""The Job controller: one task for each Job that is not finished, timers for those that are to be removed.

Nothing polls: tasks wait for their processes, for changes of their Job, or for the time of the next attempt. A Job
that is deleted takes its process groups with it.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from datetime import UTC, datetime
from typing import Any

from zeroflow.images import Images
from zeroflow.knative.local.api.errors import NotFound
from zeroflow.knative.local.api.happenings import Recorder
from zeroflow.knative.local.api.state import Change
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.jobs import admission
from zeroflow.knative.local.jobs.admission import JOB_KIND
from zeroflow.knative.local.jobs.job import Backoff, JobRun, finished, finished_at
from zeroflow.knative.local.jobs.restoring import restore
from zeroflow.knative.local.processes.launcher import Launcher
from zeroflow.knative.local.processes.pods import Places, PodContext

Object = dict[str, Any]
logger = logging.getLogger(__name__)


class Jobs:
    """Run the Jobs of the store."""

    def __init__(self, store: Store, launcher: Launcher, home: Places, *, backoff: Backoff | None = None) -> None:
        self._store, self._home = store, home
        self._context = PodContext(store, store.find, launcher, home, Recorder(store, "zeroflow"), Images(home.root))
        self._backoff = backoff or Backoff()
        self._runs: dict[str, tuple[JobRun, asyncio.Task[None]]] = {}
        self._removals: dict[str, asyncio.TimerHandle] = {}
        self._deletions: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Task[None] | None = None
        admission.register(store)

    async def start(self) -> None:
        """Go on with every Job that is not finished, and with those that come."""
        subscription = self._store.subscribe(
            (JOB_KIND, "Secret", "ConfigMap", "PersistentVolumeClaim", "Pod"), replay=False, copies=False
        )
        for job in self._store.list(JOB_KIND):
            await restore(self._store, self._home, job)
            self._heed_job(job)
        self._listener = asyncio.get_running_loop().create_task(self._listen(subscription))

    async def close(self, grace_s: float = 2.0) -> None:
        """End all processes, which have `grace_s` for it; the Jobs go on when the host is started again."""
        if self._listener is not None:
            self._listener.cancel()
        for handle in self._removals.values():
            handle.cancel()
        for run, _ in self._runs.values():
            run.grace_s = grace_s
        tasks = [task for _, task in self._runs.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *self._deletions, return_exceptions=True)
        self._runs.clear()

    @property
    def idle(self) -> bool:
        """Whether no Job is running."""
        return not self._runs

    async def _listen(self, subscription: Any) -> None:
        async for change in subscription:
            try:
                self._heed(change)
            except Exception:  # one odd object must not stop the others
                logger.exception("jobs: cannot handle a change of %s", change.kind)

    def _heed(self, change: Change) -> None:
        obj = change.object
        if change.kind == JOB_KIND:
            if change.type == "DELETED":
                self._remove(obj)
            else:
                self._heed_job(obj)
        elif change.kind == "Pod":
            if change.type == "DELETED":
                self._remove_log(obj)
        else:
            for run, _ in self._runs.values():
                if run.namespace == obj["metadata"]["namespace"]:
                    run.wake_sources()

    def _heed_job(self, job: Object) -> None:
        uid = job["metadata"]["uid"]
        if uid in self._runs:
            self._runs[uid][0].changed.set()
        elif finished(job):
            self._schedule_removal(job)
        else:
            run = JobRun(self._context, self._store, job, self._backoff)
            task = asyncio.get_running_loop().create_task(run.drive(), name=f"job {run.namespace}/{run.name}")
            self._runs[uid] = (run, task)
            task.add_done_callback(lambda done: self._done(uid, done))

    def _done(self, uid: str, task: asyncio.Task[None]) -> None:
        run, _ = self._runs.pop(uid)
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            logger.error("job %s/%s is not driven any more", run.namespace, run.name, exc_info=error)
            return
        job = self._store.find(JOB_KIND, run.namespace, run.name)
        if job is not None and job["metadata"]["uid"] == uid and finished(job):
            self._schedule_removal(job)

    def _schedule_removal(self, job: Object) -> None:
        """Delete a finished Job after its ttlSecondsAfterFinished."""
        ttl_s, uid = job["spec"].get("ttlSecondsAfterFinished"), job["metadata"]["uid"]
        if ttl_s is None or uid in self._removals:
            return
        delay_s = ttl_s - (datetime.now(UTC) - finished_at(job)).total_seconds()
        loop = asyncio.get_running_loop()
        self._removals[uid] = loop.call_later(max(0.0, delay_s), self._expire, job)

    def _expire(self, job: Object) -> None:
        task = asyncio.get_running_loop().create_task(self._delete(job))
        self._deletions.add(task)
        task.add_done_callback(self._deletions.discard)

    async def _delete(self, job: Object) -> None:
        meta = job["metadata"]
        found = self._store.find(JOB_KIND, meta["namespace"], meta["name"])
        if found is not None and found["metadata"]["uid"] == meta["uid"]:
            try:
                await self._store.delete(JOB_KIND, meta["namespace"], meta["name"])
            except NotFound:
                return

    def _remove(self, job: Object) -> None:
        uid = job["metadata"]["uid"]
        if (handle := self._removals.pop(uid, None)) is not None:
            handle.cancel()
        if uid in self._runs:
            self._runs[uid][0].changed.set()

    def _remove_log(self, pod: Object) -> None:
        """Remove what a Job's pod has written when the pod is gone, as a cluster would."""
        meta = pod["metadata"]
        if admission.JOB_NAME in (meta.get("labels") or {}):
            log = self._home.pod_log(meta["namespace"], meta["name"], "log")
            shutil.rmtree(log.parent, ignore_errors=True)
