"""Brings the Jobs of a TrainJob in line with what it declares, and says in its status how it stands.

Level-triggered and idempotent: Jobs have names that follow from the TrainJob's. While it runs it has no condition, as
the Trainer's clients expect; when it is over it is Complete or Failed and its Jobs stay for their logs. What is not
built fails it by name. Source: Kubeflow Trainer (conditions and reasons, jobsStatus), JobSet (a Job that fails ends
the others).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zeroflow.errors import Forbidden, InvalidInput
from zeroflow.functions.training import nodes, runtimes
from zeroflow.functions.training.runtimes import API_VERSION, KIND, NODE, NotSupported
from zeroflow.resources.client import Resources
from zeroflow.resources.conditions import condition, find_condition, is_true, set_condition
from zeroflow.resources.starting_over import starting_over

Object = dict[str, Any]
logger = logging.getLogger(__name__)

JOB_API, JOB = "batch/v1", "Job"


@dataclass(frozen=True)
class Reconciler:
    """Reconciles TrainJobs."""

    resources: Callable[[], Resources]

    def reconcile(self, namespace: str, name: str) -> None:
        """Bring one TrainJob up to date. Raises Conflict."""
        starting_over(lambda: self._once(namespace, name))

    def _once(self, namespace: str, name: str) -> None:
        train_job = self.resources().find(API_VERSION, KIND, namespace, name)
        if train_job is None or train_job["metadata"].get("deletionTimestamp"):
            return  # what it owns goes with it
        if has_ended(train_job):
            return
        try:
            plan = runtimes.plan(train_job, self.resources())
            jobs = self._jobs(train_job, plan)
        except NotSupported as error:
            self._write(train_job, [], ended("Failed", "TrainingRuntimeNotSupported", str(error)))
            return
        except (InvalidInput, Forbidden) as error:
            self._write(train_job, [], ended("Failed", "JobsNotCreated", str(error)))
            return
        if train_job["spec"].get("suspend"):
            self._write(train_job, jobs, condition("Suspended", "True", "Suspended", "TrainJob is suspended"))
            return
        outcome = verdict(jobs, plan.nodes)
        if outcome is not None:
            for job in jobs:
                if not (is_true(job, "Complete") or is_true(job, "Failed")):
                    self.resources().delete(JOB_API, JOB, namespace, job["metadata"]["name"])
        elif find_condition(train_job, "Suspended") is not None:
            outcome = condition("Suspended", "False", "Resumed", "TrainJob is resumed")
        self._write(train_job, jobs, outcome)

    def _jobs(self, train_job: Object, plan: runtimes.Plan) -> list[Object]:
        """Return the nodes' Jobs; create those that are missing, or delete them while it is suspended."""
        namespace = train_job["metadata"]["namespace"]
        names = [nodes.job_name(train_job, index) for index in range(plan.nodes)]
        found: list[Object | None] = [self.resources().find(JOB_API, JOB, namespace, name) for name in names]
        there = [job for job in found if job is not None]
        if train_job["spec"].get("suspend"):
            for job in there:
                self.resources().delete(JOB_API, JOB, namespace, job["metadata"]["name"])
            return []
        port = nodes.master_port(there)
        for index, present in enumerate(found):
            if present is None:
                there.append(self.resources().create(nodes.job(train_job, plan, index, port)))
        return there

    def _write(self, train_job: Object, jobs: list[Object], outcome: Object | None) -> None:
        before = train_job.get("status") or {}
        status = {**before, "jobsStatus": [counted(jobs)]}
        if outcome is not None:
            status["conditions"] = set_condition(before.get("conditions") or [], outcome)
        if status != before:
            self.resources().write_status({**train_job, "status": status})
        if outcome is not None:
            logger.info("trainjob=%s %s: %s", train_job["metadata"]["name"], outcome["type"], outcome["message"])


def has_ended(train_job: Object) -> bool:
    """Say whether a TrainJob is over."""
    return is_true(train_job, "Complete") or is_true(train_job, "Failed")


def ended(kind: str, reason: str, message: str) -> Object:
    """Return the condition of a TrainJob that is over."""
    return condition(kind, "True", reason, message)


def verdict(jobs: list[Object], wanted: int) -> Object | None:
    """Return the condition by which a TrainJob ends, None while it goes on."""
    for job in jobs:
        failed = find_condition(job, "Failed")
        if failed is not None and failed.get("status") == "True":
            reason = "DeadlineExceeded" if failed.get("reason") == "DeadlineExceeded" else "FailedJobs"
            return ended("Failed", reason, f"{job['metadata']['name']}: {failed.get('message', '')}")
    if len(jobs) == wanted and all(is_true(job, "Complete") for job in jobs):
        return ended("Complete", "AllJobsCompleted", "all nodes have completed")
    return None


def counted(jobs: list[Object]) -> Object:
    """Return how many nodes stand how."""
    done = sum(is_true(job, "Complete") for job in jobs)
    failed = sum(is_true(job, "Failed") for job in jobs)
    statuses = [job.get("status") or {} for job in jobs]
    return {
        "name": NODE,
        "ready": sum(min(1, int(each.get("ready") or 0)) for each in statuses),
        "succeeded": done,
        "failed": failed,
        "active": sum(min(1, int(each.get("active") or 0)) for each in statuses),
        "suspended": 0,
    }
