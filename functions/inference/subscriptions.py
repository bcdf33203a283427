"""Triggers that bring this function what concerns one InferenceService, for as long as it waits for that.

Predictors tell how they answer as long as they are asked anything, and stores tell of every upload; this function
sleeps through it unless there is a canary to decide or a model to come. What is told before that is missed.
"""

import hashlib
from collections.abc import Callable
from typing import Any

from zeroflow.resources.client import Resources

Object = dict[str, Any]

API_VERSION, KIND = "eventing.knative.dev/v1", "Trigger"
BROKER = "default"
FUNCTION = "inference"


class Subscriptions:
    """Those of all InferenceServices. Safe to use from several threads."""

    def __init__(self, resources: Callable[[], Resources], namespace: str) -> None:
        self._resources, self._namespace = resources, namespace
        """`namespace` is the platform's, where its broker and functions are."""

    def keep(self, purpose: str, namespace: str, name: str, filters: list[Object] | None) -> bool:
        """Have the Trigger of an InferenceService for a purpose, with these filters; None: have none.

        Returns whether it was written now.
        """
        trigger = self._trigger(purpose, namespace, name, filters or [])
        found = self._resources().find(API_VERSION, KIND, self._namespace, trigger["metadata"]["name"])
        if filters is None:
            if found is not None:
                self._resources().delete(API_VERSION, KIND, self._namespace, trigger["metadata"]["name"])
            return False
        if found is not None and found["spec"].get("filters") == filters:
            return False
        self._resources().apply(trigger)
        return True

    def _trigger(self, purpose: str, namespace: str, name: str, filters: list[Object]) -> Object:
        digest = hashlib.sha256(f"{namespace}/{name}".encode()).hexdigest()[:8]
        reference = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": FUNCTION}
        return {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {
                "name": f"{purpose}-{name[:40].rstrip('-.')}-{digest}",
                "namespace": self._namespace,
                "labels": {"app.kubernetes.io/part-of": "zeroflow"},
            },
            "spec": {"broker": BROKER, "filters": filters, "subscriber": {"ref": reference}},
        }
