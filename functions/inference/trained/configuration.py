"""The ConfigMap that tells an InferenceService's predictors which models to serve (zeroflow.inference.modelconfig).

It is made with the predictor, and goes with the InferenceService. Predictors follow it wherever they run, since a
mounted ConfigMap reaches every pod. A model may be in it under a state that is no longer declared: the one that is
served while what took its place is refused.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.functions.inference.refusal import Refused
from zeroflow.inference import modelconfig
from zeroflow.inference.modelconfig import ConfiguredModel
from zeroflow.resources.client import Resources
from zeroflow.resources.owners import is_controlled_by, owned_by

Object = dict[str, Any]

API_VERSION, KIND = "v1", "ConfigMap"
MAX_BYTES = 1 << 20
"""Kubernetes' own limit of a ConfigMap."""


@dataclass(frozen=True)
class Configuration:
    """The ConfigMap as it was read."""

    found: Object | None
    models: Mapping[str, ConfiguredModel]

    @classmethod
    def of(cls, resources: Resources, namespace: str, inferenceservice: str) -> "Configuration":
        """Read it; one that somebody has broken has no models."""
        found = resources.find(API_VERSION, KIND, namespace, modelconfig.name_of(inferenceservice))
        text = ((found or {}).get("data") or {}).get(modelconfig.FILE) or "[]"
        try:
            return cls(found, modelconfig.read(text))
        except InvalidInput:
            return cls(found, {})

    def write(self, resources: Resources, isvc: Object, models: Iterable[ConfiguredModel]) -> None:
        """Have these models in it; raise Conflict when somebody else wrote it since, Refused where it is another's."""
        if self.found is not None and not is_controlled_by(self.found, isvc):
            raise Refused(
                "NameTaken",
                f"ConfigMap {self.found['metadata']['name']} exists and does not belong to this InferenceService",
            )
        text = modelconfig.written(models)
        if self.found is not None and (self.found.get("data") or {}).get(modelconfig.FILE) == text:
            return
        metadata = {
            "name": modelconfig.name_of(isvc["metadata"]["name"]),
            "namespace": isvc["metadata"]["namespace"],
            "ownerReferences": owned_by(isvc),
        }
        if self.found is not None:
            metadata["resourceVersion"] = self.found["metadata"]["resourceVersion"]
        resources.apply(
            {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "data": {modelconfig.FILE: text}}
        )


def ensure(resources: Resources, isvc: Object) -> None:
    """Have the ConfigMap of an InferenceService, for its predictor to mount; raise Refused where it is another's."""
    metadata = isvc["metadata"]
    now = Configuration.of(resources, metadata["namespace"], metadata["name"])
    now.write(resources, isvc, now.models.values())
