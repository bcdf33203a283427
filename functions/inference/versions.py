"""New versions of registered models, served by the InferenceServices that follow them.

An InferenceService follows a registered model through the annotation `zeroflow.dev/registered-model`. A version that
is registered, or approved where that is asked for, becomes its storageUri: with all traffic when it serves none yet,
else as a canary with the share that `zeroflow.dev/canary-percent` names (20 by default). Idempotent; a version older
than the one that is served is passed over, whatever order events come in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from zeroflow.errors import InvalidInput
from zeroflow.functions.inference import approvals, names
from zeroflow.functions.inference.modelspec import model_place
from zeroflow.functions.inference.rollout import Rollout
from zeroflow.functions.inference.spec import canary_percent
from zeroflow.metadata.registry import NO_PARENT, RegistryArtifact, RegistryContext, named
from zeroflow.resources.conditions import find_condition

Object = dict[str, Any]


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of a registered model, and where its bytes lie."""

    registered_model: str
    version: str
    uri: str

    @classmethod
    def of_event(cls, data: Mapping[str, Any]) -> "RegisteredVersion":
        """Read `dev.zeroflow.modelversion.registered`; raise InvalidInput naming what is missing."""
        for field in ("registered_model", "version", "uri"):
            if not isinstance(data.get(field), str) or not data[field]:
                raise InvalidInput(f"event data: {field} must be a non-empty string, got {data.get(field)!r}")
        return cls(data["registered_model"], data["version"], data["uri"])


def newest_version(session: Session, registered_model: str) -> RegisteredVersion | None:
    """Return the newest version that has bytes, as the registry holds it; None when there is none."""
    return version_named(session, registered_model, None)


def version_named(session: Session, registered_model: str, version: str | None) -> RegisteredVersion | None:
    """Return a version by its name, the newest for None, if it has bytes and may be deployed."""
    return _found(session, registered_model, version, approvals.deployable())


def unapproved(session: Session, registered_model: str, version: str | None) -> RegisteredVersion | None:
    """Return the version, the newest for None, that has bytes and waits for its approval."""
    return _found(session, registered_model, version, ~approvals.deployable())


def _found(
    session: Session, registered_model: str, version: str | None, fits: ColumnElement[bool]
) -> RegisteredVersion | None:
    query = (
        select(RegistryContext.name, RegistryArtifact.uri)
        .join(RegistryArtifact, RegistryArtifact.parent_id == RegistryContext.id)
        .where(
            RegistryContext.kind == "model_version",
            RegistryContext.parent_id
            == select(RegistryContext.id)
            .where(
                RegistryContext.kind == "registered_model",
                RegistryContext.parent_id == NO_PARENT,
                RegistryContext.name == registered_model,
            )
            .scalar_subquery(),
            RegistryArtifact.kind == "model-artifact",
            RegistryArtifact.uri.is_not(None),
            fits,
        )
    )
    if version is not None:
        query = query.where(RegistryContext.name == version)
    found = session.execute(query.order_by(RegistryContext.id.desc()).limit(1)).first()
    return None if found is None or found[1] is None else RegisteredVersion(registered_model, found[0], found[1])


def follows(isvc: Object, registered_model: str) -> bool:
    """Say whether an InferenceService serves the versions of a registered model."""
    return bool(_annotations(isvc).get(names.REGISTERED_MODEL) == registered_model)


def waits_for(isvc: Object, version: RegisteredVersion) -> bool:
    """Say whether an InferenceService was refused, may be for want of this version, which its storageUri means."""
    location = ((isvc["spec"].get("predictor") or {}).get(model_place(isvc)) or {}).get("storageUri") or ""
    refused = (find_condition(isvc, "PredictorReady") or {}).get("reason") in ("NotApproved", "ModelNotFound")
    return refused and _means(location, version)


def trained_waits_for(obj: Object, version: RegisteredVersion) -> bool:
    """Say the same of a TrainedModel."""
    location = str(obj["spec"]["model"].get("storageUri") or "")
    refused = (find_condition(obj, "ModelLoaded") or {}).get("reason") in ("NotApproved", "ModelNotFound")
    return refused and _means(location, version)


def rolled_out(isvc: Object, version: RegisteredVersion) -> Object | None:
    """Return the merge patch that makes an InferenceService serve a version; None when there is nothing to change."""
    annotations = _annotations(isvc)
    current = annotations.get(names.MODEL_VERSION)
    place = model_place(isvc)
    model = (isvc["spec"].get("predictor") or {}).get(place) or {}
    if current == version.version or _is_older(version.version, current):
        return None
    component = ((isvc.get("status") or {}).get("components") or {}).get("predictor") or {}
    serves = bool(model.get("storageUri")) and Rollout.of(component).latest is not None
    percent = canary_percent(annotations) if serves else 100
    return {
        "metadata": {
            "annotations": {names.MODEL_VERSION: version.version},
            "resourceVersion": isvc["metadata"]["resourceVersion"],
        },
        "spec": {
            "predictor": {
                "canaryTrafficPercent": None if percent == 100 else percent,
                place: {"storageUri": version.uri},
            }
        },
    }


def _means(location: str, version: RegisteredVersion) -> bool:
    meant = named(location) in ((version.registered_model, version.version), (version.registered_model, None))
    return meant or location == version.uri


def _is_older(version: str, current: str | None) -> bool:
    return current is not None and version.isdecimal() and current.isdecimal() and int(version) < int(current)


def _annotations(isvc: Object) -> Mapping[str, str]:
    return isvc["metadata"].get("annotations") or {}
