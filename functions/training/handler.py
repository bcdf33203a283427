"""The training function's edge: changes of TrainJobs, and of the Jobs of their nodes, reconcile a TrainJob.

Served by `gunicorn zeroflow.functions.training.handler:create_app()`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask

from zeroflow.errors import InvalidInput
from zeroflow.events import Delivery, FunctionApp
from zeroflow.functions.training.nodes import TRAIN_JOB_LABEL
from zeroflow.functions.training.reconcile import Reconciler
from zeroflow.functions.training.runtimes import KIND
from zeroflow.resources.client import LazyResources, Resources
from zeroflow.settings import Settings

FUNCTION = "training"
CHANGES = tuple(f"dev.knative.apiserver.resource.{verb}" for verb in ("add", "update", "delete"))


def create_app(settings: Settings | None = None, resources: Callable[[], Resources] | None = None) -> Flask:
    """Return the WSGI application; `resources` gives the client of the Kubernetes API when it is first needed."""
    settings = settings or Settings.from_environment()
    app = FunctionApp.from_settings(FUNCTION, settings)
    reconciler = Reconciler(resources or LazyResources(f"zeroflow-{FUNCTION}"))

    def on_change(delivery: Delivery) -> None:
        concerned = _concerned(delivery.data())
        if concerned is not None:
            reconciler.reconcile(*concerned)

    for change in CHANGES:
        app.on(change, lambda delivery: _concerned(delivery.data()) is not None, repeatable=True)(on_change)
    return app.flask


def _concerned(obj: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return namespace and name of the TrainJob to look at."""
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict) or not metadata.get("name") or not metadata.get("namespace"):
        raise InvalidInput("event data must be a namespaced Kubernetes object (ApiServerSource, mode Resource)")
    if obj.get("kind") == KIND:
        return metadata["namespace"], metadata["name"]
    name = (metadata.get("labels") or {}).get(TRAIN_JOB_LABEL)
    return (metadata["namespace"], name) if name else None
