"""A training job has succeeded: its model becomes a version, if the job asks for that.

Any of the kinds below asks by the label `zeroflow.dev/register-as` (an annotation of that name goes first: it may hold
names that a label may not) and the annotation `zeroflow.dev/model-uri`. Annotations may add
`zeroflow.dev/model-format`, `zeroflow.dev/metrics` ({"auc": 0.9}) and `zeroflow.dev/inputs` (URIs with commas between).
One job is one version, by its uid, however often its change is told. The event is Knative's ApiServerSource in mode
Resource.
Source: Kubeflow Trainer v1 (JobCondition Succeeded) and v2 (TrainJob Complete); Kubernetes batch/v1 (Job Complete).
"""

import json
import uuid
from collections.abc import Mapping
from typing import Any

from zeroflow.artifacts import Stores
from zeroflow.errors import InvalidInput
from zeroflow.events import Delivery
from zeroflow.functions.register import contents, versions
from zeroflow.functions.register.bodies import check_text
from zeroflow.functions.register.policy import Policy
from zeroflow.functions.register.produced import Input, Maker, ModelProduced, location, metrics, text
from zeroflow.resources.conditions import is_true

DONE: Mapping[str, str] = {
    "Job": "Complete",
    "TrainJob": "Complete",
    **dict.fromkeys(("PyTorchJob", "TFJob", "XGBoostJob", "MPIJob", "JAXJob", "PaddleJob"), "Succeeded"),
}
"""Kinds, and the condition that says that one has succeeded."""
NODE = "training_job"
REGISTER_AS = "zeroflow.dev/register-as"
_ANNOTATION = "zeroflow.dev/"


def on_change(delivery: Delivery, policy: Policy, stores: Stores) -> None:
    """Handle the event that a training job was added or updated."""
    produced = from_object(delivery.data())
    if produced is not None:
        versions.register_told(delivery, policy, contents.described(produced, stores))


def from_object(obj: dict[str, Any]) -> ModelProduced | None:
    """Read a job; None unless it has succeeded and asks for registration. Raise InvalidInput for what cannot be."""
    metadata, kind = obj.get("metadata"), obj.get("kind")
    if not isinstance(metadata, dict) or not isinstance(kind, str) or kind not in DONE or not is_true(obj, DONE[kind]):
        return None
    annotations = metadata.get("annotations") or {}
    register_as = annotations.get(REGISTER_AS) or (metadata.get("labels") or {}).get(REGISTER_AS)
    if not register_as:
        return None
    told = {name.removeprefix(_ANNOTATION): value for name, value in annotations.items()}
    check_text(told, "the annotations")
    if "model-uri" not in told:
        raise InvalidInput(f"{kind} has {REGISTER_AS} and no annotation {_ANNOTATION}model-uri: where is its model?")
    namespace, name, uid = (text(metadata, key, "metadata.") for key in ("namespace", "name", "uid"))
    maker = Maker(
        node=(NODE, f"{namespace}/{kind}/{name}/{uid}"),
        source={
            "modelSourceKind": "kubernetes",
            "modelSourceClass": kind,
            "modelSourceGroup": namespace,
            "modelSourceId": uid,
            "modelSourceName": name,
        },
        actor=f"job:{namespace}/{name}",
        told={"training_job": name, "training_kind": kind},
    )
    uris = [uri.strip() for uri in told.get("inputs", "").split(",") if uri.strip()]
    return ModelProduced(
        artifact_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"training/{uid}/model")),
        name="model",
        uri=location({"uri": told["model-uri"]}),
        sha256=None,
        size_bytes=None,
        namespace=namespace,
        register_as=text({REGISTER_AS: register_as}, REGISTER_AS),
        maker=maker,
        metadata={"model_format": told["model-format"]} if "model-format" in told else {},
        metrics=metrics({"metrics": _json(told.get("metrics"))}),
        inputs=tuple(Input(None, f"input-{place}", location({"uri": uri}), None) for place, uri in enumerate(uris)),
    )


def _json(written: str | None) -> Any:
    try:
        return json.loads(written) if written else None
    except ValueError as error:
        raise InvalidInput(f"annotation {_ANNOTATION}metrics is not JSON: {error}") from error
