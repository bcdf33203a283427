"""The Trigger that brings the evidence of one canary here, for as long as it is being decided.

Predictors tell how they answer as long as they are asked anything; this function sleeps through it unless there is a
canary to decide. What is told before the Trigger is there is no evidence, which begins with it.
"""

import hashlib
from collections.abc import Callable
from typing import Any

from zeroflow.predictions.observation import OBSERVED
from zeroflow.predictions.recorded import RECORDED
from zeroflow.resources.client import Resources

Object = dict[str, Any]

API_VERSION, KIND = "eventing.knative.dev/v1", "Trigger"
BROKER = "default"
FUNCTION = "inference"


class Subscriptions:
    """Those of all canaries. Safe to use from several threads."""

    def __init__(self, resources: Callable[[], Resources], namespace: str) -> None:
        self._resources, self._namespace = resources, namespace
        """`namespace` is the platform's, where its broker and functions are."""

    def keep(self, namespace: str, name: str, wanted: bool) -> None:
        """Have the Trigger of an InferenceService, or have none."""
        trigger = self._trigger(namespace, name)
        found = self._resources().find(API_VERSION, KIND, self._namespace, trigger["metadata"]["name"])
        if wanted and (found is None or found["spec"].get("filters") != trigger["spec"]["filters"]):
            self._resources().apply(trigger)
        elif not wanted and found is not None:
            self._resources().delete(API_VERSION, KIND, self._namespace, trigger["metadata"]["name"])

    def _trigger(self, namespace: str, name: str) -> Object:
        digest = hashlib.sha256(f"{namespace}/{name}".encode()).hexdigest()[:8]
        reference = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": FUNCTION}
        return {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {
                "name": f"rollout-{name[:40].rstrip('-.')}-{digest}",
                "namespace": self._namespace,
                "labels": {"app.kubernetes.io/part-of": "zeroflow"},
            },
            "spec": {
                "broker": BROKER,
                "filters": [
                    {"any": [{"exact": {"type": OBSERVED}}, {"exact": {"type": RECORDED}}]},
                    {"exact": {"subject": f"{namespace}/{name}"}},
                ],
                "subscriber": {"ref": reference},
            },
        }
