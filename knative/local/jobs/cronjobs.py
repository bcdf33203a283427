"""The CronJob controller: a Job at each due time, its history, and what may run beside what.

Guarantees: a due time makes one Job, however often the host is restarted (its name follows from the time); of times
that passed while the host was down only the latest is made up for, within startingDeadlineSeconds; one timer exists,
for the next due time. Source: Kubernetes' CronJob controller (cronjob_controllerv2.go: names, events, order).
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from typing import Any

from zeroflow.errors import ZeroflowError
from zeroflow.knative.local.api.deletions import DeleteOptions
from zeroflow.knative.local.api.errors import AlreadyExists, NotFound
from zeroflow.knative.local.api.happenings import Recorder
from zeroflow.knative.local.api.objects import copy
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.clock import Clock, Handle, WallClock
from zeroflow.knative.local.jobs import cronjob_admission
from zeroflow.knative.local.jobs.admission import JOB_KIND
from zeroflow.knative.local.jobs.cronjob import (
    TOO_MANY_MISSED,
    job_at,
    most_recent,
    outcome,
    owns,
    reference_to,
    written,
)
from zeroflow.knative.local.jobs.cronjob_admission import CRONJOB_KIND, schedule_of
from zeroflow.knative.local.jobs.job import finished, finished_at, parse
from zeroflow.knative.local.schedules import Schedule

Object = dict[str, Any]
logger = logging.getLogger(__name__)

BACKGROUND = DeleteOptions("Background")


class CronJobs:
    """Drive the CronJobs of the store."""

    def __init__(self, store: Store, clock: Clock | None = None) -> None:
        self._store, self._clock = store, clock or WallClock()
        self._recorder = Recorder(store, "cronjob-controller")
        self._due: dict[str, tuple[datetime, str, str]] = {}  # uid -> next due time, namespace, name
        self._timer: Handle | None = None
        self._fired = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        cronjob_admission.register(store)

    async def start(self) -> None:
        """Go on with every CronJob, and with those that come."""
        subscription = self._store.subscribe((CRONJOB_KIND, JOB_KIND), replay=False, copies=False)
        for cronjob in self._store.list(CRONJOB_KIND):
            await self._heed(cronjob)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._listen(subscription)), loop.create_task(self._tick())]

    async def close(self) -> None:
        """Make no more Jobs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._due.clear()
        self._arm()

    async def _listen(self, subscription: Any) -> None:
        async for change in subscription:
            obj = change.object
            if change.kind == JOB_KIND:
                cronjob = self._owner(obj) if change.type == "DELETED" or finished(obj) else None
                if cronjob is not None:
                    await self._heed(cronjob)
            elif change.type == "DELETED":
                self._due.pop(obj["metadata"]["uid"], None)
                self._arm()
            elif change.old is None or change.old["metadata"].get("generation") != obj["metadata"].get("generation"):
                await self._heed(obj)

    async def _tick(self) -> None:
        while True:
            await self._fired.wait()
            self._fired.clear()
            now = self._clock.now()
            for due, namespace, name in list(self._due.values()):
                if due <= now and (cronjob := self._store.find(CRONJOB_KIND, namespace, name)) is not None:
                    await self._heed(cronjob)
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._due:
            self._timer = self._clock.call_at(min(due for due, _, _ in self._due.values()), self._fired.set)

    async def _heed(self, cronjob: Object) -> None:
        async with self._one_at_a_time:  # a tick and a change may want the same one
            await self._bring_up_to_date(cronjob)

    async def _bring_up_to_date(self, cronjob: Object) -> None:
        metadata = cronjob["metadata"]
        latest = self._store.find(CRONJOB_KIND, metadata["namespace"], metadata["name"])
        if latest is None or latest["metadata"]["uid"] != metadata["uid"]:
            return
        try:
            following = await self._sync(latest)
        except ZeroflowError as error:  # deleted in between, or its namespace is going
            logger.info("cronjob %s/%s: %s", metadata["namespace"], metadata["name"], error)
            following = None
        except Exception:  # one odd object must not stop the others
            logger.exception("cronjob %s/%s cannot be handled", metadata["namespace"], metadata["name"])
            following = None
        if following is None:
            self._due.pop(metadata["uid"], None)
        else:
            self._due[metadata["uid"]] = (following, metadata["namespace"], metadata["name"])
        self._arm()

    async def _sync(self, cronjob: Object) -> datetime | None:
        """Bring one CronJob up to date; return when to look again."""
        jobs = [job for job in self._store.list(JOB_KIND, cronjob["metadata"]["namespace"]) if owns(cronjob, job)]
        before = copy(cronjob)
        await self._prune(cronjob, jobs)
        self._take_stock(cronjob, jobs)
        following = None
        if not cronjob["metadata"].get("deletionTimestamp") and not cronjob["spec"]["suspend"]:
            schedule, now = schedule_of(cronjob["spec"]), self._clock.now()
            due = self._latest_due(cronjob, schedule, now)
            if due is not None:
                await self._start(cronjob, due, now)
            following = schedule.after(now)
        if cronjob.get("status") != before.get("status"):
            cronjob["metadata"].pop("resourceVersion", None)
            await self._store.update_status(cronjob)
        return following

    def _take_stock(self, cronjob: Object, jobs: list[Object]) -> None:
        """Bring status.active and lastSuccessfulTime up to date."""
        status = cronjob.setdefault("status", {})
        by_uid = {job["metadata"]["uid"]: job for job in jobs}
        active = []
        for reference in status.get("active") or ():
            job = by_uid.get(reference["uid"])
            if job is None:
                self._note(cronjob, "MissingJob", f"Active job went missing: {reference['name']}")
            elif finished(job):
                self._note(
                    cronjob, "SawCompletedJob", f"Saw completed job: {reference['name']}, condition: {outcome(job)}"
                )
            else:
                active.append(reference)
        status.pop("active", None)
        if active:
            status["active"] = active
        successes = [finished_at(job) for job in jobs if finished(job) and outcome(job) == "Complete"]
        if successes:
            latest = written(max(successes))
            status["lastSuccessfulTime"] = max(latest, status.get("lastSuccessfulTime", latest))

    async def _prune(self, cronjob: Object, jobs: list[Object]) -> None:
        """Delete the oldest finished Jobs beyond the history limits."""
        for how, limit in (("Complete", "successfulJobsHistoryLimit"), ("Failed", "failedJobsHistoryLimit")):
            ended = [job for job in jobs if finished(job) and outcome(job) == how]
            ended.sort(key=lambda job: ((job.get("status") or {}).get("startTime") or "", job["metadata"]["name"]))
            for job in ended[: max(0, len(ended) - cronjob["spec"][limit])]:
                await self._delete(cronjob, job)

    def _latest_due(self, cronjob: Object, schedule: Schedule, now: datetime) -> datetime | None:
        """Return the latest due time that has no Job yet; None when there is none or it is too late for it."""
        spec, status = cronjob["spec"], cronjob["status"]
        since = parse(status.get("lastScheduleTime") or cronjob["metadata"]["creationTimestamp"])
        deadline_s = spec.get("startingDeadlineSeconds")
        earliest = since if deadline_s is None else max(since, now - timedelta(seconds=deadline_s))
        due, missed = most_recent(schedule, earliest, now)
        if missed > TOO_MANY_MISSED:
            self._note(
                cronjob,
                "TooManyMissedTimes",
                "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew",
                warning=True,
            )
        return due

    async def _start(self, cronjob: Object, due: datetime, now: datetime) -> None:
        """Make the Job of a due time, as far as others let it."""
        metadata, spec, status = cronjob["metadata"], cronjob["spec"], cronjob["status"]
        name = f"{metadata['name']}-{int(due.timestamp()) // 60}"
        active = status.get("active") or []
        if any(reference["name"] == name for reference in active):
            return
        if spec["concurrencyPolicy"] == "Forbid" and active:
            message = "Not starting job because prior execution is running and concurrency policy is Forbid"
            self._note(cronjob, "JobAlreadyActive", message)
            return
        if spec["concurrencyPolicy"] == "Replace":
            for reference in active:
                job = self._store.find(JOB_KIND, metadata["namespace"], reference["name"])
                if job is not None:
                    await self._delete(cronjob, job)
            active = []
        job = job_at(cronjob, name, due)
        try:
            created = await self._store.create(job)
            self._note(cronjob, "SuccessfulCreate", f"Created job {name}")
        except AlreadyExists:  # made before a crash, whose status was not written
            created = self._store.get(JOB_KIND, metadata["namespace"], name)
            if not owns(cronjob, created):
                self._note(cronjob, "FailedCreate", f"a job {name} exists that is not this one's", warning=True)
                return
        except ZeroflowError as error:
            self._note(cronjob, "FailedCreate", f"Error creating job: {error}", warning=True)
            return
        if not finished(created):
            status["active"] = [*active, reference_to(created)]
        status["lastScheduleTime"] = written(due)

    async def _delete(self, cronjob: Object, job: Object) -> None:
        metadata = job["metadata"]
        try:
            await self._store.delete(JOB_KIND, metadata["namespace"], metadata["name"], BACKGROUND)
        except NotFound:
            return
        self._note(cronjob, "SuccessfulDelete", f"Deleted job {metadata['name']}")

    def _owner(self, job: Object) -> Object | None:
        for owner in job["metadata"].get("ownerReferences") or ():
            if owner.get("kind") == "CronJob" and owner.get("controller"):
                return self._store.find(CRONJOB_KIND, job["metadata"]["namespace"], owner["name"])
        return None

    def _note(self, cronjob: Object, reason: str, message: str, *, warning: bool = False) -> None:
        self._recorder.note(cronjob, reason, message, warning=warning)
