"""InferenceServices and TrainedModels whose model is not there yet: looked at again when something is uploaded where
it is to lie.

Of stores that tell of uploads (`store://`, S3 with notifications): whoever declares first and uploads afterwards is
served without touching the InferenceService. Such an event is nobody's word for anything: it has this function look.
"""

from collections.abc import Mapping
from typing import Any

from zeroflow.functions.inference.modelspec import model_place
from zeroflow.functions.inference.subscriptions import Subscriptions
from zeroflow.functions.inference.trained.status import LOADED
from zeroflow.resources import conditions

Object = dict[str, Any]

PURPOSE = "upload"
PREFIX = "com.amazonaws.s3.ObjectCreated:"
UPLOADED = tuple(f"{PREFIX}{kind}" for kind in ("Put", "Post", "Copy", "CompleteMultipartUpload"))
SCHEMES = ("store", "s3")


def await_model(subscriptions: Subscriptions, namespace: str, name: str, isvc: Object | None, lacks: bool) -> bool:
    """Be told of uploads to an InferenceService's location for as long as it is there and lacks a model.

    Returns whether that begins now: what was uploaded a moment before has not been told.
    """
    if isvc is not None and not lacks and not _failed(isvc):
        return False  # nothing is asked of the API for those that are well
    return _await(subscriptions, namespace, name, _uri(isvc) if isvc is not None and lacks else None)


def await_trained(subscriptions: Subscriptions, obj: Object, lacks: bool) -> bool:
    """Do the same for a TrainedModel."""
    if not lacks and not _failed_trained(obj):
        return False
    metadata = obj["metadata"]
    uri = obj["spec"]["model"].get("storageUri") if lacks else None
    return _await(subscriptions, metadata["namespace"], f"model-{metadata['name']}", uri)


def _await(subscriptions: Subscriptions, namespace: str, name: str, uri: str | None) -> bool:
    place = _place(uri)
    if place is None:
        return subscriptions.keep(PURPOSE, namespace, name, None)
    bucket, key = place
    filters: list[Object] = [{"prefix": {"type": PREFIX}}, {"suffix": {"source": f".{bucket}"}}]
    if key:
        filters.append({"prefix": {"subject": key}})
    return subscriptions.keep(PURPOSE, namespace, name, filters)


def concerns(isvc: Object, record: Mapping[str, Any], key: str) -> bool:
    """Say whether an upload is one that an InferenceService waits for; `record`: S3's, `key`: the object's."""
    return _failed(isvc) and _lies_there(_uri(isvc), record, key)


def concerns_trained(obj: Object, record: Mapping[str, Any], key: str) -> bool:
    """Say whether an upload is one that a TrainedModel waits for."""
    return _failed_trained(obj) and _lies_there(obj["spec"]["model"].get("storageUri"), record, key)


def _lies_there(uri: str | None, record: Mapping[str, Any], key: str) -> bool:
    place = _place(uri)
    if place is None:
        return False
    bucket, wanted = place
    return (record.get("s3") or {}).get("bucket", {}).get("name") == bucket and key.startswith(wanted)


def _failed(isvc: Object) -> bool:
    return bool(((isvc.get("status") or {}).get("modelStatus") or {}).get("lastFailureInfo"))


def _failed_trained(obj: Object) -> bool:
    return (conditions.find_condition(obj, LOADED) or {}).get("status") == "False"


def _uri(isvc: Object) -> str | None:
    declared = ((isvc.get("spec") or {}).get("predictor") or {}).get(model_place(isvc)) or {}
    return declared.get("storageUri")


def _place(uri: str | None) -> tuple[str, str] | None:
    """Return bucket and key of a declared location, where its store tells of uploads."""
    scheme, found, rest = (uri or "").partition("://")
    if not found or scheme not in SCHEMES:
        return None
    bucket, _, key = rest.partition("/")
    return bucket, key.rstrip("/")
