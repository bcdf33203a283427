"""Experiments as they are admitted: Katib's defaults written out, and every fault refused before anything is stored.

What Katib's mutating and validating webhooks do on a cluster.
"""

from __future__ import annotations

from zeroflow.knative.local.api.errors import Cause, Invalid
from zeroflow.knative.local.api.objects import Object
from zeroflow.knative.local.api.store import Store
from zeroflow.tuning.defaults import defaulted
from zeroflow.tuning.validation import faults

EXPERIMENT_KIND = "Experiment.kubeflow.org"


def register(store: Store) -> None:
    """Have `store` ask here about every write of an Experiment."""

    def admit(new: Object, old: Object | None) -> Object:
        """Return the Experiment with defaults; raise Invalid with the fields that are wrong."""
        if new["metadata"].get("deletionTimestamp"):
            return new
        new = defaulted(new)
        wrong = faults(new, old, lambda namespace, name: store.find("ConfigMap", namespace, name))
        causes = [Cause(field, message) for field, message in wrong]
        if causes:
            raise Invalid.fields("Experiment", "kubeflow.org", str(new["metadata"].get("name", "")), *causes)
        return new

    store.admit(EXPERIMENT_KIND, admit)
