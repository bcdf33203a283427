"""What a Service, Revision or DomainMapping must look like: defaults, and what Knative refuses, in Knative's words.

The CRDs check little; this is the part that Knative's webhooks do. What a cluster would run and this host does not
(sidecars, other volumes) is refused as well, with a message that says so. Source: knative.dev/serving
pkg/apis/serving (k8s_validation, metadata_validation), pkg/apis/serving/v1, defaults of config-defaults.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.knative.local.api.errors import Invalid
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.serving import labels
from zeroflow.knative.local.serving.scaling import duration_s, progress_deadline_s, settings_of

Object = dict[str, Any]

DEFAULT_TIMEOUT_S = 300
MAX_TIMEOUT_S = 600
MAX_CONCURRENCY = 1000
RESERVED_ENV = frozenset({"PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION"})
RESERVED_PORTS = frozenset({8008, 8012, 8013, 8022, 8112, 9090, 9091})
RESERVED_MOUNTS = frozenset({"/", "/dev", "/dev/log"})
POD_FIELDS = frozenset(
    [
        "containers",
        "volumes",
        "containerConcurrency",
        "timeoutSeconds",
        "responseStartTimeoutSeconds",
        "idleTimeoutSeconds",
        "serviceAccountName",
        "imagePullSecrets",
        "enableServiceLinks",
        "automountServiceAccountToken",
    ]
)
VOLUME_FIELDS = frozenset({"name", "emptyDir", "secret", "configMap"})
CONTAINER_FIELDS = frozenset(
    [
        "name",
        "image",
        "command",
        "args",
        "env",
        "envFrom",
        "ports",
        "resources",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "workingDir",
        "volumeMounts",
        "imagePullPolicy",
        "securityContext",
        "terminationMessagePath",
        "terminationMessagePolicy",
    ]
)
_DENIED = 'admission webhook "validation.webhook.serving.knative.dev" denied the request: validation failed: '
_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


def register(store: Store) -> None:
    """Have `store` ask here about every write."""
    store.admit(labels.SERVICE_KIND, admit_service)
    store.admit(labels.REVISION_KIND, admit_revision)
    store.admit(labels.MAPPING_KIND, admit_mapping)


def admit_service(new: Object, old: Object | None) -> Object:
    """Return `new` with defaults; raise Invalid for what Knative refuses."""
    _default_service(new, old)
    faults = [*_name_faults(new), *_annotation_faults(new, old), *_template_faults(new), *_traffic_faults(new)]
    if faults:
        raise Invalid(_DENIED + ", ".join(faults))
    return new


def admit_revision(new: Object, old: Object | None) -> Object:
    """Refuse to change what a revision runs."""
    if old is not None and new.get("spec") != old.get("spec"):
        raise Invalid(_DENIED + "Immutable fields changed (-old +new): spec")
    return new


def admit_mapping(new: Object, old: Object | None) -> Object:
    """Return a DomainMapping with the kind and namespace of its target; it must be a Service of its namespace."""
    ref = new.setdefault("spec", {}).setdefault("ref", {})
    ref.setdefault("namespace", new["metadata"].get("namespace"))
    ref.setdefault("apiVersion", labels.API_VERSION)
    if ref.get("kind") == "KService":
        ref["kind"] = "Service"
    faults = []
    if not ref.get("name"):
        faults.append("missing field(s): spec.ref.name")
    if ref.setdefault("kind", "Service") != "Service":
        faults.append(f"invalid value: {ref['kind']}: spec.ref.kind (this host maps domains to Services)")
    if ref["namespace"] != new["metadata"].get("namespace"):
        faults.append(
            f"Ref namespace must be empty or equal to the domain mapping namespace "
            f"{new['metadata'].get('namespace')!r}: spec.ref.namespace"
        )
    if faults:
        raise Invalid(_DENIED + ", ".join(faults))
    return new


def _default_service(new: Object, old: Object | None) -> None:
    annotations = new["metadata"].setdefault("annotations", {})
    before = (old or {}).get("metadata", {}).get("annotations") or {}
    annotations.setdefault(labels.CREATOR, before.get(labels.CREATOR, "zeroflow"))
    annotations.setdefault(labels.LAST_MODIFIER, before.get(labels.LAST_MODIFIER, "zeroflow"))
    spec = new.setdefault("spec", {})
    template = spec.setdefault("template", {})
    pod = template.setdefault("spec", {})
    if pod.get("timeoutSeconds") is None:
        pod["timeoutSeconds"] = DEFAULT_TIMEOUT_S
    if pod.get("containerConcurrency") is None:
        pod["containerConcurrency"] = 0
    pod.setdefault("enableServiceLinks", False)
    containers = pod.get("containers")
    if isinstance(containers, list) and len(containers) == 1:
        container = containers[0]
        container["name"] = container.get("name") or "user-container"
        probe = container["readinessProbe"] = container.get("readinessProbe") or {}
        probe.setdefault("successThreshold", 1)
        if not {"httpGet", "tcpSocket", "exec", "grpc"} & set(probe):
            probe["tcpSocket"] = {"port": 0}
    if not spec.get("traffic"):
        spec["traffic"] = [{"latestRevision": True, "percent": 100}]
    for target in spec["traffic"]:
        if target.get("latestRevision") is None:
            target["latestRevision"] = not target.get("revisionName")


def _name_faults(new: Object) -> Iterator[str]:
    name = new["metadata"].get("name", "")
    if not _DNS_1035.fullmatch(name):
        yield f"invalid value: not a DNS 1035 label: {name}: metadata.name"
    revision = (new["spec"]["template"].get("metadata") or {}).get("name")
    if revision and not revision.startswith(f"{name}-"):
        yield f'"{revision}" must have "{name}-" prefix: spec.template.metadata.name'


def _annotation_faults(new: Object, old: Object | None) -> Iterator[str]:
    annotations = new["metadata"]["annotations"]
    before = (old or {}).get("metadata", {}).get("annotations") or {}
    for key in (labels.CREATOR,):
        if key in before and annotations.get(key) != before[key]:
            yield f"annotation value is immutable: metadata.annotations.{key}"
    for key in annotations:
        if key.startswith(labels.AUTOSCALING):
            yield (
                f"autoscaling annotations must be put under spec.template.metadata.annotations to work: "
                f"metadata.annotations.{key}"
            )
    rollout = annotations.get(labels.ROLLOUT_DURATION)
    if rollout is not None:
        span = duration_s(rollout)
        if span is None or span != int(span):
            yield f"invalid value: {rollout}: metadata.annotations.{labels.ROLLOUT_DURATION}"
    template = new["spec"]["template"].get("metadata") or {}
    concurrency = new["spec"]["template"]["spec"].get("containerConcurrency")
    try:
        settings_of(template.get("annotations") or {}, concurrency if isinstance(concurrency, int) else 0, 60.0)
        progress_deadline_s(template.get("annotations") or {}, 0.0)
    except InvalidInput as error:
        yield f"{error} (spec.template.metadata.annotations)"


def _template_faults(new: Object) -> Iterator[str]:
    where = "spec.template.spec"
    pod = new["spec"]["template"]["spec"]
    yield from _unknown(pod, POD_FIELDS, where)
    yield from _range(pod["timeoutSeconds"], 0, MAX_TIMEOUT_S, f"{where}.timeoutSeconds")
    yield from _range(pod["containerConcurrency"], 0, MAX_CONCURRENCY, f"{where}.containerConcurrency")
    for name in ("responseStartTimeoutSeconds", "idleTimeoutSeconds"):
        if pod.get(name) is not None:
            yield from _range(pod[name], 0, pod["timeoutSeconds"] or MAX_TIMEOUT_S, f"{where}.{name}")
    for number, volume in enumerate(pod.get("volumes") or ()):
        yield from _unknown(volume, VOLUME_FIELDS, f"{where}.volumes[{number}]")
    containers = pod.get("containers")
    if not isinstance(containers, list) or not containers:
        yield f"missing field(s): {where}.containers"
    elif len(containers) > 1:
        yield f"expected exactly one, got {len(containers)}: {where}.containers (here a Pod has one container)"
    else:
        yield from _container_faults(containers[0], f"{where}.containers[0]")


def _container_faults(container: Object, where: str) -> Iterator[str]:
    yield from _unknown(container, CONTAINER_FIELDS, where)
    if not container.get("image"):
        yield f"missing field(s): {where}.image"
    if container["name"] == "queue-proxy":
        yield f'"queue-proxy" is a reserved container name: {where}.name'
    for number, variable in enumerate(container.get("env") or ()):
        if variable.get("name") in RESERVED_ENV:
            yield f'"{variable["name"]}" is a reserved environment variable: {where}.env[{number}].name'
        for source in variable.get("valueFrom") or ():
            if source not in ("configMapKeyRef", "secretKeyRef"):
                yield f"must not set the field(s): {where}.env[{number}].valueFrom.{source}"
    for number, mounted in enumerate(container.get("volumeMounts") or ()):
        path = str(mounted.get("mountPath", "")).rstrip("/") or "/"
        if path in RESERVED_MOUNTS:
            yield f'mountPath "{path}" is a reserved path: {where}.volumeMounts[{number}].mountPath'
    yield from _port_faults(container.get("ports") or [], where)
    for name in ("readinessProbe", "livenessProbe", "startupProbe"):
        for handler in ("exec", "grpc"):
            if handler in (container.get(name) or {}):
                yield f"must not set the field(s): {where}.{name}.{handler} (this host has httpGet and tcpSocket)"


def _port_faults(ports: list[Object], where: str) -> Iterator[str]:
    if len(ports) > 1:
        yield f"more than one container port is set: {where}.ports. Only a single port is allowed"
    for number, port in enumerate(ports):
        at = f"{where}.ports[{number}]"
        value = port.get("containerPort")
        if value is not None:
            yield from _range(value, 0, 65535, f"{at}.containerPort")
            if value in RESERVED_PORTS:
                yield f"invalid value: {value}: {at}.containerPort"
        if port.get("protocol", "TCP") != "TCP":
            yield f"invalid value: {port['protocol']}: {at}.protocol"
        if port.get("name", "") not in ("", "h2c", "http1"):
            yield f"Port name {port['name']} is not allowed: {at}.name. Name must be empty, or one of: 'h2c', 'http1'"


def _traffic_faults(new: Object) -> Iterator[str]:
    total = 0
    seen: dict[str, int] = {}
    for number, target in enumerate(new["spec"]["traffic"]):
        at = f"spec.traffic[{number}]"
        percent = target.get("percent") or 0
        yield from _range(percent, 0, 100, f"{at}.percent")
        total += percent if isinstance(percent, int) else 0
        if "configurationName" in target:
            yield f"must not set the field(s): {at}.configurationName"
        if target.get("revisionName") and target["latestRevision"]:
            named = target["revisionName"]
            yield f'may not set revisionName "{named}" when latestRevision is true: {at}.latestRevision'
        if not target.get("revisionName") and not target["latestRevision"]:
            yield f"may not set latestRevision to false when revisionName is empty: {at}.latestRevision"
        tag = target.get("tag")
        if tag:
            if not _DNS_1035.fullmatch(tag):
                yield f"invalid value: not a DNS 1035 label prefix: {tag}: {at}.tag"
            if tag in seen:
                yield f'Multiple definitions for "{tag}": spec.traffic[{seen[tag]}].tag, {at}.tag'
            seen[tag] = number
    if total != 100:
        yield f"Traffic targets sum to {total}, want 100: spec.traffic"


def _range(value: Any, least: int, most: int, where: str) -> Iterator[str]:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        yield f"expected {least} <= {value} <= {most}: {where}"


def _unknown(given: Object, allowed: frozenset[str], where: str) -> Iterator[str]:
    unknown = sorted(set(given) - allowed)
    if unknown:
        yield f"must not set the field(s): {', '.join(f'{where}.{name}' for name in unknown)}"
