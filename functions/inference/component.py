"""What predictor, transformer and explainer have in common: scaling, canary, logger, batcher, the pod around it.

What is valid in KServe and not honoured here is refused by name; fields of the pod go into the revision as they are,
and the host says which of them it cannot give. An absent `minReplicas` means 0, while KServe takes 1: nothing idle
stays up on this platform unless somebody asks for it by number.

Source: KServe v1beta1 API (ComponentExtensionSpec, PodSpec, LoggerSpec, Batcher).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zeroflow.functions.inference.refusal import Refused

SCALING_FIELDS = ("minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "containerConcurrency", "timeout")
OWN_FIELDS = ("canaryTrafficPercent", "logger", "batcher", "labels", "annotations", *SCALING_FIELDS)
POD_FIELDS = (
    "serviceAccountName",
    "imagePullSecrets",
    "nodeSelector",
    "tolerations",
    "affinity",
    "volumes",
    "initContainers",
    "runtimeClassName",
    "priorityClassName",
    "schedulerName",
    "securityContext",
    "topologySpreadConstraints",
    "hostAliases",
    "dnsPolicy",
    "dnsConfig",
    "enableServiceLinks",
    "automountServiceAccountToken",
    "shareProcessNamespace",
)
LOGGER_FIELDS = ("mode", "url", "metadataHeaders", "metadataAnnotations")
BATCHER_FIELDS = ("maxBatchSize", "maxLatency")
MAX_TIMEOUT_S = 600
DECIDED = ("predictor", "transformer")
"""Components whose canaries may be decided by evidence."""


@dataclass(frozen=True)
class Component:
    """One component of an InferenceService, whatever it runs."""

    kind: str
    """predictor, transformer or explainer."""
    canary_percent: int | None = None
    min_replicas: int | None = None
    max_replicas: int | None = None
    scale_target: int | None = None
    scale_metric: str | None = None
    container_concurrency: int | None = None
    timeout_s: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    logger: Mapping[str, Any] | None = None
    """mode, url, metadataHeaders, metadataAnnotations as declared; None when nothing is logged."""
    batcher: Mapping[str, int] | None = None
    pod: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the pod as declared, POD_FIELDS only."""
    containers: tuple[Mapping[str, Any], ...] = ()
    """The user's own containers, where there are any."""


def parse_component(kind: str, declared: Mapping[str, Any], known: tuple[str, ...]) -> Component:
    """Read one component; raise Refused for a field that is neither of every component nor among `known`."""
    place = f"spec.{kind}"
    for name, value in declared.items():
        if name not in (*OWN_FIELDS, *POD_FIELDS, *known, "containers") and value not in (None, {}, []):
            raise Refused.field(f"{place}.{name}", "is not supported")
    containers = tuple(declared.get("containers") or ())
    for container in containers:
        if not isinstance(container, dict) or not container.get("image"):
            raise Refused.field(f"{place}.containers", "must be containers with an image")
    return Component(
        kind=kind,
        canary_percent=_number(place, declared, "canaryTrafficPercent", 0, 100),
        min_replicas=_number(place, declared, "minReplicas", 0),
        max_replicas=_number(place, declared, "maxReplicas", 0) or None,  # 0 sets no limit
        scale_target=_number(place, declared, "scaleTarget", 1),
        scale_metric=_metric(place, declared),
        container_concurrency=_number(place, declared, "containerConcurrency", 0, 1000),
        timeout_s=_number(place, declared, "timeout", 1, MAX_TIMEOUT_S),
        labels=declared.get("labels") or {},
        annotations=declared.get("annotations") or {},
        logger=_logger(place, declared.get("logger")),
        batcher=_batcher(place, declared.get("batcher")),
        pod={name: declared[name] for name in POD_FIELDS if declared.get(name) not in (None, {}, [], "")},
        containers=containers,
    )


def _number(place: str, declared: Mapping[str, Any], name: str, least: int, most: int | None = None) -> int | None:
    value = declared.get(name)
    if value is None:
        return None
    if type(value) is not int or value < least or (most is not None and value > most):
        accepted = f"{least} to {most}" if most is not None else f"{least} or more"
        raise Refused.field(f"{place}.{name}", f"must be {accepted}, got {value!r}")
    return value


def _metric(place: str, declared: Mapping[str, Any]) -> str | None:
    metric = declared.get("scaleMetric")
    if metric not in (None, "concurrency", "rps"):
        raise Refused.field(f"{place}.scaleMetric", f"is {metric!r}, supported are concurrency and rps")
    return metric


def _logger(place: str, logger: Any) -> Mapping[str, Any] | None:
    if logger is None:
        return None
    _only(f"{place}.logger", logger, LOGGER_FIELDS)
    url = logger.get("url")
    if url is not None and not str(url).startswith(("http://", "https://")):
        raise Refused.field(f"{place}.logger.url", f"must be an http or https URL, got {url!r}")
    return {"mode": logger.get("mode") or "all", **{name: logger[name] for name in LOGGER_FIELDS[1:] if name in logger}}


def _batcher(place: str, batcher: Any) -> Mapping[str, int] | None:
    if batcher is None:
        return None
    _only(f"{place}.batcher", batcher, BATCHER_FIELDS)
    defaults = {"maxBatchSize": 32, "maxLatency": 5000}  # KServe's
    return {name: _number(f"{place}.batcher", batcher, name, 1) or default for name, default in defaults.items()}


def _only(place: str, given: Any, known: tuple[str, ...]) -> None:
    if not isinstance(given, dict):
        raise Refused.field(place, "must be an object")
    for name, value in given.items():
        if name not in known and value not in (None, {}, []):
            raise Refused.field(f"{place}.{name}", "is not supported")
