"""Which TrainedModels a predictor has memory for: in the order in which they came, those that it has before others.

The predictor's limit is its container's `resources.limits.memory`; without one there is no limit. (KServe gives every
predictor one, of 2Gi, by its configuration.) Source: KServe pkg/controller/v1alpha1/trainedmodel (MemoryResource).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.functions.inference.modelspec import Model
from zeroflow.functions.inference.trained.declared import memory_bytes
from zeroflow.resources.quantities import amount, text_of_bytes

Object = dict[str, Any]


@dataclass(frozen=True)
class Share:
    """What one TrainedModel gets of the memory."""

    fits: bool
    said: str


def limit_of(model: Model) -> float | None:
    """Return the predictor's limit in bytes; None where there is none."""
    given = ((model.container.get("resources") or {}).get("limits") or {}).get("memory")
    try:
        return None if given is None else amount(given)
    except InvalidInput:  # Knative's admission says so
        return None


def shares(trained: Sequence[Object], held: Collection[str], limit: float | None) -> dict[str, Share]:
    """Return what each gets, by name; `held`: those that the predictor has now."""
    found, taken = {}, 0.0
    for obj in sorted(trained, key=lambda each: (each["metadata"]["name"] not in held, *_came(each))):
        asked = memory_bytes(obj)
        fits = limit is None or taken + asked <= limit
        taken += asked if fits else 0.0
        own, whole = text_of_bytes(asked), text_of_bytes(taken if fits else taken + asked)
        of = "no limit" if limit is None else text_of_bytes(limit)
        found[obj["metadata"]["name"]] = Share(fits, f"{own}; with those before it {whole} of {of}")
    return found


def _came(obj: Object) -> tuple[str, str]:
    return str(obj["metadata"].get("creationTimestamp") or ""), str(obj["metadata"]["name"])
