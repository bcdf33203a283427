"""The trial function's edge: which events wake it, and for which Experiment.

`dev.knative.apiserver.resource.{add,update,delete}` of an Experiment, of a Job of one of its trials, or of a deleted
Trial: reconcile that Experiment. What cannot matter is answered at once: a change of nothing but a status that this
function wrote, and a Job that goes on as it did.

When an Experiment has ended, `dev.zeroflow.experiment.finished` says so once, so that a Trigger can start what follows;
`dev.zeroflow.experiment.succeeded` tells of the best trial, which the registry makes a version of when that is asked.

Served by `gunicorn zeroflow.functions.trial.handler:create_app()`.
"""

import logging
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from flask import Flask

from zeroflow.errors import InvalidInput
from zeroflow.events import Delivery, FunctionApp
from zeroflow.functions.trial import announcing, conditions
from zeroflow.functions.trial.reconcile import Reconciler
from zeroflow.functions.trial.records import Records
from zeroflow.functions.trial.trials import Trials
from zeroflow.functions.trial.workload import JOB
from zeroflow.resources.client import LazyResources, Resources
from zeroflow.resources.conditions import is_current, is_true
from zeroflow.settings import Settings
from zeroflow.tuning.spec import EXPERIMENT, EXPERIMENT_LABEL

logger = logging.getLogger(__name__)

FUNCTION = "trial"
ADD, UPDATE, DELETE = (f"dev.knative.apiserver.resource.{verb}" for verb in ("add", "update", "delete"))
FINISHED = "dev.zeroflow.experiment.finished"
SUCCEEDED = "dev.zeroflow.experiment.succeeded"


def create_app(settings: Settings | None = None, resources: Callable[[], Resources] | None = None) -> Flask:
    """Return the WSGI application; `resources` gives the client of the Kubernetes API when it is first needed."""
    settings = settings or Settings.from_environment()
    app = FunctionApp.from_settings(FUNCTION, settings)
    resources = resources or LazyResources(f"zeroflow-{FUNCTION}")
    records = Records(app.database)
    reconciler = Reconciler(resources, Trials(resources, records, partial(manager_address, settings.sink)))

    def on_change(delivery: Delivery) -> None:
        concerned = _concerned(delivery.type, delivery.data())
        if concerned is None:
            return
        job = _ended_job(delivery.type, delivery.data())
        experiment = reconciler.reconcile(*concerned, job)
        if experiment is not None and conditions.outcome(experiment.get("status") or {}) is not None:
            _announce(delivery, experiment, records)

    for change in (ADD, UPDATE, DELETE):
        app.on(change, lambda delivery: _concerned(delivery.type, delivery.data()) is not None, repeatable=True)(
            on_change
        )
    return app.flask


def manager_address(sink: str | None) -> str | None:
    """Return host:port at which trials can push metrics: as set, or where the broker is."""
    if given := os.environ.get("KATIB_DB_MANAGER_ADDRESS"):
        return given
    parts = urlsplit(sink or "")
    return f"{parts.hostname}:{parts.port or 80}" if parts.hostname else None


def _concerned(event_type: str, obj: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return namespace and name of the Experiment to look at; None when the change cannot matter to one."""
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict) or not metadata.get("name") or not metadata.get("namespace"):
        raise InvalidInput("event data must be a namespaced Kubernetes object (ApiServerSource, mode Resource)")
    if obj.get("kind") == EXPERIMENT:
        if event_type == UPDATE and is_current(dict(obj)):
            return None
        return metadata["namespace"], metadata["name"]
    experiment = (metadata.get("labels") or {}).get(EXPERIMENT_LABEL)
    if not experiment or (obj.get("kind") == JOB and not _matters(event_type, dict(obj))):
        return None
    return metadata["namespace"], experiment


def _matters(event_type: str, job: dict[str, Any]) -> bool:
    """Say whether a Job has ended, was taken away before it had, or has a pod that failed."""
    ended = _has_ended(job)
    if event_type == DELETE:
        return not ended
    return ended or bool((job.get("status") or {}).get("failed"))


def _ended_job(event_type: str, obj: dict[str, Any]) -> dict[str, Any] | None:
    """Return the Job that has ended, when that is all that the event says."""
    is_over = obj.get("kind") == JOB and event_type != DELETE and not obj["metadata"].get("deletionTimestamp")
    return obj if is_over and _has_ended(obj) else None


def _has_ended(job: dict[str, Any]) -> bool:
    return is_true(job, "Complete") or is_true(job, "Failed")


def _announce(delivery: Delivery, experiment: dict[str, Any], records: Records) -> None:
    """Tell, once for each time that it ends, how an Experiment ended and what was best."""
    metadata, status = experiment["metadata"], experiment["status"]
    kind = conditions.outcome(status)
    condition = conditions.find(status, kind) if kind else None
    if condition is None:
        return
    ended = announcing.Ended(experiment, str(kind), condition)
    best = records.find(metadata["namespace"], ended.best_trial) if ended.best_trial else None
    with delivery.transaction() as tx:
        tx.emit(FINISHED, subject=ended.subject, event_id=ended.event_id("finished"), data=ended.finished())
        if kind == "Succeeded" and best is not None:
            tx.emit(SUCCEEDED, subject=ended.subject, event_id=ended.event_id("succeeded"), data=ended.succeeded(best))
