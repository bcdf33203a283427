"""What KServe's webhook refuses in an InferenceService, in KServe's words.

Faults are sentences, in the order in which KServe finds them. What is valid and yet not served is no matter of
admission: the function says it in the status. Source: KServe pkg/apis/serving/v1beta1 (inferenceservice_validation,
component, logger), messages included.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

FRAMEWORKS = (
    "sklearn",
    "xgboost",
    "tensorflow",
    "pytorch",
    "triton",
    "onnx",
    "huggingface",
    "pmml",
    "lightgbm",
    "paddle",
)
"""The fields below spec.predictor that KServe had before `model`; each is rewritten to it."""
PREDICTORS = ("model", *FRAMEWORKS, "containers")
EXPLAINERS = ("art", "containers")
COMPONENTS = ("predictor", "transformer", "explainer")
PROTOCOLS = ("v1", "v2", "grpc-v1", "grpc-v2")
LOGGER_MODES = ("all", "request", "response")
AUTOSCALER = "serving.kserve.io/autoscalerClass"
AUTOSCALERS = ("hpa", "keda", "external", "none")

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_DENIED = 'admission webhook "inferenceservice.kserve-webhook-server.validator" denied the request: '


def denied(fault: str) -> str:
    """Return how a client reads a fault that KServe's webhook has found."""
    return _DENIED + fault


def faults(isvc: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with an InferenceService."""
    name = str(isvc["metadata"].get("name") or "")
    if not _NAME.fullmatch(name):
        yield (
            f'the InferenceService "{name}" is invalid: a InferenceService name must consist of lower case '
            "alphanumeric characters or '-', and must start with alphabetical character. (e.g. \"my-name\" or "
            f"\"abc-123\", regex used for validation is '{_NAME.pattern}')"
        )
    scaler = (isvc["metadata"].get("annotations") or {}).get(AUTOSCALER)
    if scaler is not None and scaler not in AUTOSCALERS:
        yield f"[{scaler}] is not a supported autoscaler class type"
    spec = isvc.get("spec")
    if not isinstance(spec, dict) or not isinstance(spec.get("predictor"), dict):
        yield "spec.predictor: Required value"
        return
    for component in COMPONENTS:
        declared = spec.get(component)
        if declared is None or declared == {}:
            continue
        if not isinstance(declared, dict):
            yield f"spec.{component}: Invalid value: must be an object"
            continue
        yield from _implementation_faults(component, declared)
        yield from _extension_faults(component, declared)


def _implementation_faults(component: str, declared: Mapping[str, Any]) -> Iterator[str]:
    kinds = {"predictor": PREDICTORS, "transformer": ("containers",), "explainer": EXPLAINERS}[component]
    given = [kind for kind in kinds if declared.get(kind) is not None]
    alone = given == ["model", "containers"]  # containers beside a model are the model's pod: KServe merges them
    if len(given) != 1 and not alone:
        yield f"exactly one of [{', '.join(kinds)}] must be specified in {component.capitalize()}Spec"
        return
    if given[0] == "containers":
        containers = declared["containers"]
        if not isinstance(containers, list) or not all(isinstance(each, dict) for each in containers):
            yield f"spec.{component}.containers: Invalid value: must be a list of containers"
        elif not containers:
            yield f"exactly one of [{', '.join(kinds)}] must be specified in {component.capitalize()}Spec"
        return
    implementation = declared[given[0]]
    if not isinstance(implementation, dict):
        yield f"spec.{component}.{given[0]}: Invalid value: must be an object"
        return
    if given[0] == "model" and not isinstance((implementation.get("modelFormat") or {}).get("name"), str):
        yield "spec.predictor.model.modelFormat.name: Required value"
    protocol = implementation.get("protocolVersion")
    if protocol is not None and protocol not in PROTOCOLS:
        yield f"invalid protocol {protocol}. Must be one of [{', '.join(PROTOCOLS)}]"


def _extension_faults(component: str, declared: Mapping[str, Any]) -> Iterator[str]:
    least, most = declared.get("minReplicas") or 0, declared.get("maxReplicas") or 0
    if not _is_number(least) or not _is_number(most):
        yield f"spec.{component}: Invalid value: minReplicas and maxReplicas must be integers"
    elif least < 0:
        yield "MinReplicas cannot be less than 0"
    elif most < 0:
        yield "MaxReplicas cannot be less than 0"
    elif most != 0 and least > most:
        yield "MinReplicas cannot be greater than MaxReplicas"
    concurrency = declared.get("containerConcurrency")
    if concurrency is not None and (not _is_number(concurrency) or concurrency < 0):
        yield "parallelism cannot be less than 0"
    percent = declared.get("canaryTrafficPercent")
    if percent is not None and (not _is_number(percent) or not 0 <= percent <= 100):
        yield f"spec.{component}.canaryTrafficPercent: Invalid value: {percent!r}: must be 0 to 100"
    log = declared.get("logger")
    if log is not None and (not isinstance(log, dict) or log.get("mode") not in (None, *LOGGER_MODES)):
        yield "invalid logger type"


def _is_number(value: Any) -> bool:
    return type(value) is int
