"""What predictor, transformer and explainer have in common: scaling, canary, logger, batcher, the pod around it.

What is valid in KServe and not honoured here is refused by name; fields of the pod go into the revision as they are,
and the host says which of them it cannot give. An absent `minReplicas` means 0, while KServe takes 1: nothing idle
stays up on this platform unless somebody asks for it by number.

Source: KServe v1beta1 API (ComponentExtensionSpec, PodSpec, LoggerSpec, Batcher).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zeroflow.functions.inference import scaling
from zeroflow.functions.inference.refusal import Refused
from zeroflow.functions.inference.scaling import Scaling, whole
from zeroflow.functions.inference.stored import Stored, stored

OWN_FIELDS = (
    "canaryTrafficPercent",
    "containerConcurrency",
    "timeout",
    "logger",
    "batcher",
    "labels",
    "annotations",
    "storageUris",
    *scaling.FIELDS,
)
OF_DEPLOYMENTS = ("deploymentStrategy",)
"""What is said of a Deployment alone: how Knative exchanges revisions is its own matter."""
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
ALIASES = {"serviceAccount": "serviceAccountName"}
"""Names that Kubernetes still takes for a field of the pod."""
LOGGER_FIELDS = ("mode", "url", "metadataHeaders", "metadataAnnotations")
BATCHER_FIELDS = ("maxBatchSize", "maxLatency", "timeout")
MAX_TIMEOUT_S = 600
DECIDED = ("predictor", "transformer")
"""Components whose canaries may be decided by evidence."""


@dataclass(frozen=True)
class Component:
    """One component of an InferenceService, whatever it runs."""

    kind: str
    """predictor, transformer or explainer."""
    canary_percent: int | None = None
    scaling: Scaling = field(default_factory=Scaling)
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
    stored: tuple[Stored, ...] = ()
    """What a server that is not ours finds below its paths."""
    adapted: tuple[str, ...] = ()
    """What is done otherwise than it was asked for, in words."""


def parse_component(
    kind: str, declared: Mapping[str, Any], known: tuple[str, ...], annotations: Mapping[str, str]
) -> Component:
    """Read one component; raise Refused for a field that is neither of every component nor among `known`.

    `annotations` are those of the InferenceService.
    """
    place = f"spec.{kind}"
    honoured = (*OWN_FIELDS, *POD_FIELDS, *known, "containers", *ALIASES)
    honoured += OF_DEPLOYMENTS if scaling.is_standard(annotations) else ()
    for name, value in declared.items():
        if name not in honoured and (value not in (None, {}, []) or (name == "workerSpec" and value is not None)):
            raise Refused.field(f"{place}.{name}", "is not supported")
    containers = tuple(declared.get("containers") or ())
    for container in containers:
        if not isinstance(container, dict) or not container.get("image"):
            raise Refused.field(f"{place}.containers", "must be containers with an image")
    ported: tuple[str, ...] = ()
    if scaling.is_standard(annotations):
        containers, ported = _with_one_port(kind, containers)
    scales = scaling.scaling(kind, declared, annotations)
    left = (f"{kind}: {name} is left to Knative" for name in OF_DEPLOYMENTS if declared.get(name))
    return Component(
        kind=kind,
        canary_percent=whole(place, declared, "canaryTrafficPercent", 0, 100),
        scaling=scales,
        container_concurrency=whole(place, declared, "containerConcurrency", 0, 1000),
        timeout_s=whole(place, declared, "timeout", 1, MAX_TIMEOUT_S),
        labels=declared.get("labels") or {},
        annotations=declared.get("annotations") or {},
        logger=_logger(place, declared.get("logger")),
        batcher=_batcher(place, declared.get("batcher")),
        pod=_pod(declared),
        containers=containers,
        stored=stored(place, declared),
        adapted=(*scales.adapted, *left, *ported),
    )


def _with_one_port(
    kind: str, containers: tuple[Mapping[str, Any], ...]
) -> tuple[tuple[Mapping[str, Any], ...], tuple[str, ...]]:
    """Return containers with the one port that a Knative Service has, under its name there, and what that leaves out.

    A Deployment's ports are named `http`, `grpc-port`, `http1-metrics`: by protocol. The HTTP port is kept.
    """
    found = [port for container in containers for port in container.get("ports") or () if isinstance(port, dict)]
    kept = next((port for port in found if not _is_grpc(port)), found[0] if found else None)
    if kept is None:
        return containers, ()
    named = {**kept, **({"name": "h2c" if _is_grpc(kept) else "http1"} if kept.get("name") else {})}
    ported = tuple(
        {**each, "ports": [named]}
        if kept in (each.get("ports") or ())
        else {k: v for k, v in each.items() if k != "ports"}
        for each in containers
    )
    others = [str(port.get("containerPort")) for port in found if port is not kept]
    said = f"{kind}: a Knative Service has one port, {kept.get('containerPort')}; not reached: {', '.join(others)}"
    return ported, (said,) if others else ()


def _is_grpc(port: Mapping[str, Any]) -> bool:
    return str(port.get("name") or "").startswith(("grpc", "h2c"))


def _pod(declared: Mapping[str, Any]) -> Mapping[str, Any]:
    found = {name: declared[name] for name in POD_FIELDS if declared.get(name) not in (None, {}, [], "")}
    old = {new: declared[name] for name, new in ALIASES.items() if declared.get(name)}
    return {**old, **found}


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
    whole(f"{place}.batcher", batcher, "timeout", 1)  # seconds until a batch is sent off: here none ever waits
    defaults = {"maxBatchSize": 32, "maxLatency": 5000}  # KServe's
    return {name: whole(f"{place}.batcher", batcher, name, 1) or default for name, default in defaults.items()}


def _only(place: str, given: Any, known: tuple[str, ...]) -> None:
    if not isinstance(given, dict):
        raise Refused.field(place, "must be an object")
    for name, value in given.items():
        if name not in known and value not in (None, {}, []):
            raise Refused.field(f"{place}.{name}", "is not supported")
