"""What an InferenceService asks for, read from its spec, and what it asks for in vain.

A field that this release does not honour is refused by name; none is ignored in silence. An absent `minReplicas`
means 0 here, while KServe takes 1: nothing idle stays up on this platform unless somebody asks for it by number.

Source: KServe v1beta1 API (InferenceServiceSpec, PredictorSpec, PredictorExtensionSpec, ComponentExtensionSpec).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zeroflow.artifacts import parse
from zeroflow.errors import InvalidInput
from zeroflow.functions.inference import names
from zeroflow.functions.inference.refusal import Refused
from zeroflow.models import formats
from zeroflow.models.trust import TRUST_ANNOTATION

FRAMEWORKS = (
    "sklearn",
    "xgboost",
    "lightgbm",
    "tensorflow",
    "pytorch",
    "triton",
    "onnx",
    "huggingface",
    "pmml",
    "paddle",
)
RUNTIMES = {
    "kserve-sklearnserver": ("sklearn",),
    "kserve-xgbserver": ("xgboost",),
    "kserve-lgbserver": ("lightgbm",),
    "kserve-predictiveserver": ("sklearn", "xgboost", "lightgbm"),
}
"""KServe's runtimes that the predictor stands in for, and the formats that each serves."""
VERSIONS = {"sklearn": ("1",), "xgboost": ("1", "2", "3"), "lightgbm": ("3", "4"), "onnx": ("1",)}
"""The major versions of a format that are served; any of the others."""
SCALING_FIELDS = ("minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "containerConcurrency", "timeout")
POD_FIELDS = ("serviceAccountName", "imagePullSecrets", "labels", "annotations")
PREDICTOR_FIELDS = ("model", "canaryTrafficPercent", *SCALING_FIELDS, *POD_FIELDS, *FRAMEWORKS)
MODEL_FIELDS = ("modelFormat", "storageUri", "protocolVersion", "runtime", "env", "resources", "name")
RESERVED_ENV = ("MODEL_NAME", "STORAGE_URI", "MODEL_FORMAT", "MODEL_VERSION", "PROTOCOL", "PORT")
MAX_TIMEOUT_S = 600


@dataclass(frozen=True)
class PredictorSpec:
    """The predictor that is wanted."""

    storage_uri: str
    model_format: str
    protocol: str
    canary_percent: int | None = None
    min_replicas: int | None = None
    max_replicas: int | None = None
    scale_target: int | None = None
    scale_metric: str | None = None
    container_concurrency: int | None = None
    timeout_s: int | None = None
    service_account: str | None = None
    image_pull_secrets: tuple[Any, ...] = ()
    env: tuple[Any, ...] = ()
    resources: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    model_version: str | None = None
    trusts_pickle: bool = False
    compiling: bool = True


def parse_spec(isvc: Mapping[str, Any]) -> PredictorSpec:
    """Read an InferenceService; raise Refused naming the first field that cannot be honoured."""
    annotations: Mapping[str, str] = isvc["metadata"].get("annotations") or {}
    spec = isvc.get("spec") or {}
    _check_modes(annotations)
    for component in ("transformer", "explainer", "canary"):
        if spec.get(component):
            raise Refused.field(f"spec.{component}", "is not supported yet")
    predictor = spec.get("predictor")
    if not isinstance(predictor, dict) or not predictor:
        raise Refused.field("spec.predictor", "is missing")
    for name, value in predictor.items():
        if name not in PREDICTOR_FIELDS and value not in (None, {}, []):
            raise Refused.field(f"spec.predictor.{name}", "is not supported yet")
    place, model = _model_of(predictor)
    return PredictorSpec(
        storage_uri=_storage_uri(place, model, annotations),
        model_format=model["modelFormat"]["name"],
        protocol=_protocol(place, model),
        canary_percent=_number(predictor, "canaryTrafficPercent", 0, 100),
        min_replicas=_number(predictor, "minReplicas", 0),
        max_replicas=_replicas(predictor),
        scale_target=_number(predictor, "scaleTarget", 1),
        scale_metric=_metric(predictor),
        container_concurrency=_number(predictor, "containerConcurrency", 0, 1000),
        timeout_s=_number(predictor, "timeout", 1, MAX_TIMEOUT_S),
        service_account=predictor.get("serviceAccountName"),
        image_pull_secrets=tuple(predictor.get("imagePullSecrets") or ()),
        env=_env(place, model),
        resources=model.get("resources") or {},
        labels=predictor.get("labels") or {},
        annotations=predictor.get("annotations") or {},
        model_version=annotations.get(names.MODEL_VERSION),
        trusts_pickle=_flag(annotations, TRUST_ANNOTATION, False),
        compiling=_flag(annotations, names.COMPILE, True),
    )


def model_place(isvc: Mapping[str, Any]) -> str:
    """Return the key below spec.predictor that holds the model: `model`, or the field of a framework."""
    predictor = (isvc.get("spec") or {}).get("predictor") or {}
    return next((name for name in ("model", *FRAMEWORKS) if predictor.get(name) is not None), "model")


def canary_percent(annotations: Mapping[str, str]) -> int:
    """Return the share that a newly registered version gets at first."""
    value = annotations.get(names.CANARY_PERCENT, str(names.DEFAULT_CANARY_PERCENT))
    if not value.isdecimal() or int(value) > 100:
        raise Refused("InvalidAnnotation", f"annotation {names.CANARY_PERCENT} must be 0 to 100, got {value!r}")
    return int(value)


def is_stopped(isvc: Mapping[str, Any]) -> bool:
    """Say whether the InferenceService is to keep its object but run nothing."""
    return _flag(isvc["metadata"].get("annotations") or {}, names.STOP, False)


def _check_modes(annotations: Mapping[str, str]) -> None:
    mode = annotations.get(names.DEPLOYMENT_MODE, "Serverless")
    if mode not in ("Serverless", "Knative"):
        raise Refused(
            "UnsupportedDeploymentMode",
            f"annotation {names.DEPLOYMENT_MODE}: {mode} is not supported; predictors run as Knative Services",
        )
    for name in names.AUTOSCALER_ANNOTATIONS:
        if name in annotations:
            raise Refused("UnsupportedField", f"annotation {name} is not supported; Knative scales predictors")
    canary_percent(annotations)


def _model_of(predictor: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return where the model is described and its description, a framework's field rewritten to the new form."""
    given = [name for name in ("model", *FRAMEWORKS) if predictor.get(name) is not None]
    if not given:
        raise Refused.field("spec.predictor.model", "is missing")
    if len(given) > 1:
        raise Refused.field(f"spec.predictor.{given[1]}", f"contradicts spec.predictor.{given[0]}: one model is served")
    place = f"spec.predictor.{given[0]}"
    model = predictor[given[0]]
    if not isinstance(model, dict):
        raise Refused.field(place, "must be an object")
    if given[0] != "model":
        model = {**model, "modelFormat": {"name": given[0]}}
    for name, value in model.items():
        known = name in MODEL_FIELDS or (given[0] != "model" and name == "runtimeVersion" and value is None)
        if not known and value not in (None, {}, []):
            raise Refused.field(f"{place}.{name}", "is not supported yet")
    _check_format(place, model)
    return place, model


def _check_format(place: str, model: Mapping[str, Any]) -> None:
    format_ = model.get("modelFormat")
    if not isinstance(format_, dict) or not isinstance(format_.get("name"), str):
        raise Refused.field(f"{place}.modelFormat.name", "is missing")
    name, version = format_["name"], format_.get("version")
    if name not in formats.SERVED:
        raise Refused(
            "FormatNotSupported",
            f"{place}.modelFormat {name} is not served yet; formats served now: {', '.join(formats.SERVED)}",
            failure="NoSupportingRuntime",
        )
    majors = VERSIONS.get(name)
    if version is not None and majors and str(version).split(".")[0] not in majors:
        raise Refused(
            "FormatNotSupported",
            f"{place}.modelFormat.version {version} is not served; {name} is served in version {' and '.join(majors)}",
            failure="NoSupportingRuntime",
        )
    runtime = model.get("runtime")
    if runtime is not None and runtime not in RUNTIMES:
        raise Refused(
            "RuntimeNotRecognized",
            f"{place}.runtime {runtime!r} is not known; leave it out or use {', '.join(RUNTIMES)}",
            failure="RuntimeNotRecognized",
        )
    if runtime is not None and name not in RUNTIMES[runtime]:
        raise Refused(
            "NoSupportingRuntime",
            f"{place}.runtime {runtime} does not serve {name}; it serves {', '.join(RUNTIMES[runtime])}",
            failure="NoSupportingRuntime",
        )


def _storage_uri(place: str, model: Mapping[str, Any], annotations: Mapping[str, str]) -> str:
    uri = model.get("storageUri")
    if not uri:
        if registered := annotations.get(names.REGISTERED_MODEL):
            raise Refused.waiting(registered)
        raise Refused.field(f"{place}.storageUri", "is missing")
    try:
        parse(str(uri))
    except InvalidInput as error:
        raise Refused("InvalidStorageUri", f"{place}.storageUri: {error}") from error
    return str(uri)


def _protocol(place: str, model: Mapping[str, Any]) -> str:
    protocol = model.get("protocolVersion") or "v1"
    if protocol not in ("v1", "v2"):
        raise Refused.field(f"{place}.protocolVersion", f"is {protocol!r}, supported are v1 and v2 (REST)")
    return str(protocol)


def _number(predictor: Mapping[str, Any], name: str, least: int, most: int | None = None) -> int | None:
    value = predictor.get(name)
    if value is None:
        return None
    if type(value) is not int or value < least or (most is not None and value > most):
        accepted = f"{least} to {most}" if most is not None else f"{least} or more"
        raise Refused.field(f"spec.predictor.{name}", f"must be {accepted}, got {value!r}")
    return value


def _replicas(predictor: Mapping[str, Any]) -> int | None:
    most, least = _number(predictor, "maxReplicas", 0), _number(predictor, "minReplicas", 0) or 0
    if most and most < least:
        raise Refused.field("spec.predictor.maxReplicas", f"is {most}, less than minReplicas {least}")
    return most or None  # 0 sets no limit


def _metric(predictor: Mapping[str, Any]) -> str | None:
    metric = predictor.get("scaleMetric")
    if metric not in (None, "concurrency", "rps"):
        raise Refused.field("spec.predictor.scaleMetric", f"is {metric!r}, supported are concurrency and rps")
    return metric


def _env(place: str, model: Mapping[str, Any]) -> tuple[Any, ...]:
    env = model.get("env") or []
    for variable in env:
        name = variable.get("name", "") if isinstance(variable, dict) else ""
        if not name:
            raise Refused.field(f"{place}.env", "must be a list of variables with a name")
        if name in RESERVED_ENV or name.startswith(("ZEROFLOW_", "K_")):
            raise Refused.field(f"{place}.env", f"sets {name}, which the platform sets")
    return tuple(env)


def _flag(annotations: Mapping[str, str], name: str, default: bool) -> bool:
    value = annotations.get(name, str(default).lower())
    if value not in ("true", "false"):
        raise Refused("InvalidAnnotation", f'annotation {name} must be "true" or "false", got {value!r}')
    return value == "true"
