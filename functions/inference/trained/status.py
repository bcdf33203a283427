"""The status of a TrainedModel: KServe's conditions, and `ModelLoaded`, which says what its predictors say.

Guarantees: the same inputs give the same status, times included. What predictors told last is kept in an annotation of
the status, with the version of the model that it was about: about another one it says nothing.
Source: KServe v1alpha1 API (TrainedModelStatus, its condition set), pkg/constants (PredictPath).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zeroflow.functions.inference.modelspec import Model
from zeroflow.functions.inference.refusal import Refused
from zeroflow.functions.inference.trained.memory import Share
from zeroflow.inference import naming
from zeroflow.inference.modelconfig import ConfiguredModel
from zeroflow.predictions.outcome import Outcome
from zeroflow.resources import conditions
from zeroflow.resources.conditions import condition

Object = dict[str, Any]

PARENT_READY, IS_MMS, FRAMEWORK, MEMORY = (
    "InferenceServiceReady",
    "IsMMSPredictor",
    "FrameworkSupported",
    "MemoryResourceAvailable",
)
LOADED = "ModelLoaded"
LOADING = "Loading"
KINDS = (PARENT_READY, IS_MMS, FRAMEWORK, MEMORY, LOADED)
TOLD = "zeroflow.dev/told"
MAX_MESSAGE = 1000


@dataclass(frozen=True)
class Found:
    """What a reconciliation has found of a TrainedModel."""

    configured: ConfiguredModel | None
    share: Share | None = None
    refused: Refused | None = None
    """Why what is declared now is not what predictors are given."""
    formats: tuple[str, ...] | None = None
    """The frameworks of the predictor's runtime; None while none is chosen."""


def without_parent(obj: Object) -> Object:
    """Return the status of a TrainedModel whose InferenceService is not there (yet)."""
    name = obj["spec"]["inferenceService"]
    missing = condition(PARENT_READY, "False", "InferenceServiceNotFound", f"there is no InferenceService {name!r}")
    return _with(_begun(obj, None, None), {PARENT_READY: missing})


def not_for_many(obj: Object, isvc: Object) -> Object:
    """Return the status of a TrainedModel whose InferenceService has a model of its own, or a container."""
    said = "Inference Service predictor is not configured for multi-model serving"
    why = "its predictor must be a model without storageUri, or the like of `sklearn: {}`"
    return _with(
        _begun(obj, None, None),
        {PARENT_READY: _parent_ready(isvc), IS_MMS: condition(IS_MMS, "False", "IsNotMMSPredictor", f"{said}: {why}")},
    )


def of(obj: Object, isvc: Object, model: Model, found: Found) -> Object:
    """Return the status of a TrainedModel; `model`: what its InferenceService says of its predictor."""
    framework = str(obj["spec"]["model"].get("framework"))
    supported = condition(FRAMEWORK, "Unknown", "NoRuntime", "no runtime is chosen for the InferenceService")
    if found.formats is not None:
        supported = condition(FRAMEWORK, "True")
        if framework not in found.formats:
            known = ", ".join(sorted(set(found.formats)))
            said = f"{isvc['metadata']['name']!r} does not support framework {framework!r}; it supports {known}"
            supported = condition(FRAMEWORK, "False", "FrameworkNotSupported", f"Inference Service {said}")
    memory = condition(MEMORY, "Unknown")
    if found.share is not None:
        memory = condition(MEMORY, "True", "", found.share.said)
        if not found.share.fits:
            said = f"Inference Service does not have enough memory resources for Trained Model: {found.share.said}"
            memory = condition(MEMORY, "False", "MemoryResourceNotAvailable", said)
    parts = {
        PARENT_READY: _parent_ready(isvc),
        IS_MMS: condition(IS_MMS, "True"),
        FRAMEWORK: supported,
        MEMORY: memory,
        LOADED: _loaded(obj, found),
    }
    return _with(_begun(obj, isvc, model), parts)


def told(obj: Object, outcome: Outcome) -> Object:
    """Return the status of a TrainedModel of which a predictor tells that it has loaded the model, or cannot."""
    said = {"version": outcome.version, "reason": outcome.reason, "message": (outcome.message or "")[:MAX_MESSAGE]}
    status = {**(obj.get("status") or {})}
    annotations = status.get("annotations") or {}
    status["annotations"] = {**annotations, TOLD: json.dumps({key: value for key, value in said.items() if value})}
    known = {each["type"]: each for each in status.get("conditions") or []}
    return _with(status, {**{kind: known.get(kind) for kind in KINDS}, LOADED: _as_told(said)})


def is_told(obj: Object, configured: ConfiguredModel) -> bool:
    """Say whether a predictor has told of this very state of the model."""
    return bool(_told(obj).get("version") == configured.version)


def is_awaited(obj: Object) -> bool:
    """Say whether a predictor was to load the model, and has not told what became of it."""
    return (conditions.find_condition(obj, LOADED) or {}).get("reason") == LOADING


def _told(obj: Object) -> Mapping[str, Any]:
    try:
        said = json.loads(((obj.get("status") or {}).get("annotations") or {}).get(TOLD) or "{}")
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _loaded(obj: Object, found: Found) -> Object:
    if found.refused is not None:
        return condition(LOADED, "False", found.refused.condition_reason, str(found.refused))
    if found.configured is None:
        return condition(LOADED, "Unknown")
    if not is_told(obj, found.configured):
        return condition(LOADED, "Unknown", LOADING, "no predictor has told yet that it has loaded the model")
    return _as_told(_told(obj))


def _as_told(said: Mapping[str, Any]) -> Object:
    if reason := said.get("reason"):
        return condition(LOADED, "False", str(reason), str(said.get("message") or ""))
    return condition(LOADED, "True")


def _parent_ready(isvc: Object) -> Object:
    if conditions.is_true(isvc, "Ready"):
        return condition(PARENT_READY, "True")
    said = "Inference Service needs to be ready before Trained Model can be ready"
    why = (conditions.find_condition(isvc, "Ready") or {}).get("message")
    return condition(PARENT_READY, "False", "InferenceServiceNotReady", f"{said}{f': {why}' if why else ''}")


def _begun(obj: Object, isvc: Object | None, model: Model | None) -> Object:
    status = {**(obj.get("status") or {}), "observedGeneration": obj["metadata"].get("generation", 1)}
    for name in ("url", "address"):
        status.pop(name, None)
    if isvc is None or model is None:
        return status
    name, known = obj["metadata"]["name"], isvc.get("status") or {}
    path = naming.predict_path(name, model.protocol)
    if url := known.get("url"):
        status["url"] = f"{str(url).rstrip('/')}{path}"
    if address := (known.get("address") or {}).get("url"):
        status["address"] = {"url": f"{str(address).rstrip('/')}{path}"}
    return status


def _with(status: Object, parts: Mapping[str, Object | None]) -> Object:
    """Return the status with these conditions, those of other kinds gone, and what follows from them."""
    before = [each for each in status.get("conditions") or [] if each["type"] in (*parts, "Ready")]
    given = [each for each in parts.values() if each is not None]
    ready = condition("Ready", "True")
    for state in ("False", "Unknown"):
        first = next((each for each in given if each["status"] == state), None)
        if first is not None:
            ready = condition("Ready", first["status"], first.get("reason", ""), first.get("message", ""))
            break
    for each in (*given, ready):
        before = conditions.set_condition(before, {key: each[key] for key in each if key != "lastTransitionTime"})
    return {**status, "conditions": before}
