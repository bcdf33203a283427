"""Which node a pod may run on, and as whom: node and pod affinity, tolerations, pull secrets, security context.

Read into the form of a PodSpec, and carried to the Job of a step. On the embedded host there is one node, so they are
to be seen there and have no effect.
Source: KubernetesExecutorConfig of kfp-kubernetes' kubernetes_executor_config.proto; Kubernetes core/v1 PodSpec.
"""

from collections.abc import Callable
from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.functions.pipeline import expressions
from zeroflow.functions.pipeline.fields import found, mapping, only, required_text, sequence, text
from zeroflow.functions.pipeline.plan import Scheduling, Source
from zeroflow.functions.pipeline.volumes import ReadSource

SETTINGS = (
    "nodeSelector", "tolerations", "nodeAffinity", "podAffinity", "imagePullPolicy", "imagePullSecret",
    "securityContext",
)  # fmt: skip
_PULL_POLICIES = ("", "Always", "Never", "IfNotPresent")
_REQUIRED, _PREFERRED = (f"{word}DuringSchedulingIgnoredDuringExecution" for word in ("required", "preferred"))


def read(config: dict[str, Any], where: str, source: ReadSource) -> Scheduling | None:
    """Read the node settings of an executor's configuration; None when there are none."""
    if not any(config.get(name) for name in SETTINGS):
        return None
    given: list[tuple[str, Source]] = []
    pod: dict[str, Any] = {}
    selector = mapping(config.get("nodeSelector"), f"{where}: nodeSelector")
    only(selector, ("labels", "nodeSelectorJson"), f"{where}: nodeSelector")
    if selector.get("nodeSelectorJson"):
        given.append(("nodeSelector", source(mapping(selector["nodeSelectorJson"], where), f"{where}: nodeSelector")))
    elif labels := mapping(selector.get("labels"), f"{where}: nodeSelector"):
        pod["nodeSelector"] = {key: text(value, f"{where}: nodeSelector") for key, value in labels.items()}
    for item in sequence(config.get("tolerations"), f"{where}: tolerations"):
        toleration = mapping(item, f"{where}: tolerations")
        if toleration.get("tolerationJson"):
            given.append(("tolerations", source(mapping(toleration["tolerationJson"], where), f"{where}: tolerations")))
        else:
            pod.setdefault("tolerations", []).append(_toleration(toleration, f"{where}: tolerations"))
    for item in sequence(config.get("nodeAffinity"), f"{where}: nodeAffinity"):
        term = mapping(item, f"{where}: nodeAffinity")
        if term.get("nodeAffinityJson"):
            given.append(("nodeAffinity", source(mapping(term["nodeAffinityJson"], where), f"{where}: nodeAffinity")))
        else:
            _add(pod.setdefault("affinity", {}).setdefault("nodeAffinity", {}), term, _node_term(term, where))
    for item in sequence(config.get("podAffinity"), f"{where}: podAffinity"):
        term = mapping(item, f"{where}: podAffinity")
        kind = "podAntiAffinity" if term.get("anti") else "podAffinity"
        _add(pod.setdefault("affinity", {}).setdefault(kind, {}), term, _pod_term(term, f"{where}: podAffinity"))
    for item in sequence(config.get("imagePullSecret"), f"{where}: imagePullSecret"):
        secret = mapping(item, f"{where}: imagePullSecret")
        name = secret.get("secretNameParameter") or {"runtimeValue": {"constant": secret.get("secretName")}}
        given.append(("imagePullSecrets", source(mapping(name, where), f"{where}: imagePullSecret")))
    policy = text(config.get("imagePullPolicy"), f"{where}: imagePullPolicy")
    if policy not in _PULL_POLICIES:
        raise InvalidInput(f"{where}: imagePullPolicy must be Always, Never or IfNotPresent, found {found(policy)}")
    security = mapping(config.get("securityContext"), f"{where}: securityContext")
    only(security, ("runAsUser", "runAsGroup", "runAsNonRoot"), f"{where}: securityContext")
    return Scheduling(pod, tuple(given), policy, {name: _whole(value) for name, value in security.items()})


def resolved(scheduling: Scheduling, follow: Callable[[Source], Any]) -> dict[str, Any]:
    """Return fields of a PodSpec; raise InvalidInput when the run gives one of another shape."""
    pod = {**scheduling.pod, "affinity": dict(scheduling.pod.get("affinity") or {})}
    for field, source in scheduling.given:
        value = follow(source)
        if value is not expressions.ABSENT:
            value = expressions.from_json(value) if field != "imagePullSecrets" else value
        if value is expressions.ABSENT or value in (None, "", {}, []):
            continue  # an optional input that was not given
        if field == "imagePullSecrets":
            pod.setdefault(field, []).append({"name": _checked(value, str, field)})
            continue
        if field == "tolerations":
            more = value if isinstance(value, list) else [_checked(value, dict, field)]
            pod[field] = [*pod.get(field, ()), *more]
        elif field == "nodeAffinity":
            pod["affinity"] = {**pod["affinity"], field: _checked(value, dict, field)}
        else:
            pod[field] = _checked(value, dict, field)
    return {name: value for name, value in pod.items() if value}


def _checked(value: Any, kind: type, field: str) -> Any:
    if not isinstance(value, kind) or not value:
        raise InvalidInput(f"{field} must be {'an object' if kind is dict else 'a name'}, found {found(value)}")
    return value


def _toleration(item: dict[str, Any], where: str) -> dict[str, Any]:
    only(item, ("key", "operator", "value", "effect", "tolerationSeconds"), where)
    read = {name: text(item[name], where) for name in ("key", "operator", "value", "effect") if item.get(name)}
    seconds = item.get("tolerationSeconds")
    return read if seconds is None else {**read, "tolerationSeconds": _whole(seconds)}


def _node_term(item: dict[str, Any], where: str) -> dict[str, Any]:
    only(item, ("matchExpressions", "matchFields", "weight"), f"{where}: nodeAffinity")
    return {name: _requirements(item[name], where) for name in ("matchExpressions", "matchFields") if item.get(name)}


def _pod_term(item: dict[str, Any], where: str) -> dict[str, Any]:
    known = (
        "matchPodExpressions", "matchPodLabels", "topologyKey", "namespaces", "matchNamespaceExpressions",
        "matchNamespaceLabels", "weight", "anti",
    )  # fmt: skip
    only(item, known, where)
    term: dict[str, Any] = {"topologyKey": required_text(item.get("topologyKey"), f"{where}: topologyKey")}
    for field, word in (("labelSelector", "Pod"), ("namespaceSelector", "Namespace")):
        selector: dict[str, Any] = {}
        if item.get(f"match{word}Expressions"):
            selector["matchExpressions"] = _requirements(item[f"match{word}Expressions"], where)
        if item.get(f"match{word}Labels"):
            selector["matchLabels"] = mapping(item[f"match{word}Labels"], where)
        if selector:
            term[field] = selector
    if item.get("namespaces"):
        term["namespaces"] = [text(name, where) for name in sequence(item["namespaces"], where)]
    return term


def _requirements(value: Any, where: str) -> list[dict[str, Any]]:
    return [mapping(item, where) for item in sequence(value, where)]


def _add(affinity: dict[str, Any], item: dict[str, Any], term: dict[str, Any]) -> None:
    """Add a term where its weight belongs: required ones are alternatives of one selector, preferred ones a list."""
    is_node, weight = "topologyKey" not in term, item.get("weight")
    if weight:
        preferred = {"weight": _whole(weight), ("preference" if is_node else "podAffinityTerm"): term}
        affinity.setdefault(_PREFERRED, []).append(preferred)
    elif is_node:
        affinity.setdefault(_REQUIRED, {"nodeSelectorTerms": []})["nodeSelectorTerms"].append(term)
    else:
        affinity.setdefault(_REQUIRED, []).append(term)


def _whole(value: Any) -> Any:
    """Return a number as protobuf's JSON may spell an int64: as a text or a double."""
    if isinstance(value, str) and value.lstrip("-").isdigit():
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value
