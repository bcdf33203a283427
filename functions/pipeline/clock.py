"""The clock of recurring runs: a PingSource for each that is enabled, whose ticks come to this function.

Ticks, ends of runs and starts of the host all do the same: look into the row, and start what is due. A lost tick is
made up for by any later one. The Kubernetes API is called outside of any transaction.
"""

import logging
from collections.abc import Callable

from flask import Response
from sqlalchemy import select

from zeroflow.errors import NotFound
from zeroflow.events import Delivery, FunctionApp, Transaction
from zeroflow.functions.pipeline import recurring
from zeroflow.functions.pipeline.engine import Engine
from zeroflow.metadata import now_ms
from zeroflow.metadata.pipelines import RecurringRun
from zeroflow.resources.client import Object, Resources

logger = logging.getLogger(__name__)

API_VERSION, KIND = "sources.knative.dev/v1", "PingSource"
NAMESPACE = "zeroflow"


class Clock:
    """Handlers of what moves recurring runs on."""

    def __init__(self, app: FunctionApp, engine: Engine, resources: Callable[[], Resources]) -> None:
        self._app, self._engine, self._resources = app, engine, resources

    def tick(self, recurring_run_id: str) -> Response:
        """Take a tick of a PingSource; the row says whether anything is due, so none needs to be remembered."""
        with self._app.transaction() as tx:
            self._fire(tx, recurring_run_id)
        return Response(status=204)

    def due(self, delivery: Delivery) -> None:
        """Start what waited for a run to end."""
        recurring_run_id = str(delivery.data().get("recurring_run_id"))
        with delivery.transaction() as tx:
            self._fire(tx, recurring_run_id)

    def sweep(self) -> Response:
        """Start what became due while nothing ticked."""
        overdue = select(RecurringRun.id).where(RecurringRun.enabled, RecurringRun.next_ms <= now_ms())
        with self._app.database.reading() as session:
            found = session.scalars(overdue).all()
        for recurring_run_id in found:
            with self._app.transaction() as tx:
                self._fire(tx, recurring_run_id)
        return Response(status=204)

    def changed(self, delivery: Delivery) -> None:
        """Make the PingSource what the row says now, whichever of its changes this event tells."""
        recurring_run_id = str(delivery.data().get("recurring_run_id"))
        name, schedule = f"recurring-{recurring_run_id}", self._declared(recurring_run_id)
        while True:
            if schedule is None:
                self._resources().delete(API_VERSION, KIND, NAMESPACE, name)
            else:
                self._resources().apply(ping_source(name, recurring_run_id, schedule))
            made, schedule = schedule, self._declared(recurring_run_id)
            if made == schedule:  # otherwise the row has changed meanwhile, and may have been declared before this
                break
        with delivery.transaction() as tx:
            self._fire(tx, recurring_run_id)  # a single due time may have passed before its PingSource was there

    def _declared(self, recurring_run_id: str) -> str | None:
        with self._app.database.reading() as session:
            row = session.get(RecurringRun, recurring_run_id)
            return row.declared if row else None

    def _fire(self, tx: Transaction, recurring_run_id: str) -> None:
        try:
            row = recurring.locked(tx.session, recurring_run_id)
        except NotFound:
            logger.info("a tick of a recurring run that is gone: %s", recurring_run_id)
            return
        recurring.fire(tx, self._engine, row, now_ms())


def ping_source(name: str, recurring_run_id: str, schedule: str) -> Object:
    """Declare the clock of one recurring run."""
    service = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "pipeline"}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app.kubernetes.io/part-of": "zeroflow"}},
        "spec": {
            "schedule": schedule,
            "timezone": "UTC",
            "sink": {"ref": service, "uri": f"/recurringruns/{recurring_run_id}/tick"},
        },
    }
