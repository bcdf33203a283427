"""The status of an InferenceService, from the Knative Services and the DomainMapping that realise it.

Guarantees: the same inputs give the same status, times included, so that a reconciliation that finds nothing new
writes nothing; a refused change leaves what is served, and its URL, as they are.

Source: KServe v1beta1 API (InferenceServiceStatus, ModelStatus and its enumerations).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zeroflow.functions.inference.refusal import Refused
from zeroflow.functions.inference.rollout import Rollout
from zeroflow.functions.inference.runtimes import Runtime
from zeroflow.inference.services import COMPONENTS
from zeroflow.resources import conditions
from zeroflow.resources.conditions import condition

Object = dict[str, Any]

_FAULT = re.compile(r"model \S+ cannot be served: (?:\w+: )?[^\n]*")
"""The predictor's last words, in the log tail that a failed revision's condition holds."""
_EXIT_CODE = re.compile(r"ExitCode(\d+)")


@dataclass(frozen=True)
class Served:
    """A component as it is served now."""

    service: Object
    rollout: Rollout
    failed: Object | None = None
    """Its newest revision, if that is why the service is not ready."""


def served(
    isvc: Object,
    components: Mapping[str, Served],
    mapping: Object | None,
    runtime: Runtime | None = None,
    waiting: Mapping[str, str] | None = None,
    adapted: Sequence[str] = (),
) -> Object:
    """Return the status while the Knative Services are what is asked for.

    `waiting` tells of components that cannot be made yet, and for what they wait; `adapted` of what is done otherwise
    than it was asked for.
    """
    status = _begun(isvc)
    status["components"] = {kind: _component(isvc, kind, found) for kind, found in components.items()}
    status["deploymentMode"] = "Knative"
    _name_runtime(status, runtime)
    entry = components.get("transformer") or components["predictor"]
    _address(status, entry.service, mapping)
    for kind in COMPONENTS:
        for suffix in ("Ready", "ConfigurationReady", "RouteReady"):
            _drop(status, f"{kind.capitalize()}{suffix}")
    ready = []
    for kind, found in components.items():
        name = kind.capitalize()
        ready.append(_propagated(f"{name}Ready", found.service, "Ready"))
        configuration = _propagated(f"{name}ConfigurationReady", found.service, "ConfigurationsReady", "Info")
        route = _propagated(f"{name}RouteReady", found.service, "RoutesReady", "Info")
        _set(isvc, status, ready[-1], configuration, route)
    for kind, reason in (waiting or {}).items():
        ready.append(condition(f"{kind.capitalize()}Ready", "Unknown", "Waiting", reason))
        _set(isvc, status, ready[-1])
    ingress = _ingress(mapping)
    if "transformer" in (waiting or {}):
        ingress = condition("IngressReady", "Unknown", "Waiting", "waits for the transformer")
    _set(isvc, status, ingress, _summary(*ready, ingress))
    _drop(status, "Stopped")
    _adapt(isvc, status, adapted)
    predictor = components["predictor"]
    configuration = _propagated("", predictor.service, "ConfigurationsReady")
    status["modelStatus"] = _model_status(status, predictor.service, configuration, predictor.failed)
    return status


def refused(isvc: Object, service: Object | None, reason: Refused) -> Object:
    """Return the status of an InferenceService that cannot be served as it is declared; what ran before still runs."""
    status = _begun(isvc)
    state: conditions.Status = "Unknown" if reason.failure is None else "False"
    fault = {"reason": reason.condition_reason, "message": str(reason)}
    _set(isvc, status, condition("PredictorReady", state, **fault), condition("Ready", state, **fault))
    _drop(status, "Stopped")
    active = "Loaded" if _has_ready_revision(service) else "Pending"
    if reason.failure is None:
        status["modelStatus"] = {
            "transitionStatus": "InProgress",
            "states": {"activeModelState": active, "targetModelState": "Pending"},
        }
        return status
    transition = "InvalidSpec" if reason.failure != "ModelLoadFailed" else "BlockedByFailedLoad"
    model = {
        "transitionStatus": transition,
        "states": {
            "activeModelState": active if active == "Loaded" else "FailedToLoad",
            "targetModelState": "FailedToLoad",
        },
        "lastFailureInfo": {"reason": reason.failure, "message": str(reason)},
    }
    status["modelStatus"] = _timed(status, model)
    return status


def stopped(isvc: Object) -> Object:
    """Return the status of an InferenceService that is to run nothing."""
    status = _begun(isvc)
    for field in ("url", "address", "components", "modelStatus"):
        status.pop(field, None)
    status["conditions"] = []
    fault = {"reason": "Stopped", "message": "stopped by annotation serving.kserve.io/stop"}
    _set(isvc, status, condition("PredictorReady", "False", **fault), condition("Ready", "False", **fault))
    _set(isvc, status, condition("Stopped", "True"))
    return status


def _begun(isvc: Object) -> Object:
    status = {**(isvc.get("status") or {})}
    status["observedGeneration"] = isvc["metadata"].get("generation", 1)
    return status


def _name_runtime(status: Object, runtime: Runtime | None) -> None:
    for field in ("servingRuntimeName", "clusterServingRuntimeName"):
        status.pop(field, None)
    if runtime is not None:
        field = "servingRuntimeName" if runtime.kind == "ServingRuntime" else "clusterServingRuntimeName"
        status[field] = runtime.name


def _component(isvc: Object, kind: str, served: Served) -> Object:
    old = ((isvc.get("status") or {}).get("components") or {}).get(kind) or {}
    found = served.service.get("status") or {}
    fields = {
        "latestCreatedRevision": found.get("latestCreatedRevisionName"),
        "latestReadyRevision": found.get("latestReadyRevisionName"),
        "latestRolledoutRevision": served.rollout.latest,
        "previousRolledoutRevision": served.rollout.previous,
        "traffic": found.get("traffic") or old.get("traffic"),
        "url": found.get("url"),
        "address": found.get("address"),
    }
    return {name: value for name, value in fields.items() if value}


def _adapt(isvc: Object, status: Object, adapted: Sequence[str]) -> None:
    """Say what is done otherwise than it was asked for, in a condition that readiness does not depend on."""
    if adapted:
        _set(isvc, status, condition("Adapted", "True", "ServedOtherwise", "; ".join(adapted), "Info"))
    else:
        _drop(status, "Adapted")


def _address(status: Object, service: Object, mapping: Object | None) -> None:
    """Set the URL that clients use: the InferenceService's own name once it is mapped, else the Knative Service's."""
    mapped = (mapping or {}).get("status") or {}
    found = service.get("status") or {}
    url = mapped.get("url") if conditions.is_true(mapping, "Ready") else found.get("url")
    if url and found.get("latestReadyRevisionName"):
        status["url"] = url
    if address := found.get("address"):
        status["address"] = address


def _propagated(kind: str, service: Object, source: str, severity: str = "") -> Object:
    """Return a condition of the Knative Service under KServe's name; Unknown while it tells of an older spec."""
    found = conditions.find_condition(service, source)
    if found is None or not conditions.is_current(service):
        return condition(kind, "Unknown", "Deploying", "the Knative Service is being updated", severity)
    message = found.get("message", "")
    if found["status"] == "False" and (fault := _FAULT.search(message)):
        message = fault.group()
    return condition(kind, found["status"], found.get("reason", ""), message, severity)


def _ingress(mapping: Object | None) -> Object:
    if mapping is None:
        return condition("IngressReady", "True")
    found = conditions.find_condition(mapping, "Ready")
    if found is None:
        return condition("IngressReady", "Unknown", "Deploying", "the DomainMapping has no status yet")
    return condition("IngressReady", found["status"], found.get("reason", ""), found.get("message", ""))


def _summary(*parts: Object) -> Object:
    for state in ("False", "Unknown"):
        for part in parts:
            if part["status"] == state:
                return condition("Ready", part["status"], part.get("reason", ""), part.get("message", ""))
    return condition("Ready", "True")


def _model_status(status: Object, service: Object, configuration: Object, failed: Object | None) -> Object:
    loaded = "Loaded" if _has_ready_revision(service) else "Pending"
    found = service.get("status") or {}
    newest = found.get("latestCreatedRevisionName")
    if configuration["status"] == "True" and newest == found.get("latestReadyRevisionName"):
        return {
            "transitionStatus": "UpToDate",
            "states": {"activeModelState": "Loaded", "targetModelState": "Loaded"},
        }
    if configuration["status"] != "False":
        return {
            "transitionStatus": "InProgress",
            "states": {"activeModelState": loaded, "targetModelState": "Loading"},
        }
    message = configuration.get("message", "")
    info: Object = {"reason": "ModelLoadFailed", "message": message, "modelRevisionName": newest}
    if (code := _exit_code(failed)) is not None:
        info["exitCode"] = code
    model = {
        "transitionStatus": "BlockedByFailedLoad",
        "states": {
            "activeModelState": loaded if loaded == "Loaded" else "FailedToLoad",
            "targetModelState": "FailedToLoad",
        },
        "lastFailureInfo": info,
    }
    return _timed(status, model)


def _exit_code(revision: Object | None) -> int | None:
    """Return the exit code of a revision's container, which Knative writes into the condition's reason."""
    found = conditions.find_condition(revision, "ContainerHealthy") or {}
    code = _EXIT_CODE.fullmatch(found.get("reason", ""))
    return int(code.group(1)) if code else None


def _timed(status: Object, model: Object) -> Object:
    """Give the failure its time: that of the same failure when it was told before."""
    before = dict((status.get("modelStatus") or {}).get("lastFailureInfo") or {})
    time = before.pop("time", None)
    same = before == model["lastFailureInfo"]
    return {
        **model,
        "lastFailureInfo": {**model["lastFailureInfo"], "time": time if same and time else conditions.now()},
    }


def _has_ready_revision(service: Object | None) -> bool:
    return bool(((service or {}).get("status") or {}).get("latestReadyRevisionName"))


def _set(isvc: Object, status: Object, *changed: Object) -> None:
    """Set conditions; one that was there before keeps its time, even if it was dropped in between."""
    before = {found["type"]: found for found in (isvc.get("status") or {}).get("conditions") or []}
    for new in changed:
        kept = [*(status.get("conditions") or [])]
        if new["type"] in before and all(found["type"] != new["type"] for found in kept):
            kept.append(before[new["type"]])
        status["conditions"] = conditions.set_condition(kept, new)


def _drop(status: Object, kind: str) -> None:
    status["conditions"] = [found for found in status.get("conditions") or [] if found["type"] != kind]
