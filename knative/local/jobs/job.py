"""One Job from its creation to its end: which pods run, what counts as failed, when it is over.

What has happened is in the Job's status, written before a process starts and after it has ended, so that a restarted
host goes on from there: pods that ran when the host went away count as failed, and are started again as far as
backoffLimit allows.
Source: Kubernetes Job controller (reasons, messages, backoff).
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from zeroflow.errors import ZeroflowError
from zeroflow.knative.local.api.errors import NotFound
from zeroflow.knative.local.api.objects import generated_name, now
from zeroflow.knative.local.jobs.admission import JOB_KIND
from zeroflow.knative.local.jobs.pod import pod_object
from zeroflow.knative.local.processes.container import NotRunnable
from zeroflow.knative.local.processes.pod_run import PodRun
from zeroflow.knative.local.processes.pods import PodContext, shell_code

Object = dict[str, Any]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Backoff:
    """How long after the n-th failure in a row the next pod starts; shorter in tests."""

    first_s: float = 10.0
    most_s: float = 360.0

    def after(self, failures: int) -> float:
        """Return the delay after this many failures."""
        return min(self.most_s, self.first_s * 2.0 ** (failures - 1)) if failures else 0.0


class JobRun:
    """Drives one Job; `drive` returns when the Job has finished or is gone."""

    def __init__(self, context: PodContext, store: Any, job: Object, backoff: Backoff) -> None:
        self.uid: str = job["metadata"]["uid"]
        self.namespace: str = job["metadata"]["namespace"]
        self.name: str = job["metadata"]["name"]
        self.changed = asyncio.Event()  # the Job, or something that a pod waits for, has changed
        self._context, self._store, self._backoff = context, store, backoff
        self._pods: dict[PodRun, asyncio.Task[int]] = {}
        self._sources: dict[PodRun, asyncio.Event] = {}
        self._loop = asyncio.get_running_loop()
        self._failures_in_a_row = 0
        self._not_before_s = 0.0
        self._started_s: float | None = None  # exact, where this host has started it; startTime has whole seconds
        self.grace_s: float | None = None  # instead of the pods' own, when the host ends

    def wake_sources(self) -> None:
        """Let pods look again for ConfigMaps, Secrets and claims that were missing."""
        for event in self._sources.values():
            event.set()

    async def drive(self) -> None:
        """Run the Job to its end."""
        try:
            await self._recover()
            job = self._job()
            while job is not None and not finished(job):
                self.changed.clear()
                if job["spec"].get("suspend"):
                    await self._suspend(job)
                else:
                    await self._advance(job)
                job = self._job()
                if job is None or finished(job):
                    break
                await self._wait(job)
                job = await self._collect()
        except NotFound:
            pass  # deleted in between
        finally:
            await self._stop_all()

    def _job(self) -> Object | None:
        job: Object | None = self._store.find(JOB_KIND, self.namespace, self.name)
        return job if job is not None and job["metadata"]["uid"] == self.uid else None

    async def _recover(self) -> None:
        """Count the pods of an earlier host as failed."""
        job = self._job()
        if job is None or finished(job) or not (job.get("status") or {}).get("active"):
            return
        status = job["status"]
        status["failed"] = status.get("failed", 0) + status["active"]
        status["active"] = 0
        logger.warning("job %s/%s: its pod was lost with the host; it is started again", self.namespace, self.name)
        await self._write(job)

    async def _advance(self, job: Object) -> None:
        """Decide whether it is over; otherwise start what is missing."""
        spec, status = job["spec"], job.setdefault("status", {})
        if "startTime" not in status:
            status["startTime"], self._started_s = now(), self._loop.time()
        set_condition(status, "Suspended", "False", "JobResumed", "Job resumed", only_known=True)
        succeeded, failed = status.get("succeeded", 0), status.get("failed", 0)
        completions = spec.get("completions")
        if failed > spec["backoffLimit"]:
            await self._fail(job, "BackoffLimitExceeded", "Job has reached the specified backoff limit")
            return
        if self._remaining_s(job) == 0:
            await self._fail(job, "DeadlineExceeded", "Job was active longer than specified deadline")
            return
        if succeeded >= (1 if completions is None else completions) and (completions is not None or not self._pods):
            status["completionTime"] = now()
            set_condition(status, "Complete", "True", "CompletionsReached", "Reached expected number of succeeded pods")
            await self._write(job)
            self._note(job, "Completed", "Job completed")
            return
        wanted = spec["parallelism"] if completions is None else min(spec["parallelism"], completions - succeeded)
        if completions is None and succeeded:
            wanted = len(self._pods)  # a work queue that has been emptied starts nothing more
        missing = wanted - len(self._pods)
        if missing > 0 and self._loop.time() < self._not_before_s:
            missing = 0
        status["active"] = len(self._pods) + missing
        await self._write(job)  # before the process: a host that dies now knows of it
        for _ in range(missing):
            self._start(job)
        for pod in list(self._pods)[missing:] if missing < 0 else ():
            await self._stop(pod)

    def _start(self, job: Object) -> None:
        pod = PodRun(self._context, pod_object(job, generated_name(f"{self.name}-")))
        self._sources[pod] = asyncio.Event()
        self._pods[pod] = self._loop.create_task(pod.run(self._sources[pod]))
        self._note(job, "SuccessfulCreate", f"Created pod: {pod.name}")

    def _note(self, job: Object, reason: str, message: str, *, warning: bool = False) -> None:
        if self._context.recorder is not None:
            self._context.recorder.note(job, reason, message, warning=warning)

    async def _wait(self, job: Object) -> None:
        """Wait for the end of a pod, a change, the deadline, or the end of the backoff."""
        times = [remaining] if (remaining := self._remaining_s(job)) is not None else []
        if len(self._pods) < job["spec"]["parallelism"] and (delay := self._not_before_s - self._loop.time()) > 0:
            times.append(delay)
        waiting = self._loop.create_task(self.changed.wait())
        try:
            await asyncio.wait(
                [waiting, *self._pods.values()],
                timeout=min(times) if times else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            waiting.cancel()

    async def _collect(self) -> Object | None:
        """Return the Job as it is now, with the pods that have ended counted.

        The count is written with what follows from it; at once where others have to be stopped first, which takes time.
        """
        ended = [(pod, task) for pod, task in self._pods.items() if task.done()]
        for pod, _ in ended:
            await pod.record.settled()  # who sees that the Job has ended must see how its pods have
        job = self._job()
        if not ended or job is None:
            return job
        status = job.setdefault("status", {})
        for pod, task in ended:
            self._forget(pod)
            failure = _failure(task)
            if failure is None:
                status["succeeded"] = status.get("succeeded", 0) + 1
                self._failures_in_a_row = 0
                continue
            status["failed"] = status.get("failed", 0) + 1
            self._failures_in_a_row += 1
            logger.info("job %s/%s: pod %s: %s", self.namespace, self.name, pod.name, failure)
            error = task.exception()
            if isinstance(error, NotRunnable):
                await self._fail(job, error.reason, str(error))
                return self._job()
        status["active"] = len(self._pods)
        self._not_before_s = self._loop.time() + self._backoff.after(self._failures_in_a_row)
        if not self._pods:
            return job
        await self._write(job)
        return self._job()

    async def _suspend(self, job: Object) -> None:
        if self._pods:
            self._note(job, "Suspended", "Job suspended")
        await self._stop_all()
        status = job.setdefault("status", {})
        status.pop("startTime", None)
        status["active"] = 0
        set_condition(status, "Suspended", "True", "JobSuspended", "Job suspended")
        await self._write(job)

    async def _fail(self, job: Object, reason: str, message: str) -> None:
        status = job["status"]
        status["failed"] = status.get("failed", 0) + len(self._pods)
        await self._stop_all()
        set_condition(status, "Failed", "True", reason, message)
        await self._write(job)
        self._note(job, reason, message, warning=True)

    def _remaining_s(self, job: Object) -> float | None:
        """Return the seconds until the deadline; None when there is none."""
        limit = job["spec"].get("activeDeadlineSeconds")
        started = (job.get("status") or {}).get("startTime")
        if limit is None or started is None:
            return None
        if self._started_s is not None:
            return max(0.0, float(limit) - (self._loop.time() - self._started_s))
        return max(0.0, float(limit) - (datetime.now(UTC) - parse(started)).total_seconds())

    async def _write(self, job: Object) -> None:
        status = job["status"]
        if finished(job):
            status["active"] = 0
        status["ready"] = status.get("active", 0)
        job["metadata"].pop("resourceVersion", None)
        await self._store.update_status(job)

    async def _stop_all(self) -> None:
        await asyncio.gather(*(self._stop(pod) for pod in list(self._pods)))

    async def _stop(self, pod: PodRun) -> None:
        """End a pod that nobody needs any more; it counts as neither."""
        task = self._pods[pod]
        await pod.stop(self.grace_s)
        if not task.done():
            task.cancel()
        await asyncio.wait([task])
        self._forget(pod)
        pod.record.remove()

    def _forget(self, pod: PodRun) -> None:
        self._pods.pop(pod, None)
        self._sources.pop(pod, None)


def finished(job: Object) -> bool:
    """Return whether a Job is Complete or Failed."""
    conditions = (job.get("status") or {}).get("conditions") or ()
    return any(
        condition["type"] in ("Complete", "Failed") and condition["status"] == "True" for condition in conditions
    )


def finished_at(job: Object) -> datetime:
    """Return when a finished Job has finished."""
    status = job["status"]
    times = [c["lastTransitionTime"] for c in status["conditions"] if c["type"] in ("Complete", "Failed")]
    return parse(status.get("completionTime") or times[0])


def set_condition(
    status: Object, type_: str, value: str, reason: str, message: str, *, only_known: bool = False
) -> None:
    """Set one condition of a Job; with `only_known` only when it was there before with another value."""
    conditions = status.setdefault("conditions", [])
    found = next((condition for condition in conditions if condition["type"] == type_), None)
    if found is None:
        if only_known:
            return
        conditions.append(found := {"type": type_})
    if found.get("status") != value:
        found["lastTransitionTime"] = now()
    found |= {"status": value, "reason": reason, "message": message, "lastProbeTime": found["lastTransitionTime"]}


def parse(time: str) -> datetime:
    """Read a metav1.Time."""
    return datetime.fromisoformat(time)


def _failure(task: asyncio.Task[int]) -> str | None:
    if task.cancelled():
        return "stopped"
    error = task.exception()
    if error is None:
        return None if task.result() == 0 else f"exit code {shell_code(task.result())}"
    if not isinstance(error, ZeroflowError | OSError):
        logger.error("a pod was lost", exc_info=error)
    return str(error)
