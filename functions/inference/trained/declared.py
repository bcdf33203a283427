"""What a TrainedModel asks for. Source: KServe v1alpha1 API (TrainedModelSpec, ModelSpec)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.functions.inference.modelspec import Model
from zeroflow.functions.inference.refusal import Refused
from zeroflow.functions.inference.spec import flag
from zeroflow.inference import trained
from zeroflow.models.trust import TRUST_ANNOTATION
from zeroflow.resources.quantities import amount

Object = dict[str, Any]

PARENT_LABEL = "inferenceservice"
"""KServe's ParentInferenceServiceLabel."""
FINALIZER = "trainedmodel.finalizer"


@dataclass(frozen=True)
class Declared:
    """A TrainedModel as it is declared."""

    model: Model
    memory: str
    trusts_pickle: bool
    state: str
    """Tells this state of the object from any other that asks for other bytes."""


def parse(obj: Object) -> Declared:
    """Read a TrainedModel; raise Refused naming what cannot be honoured."""
    for fault in trained.faults(obj, None):  # a cluster without KServe's webhook
        raise Refused("InvalidSpec", fault)
    metadata, given = obj["metadata"], obj["spec"]["model"]
    trusts = flag(metadata.get("annotations") or {}, TRUST_ANNOTATION, False)
    model = Model(
        place="spec.model",
        format=str(given["framework"]),
        format_version=None,
        protocol="v1",
        protocol_given=False,
        storage_uri=str(given["storageUri"]),
        storage=None,
        runtime=None,
        runtime_version=None,
    )
    state = f"{metadata['uid']}.{metadata.get('generation', 0)}.{'trusted' if trusts else 'vouched'}"
    return Declared(model, str(given["memory"]), trusts, state)


def parent(obj: Mapping[str, Any]) -> str:
    """Return the InferenceService whose predictor is to serve the model."""
    return str((obj.get("spec") or {}).get("inferenceService") or "")


def parents(obj: Mapping[str, Any]) -> set[str]:
    """Return the InferenceServices that a change of a TrainedModel concerns: the one it names, and the one before."""
    before = (obj["metadata"].get("labels") or {}).get(PARENT_LABEL)
    return {name for name in (parent(obj), before) if name}


def memory_bytes(obj: Mapping[str, Any]) -> float:
    """Return the memory that a TrainedModel asks for; none where that cannot be read, which is refused elsewhere."""
    try:
        return amount(((obj.get("spec") or {}).get("model") or {}).get("memory"))
    except InvalidInput:
        return 0.0


def is_leaving(obj: Mapping[str, Any]) -> bool:
    """Say whether the object is being deleted."""
    return bool(obj["metadata"].get("deletionTimestamp"))
