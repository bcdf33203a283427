"""TrainedModels: refused by name in their status. Several models in one predictor are a directory of models here."""

from typing import Any

from zeroflow.resources import conditions
from zeroflow.resources.client import Resources
from zeroflow.resources.conditions import condition

API_VERSION, KIND = "serving.kserve.io/v1alpha1", "TrainedModel"
REASON = "NotSupported"
MESSAGE = (
    "TrainedModel is not supported: give each model an InferenceService (one that nobody asks costs nothing), or one a "
    'directory of models as its storageUri, with the annotation zeroflow.dev/multi-model: "true"'
)


def refuse(resources: Resources, namespace: str, name: str) -> None:
    """Say in the status that nothing serves this object."""
    found = resources.find(API_VERSION, KIND, namespace, name)
    if found is None:
        return
    old: dict[str, Any] = found.get("status") or {}
    ready = condition("Ready", "False", REASON, MESSAGE)
    status = {
        **old,
        "observedGeneration": found["metadata"].get("generation", 1),
        "conditions": conditions.set_condition(old.get("conditions") or [], ready),
    }
    if status != old:
        resources.write_status({**found, "status": status})
