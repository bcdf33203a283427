"""What the pod of a revision template may say: fields, volumes, limits, and which container takes the requests.

Source: knative.dev/serving pkg/apis/serving/{k8s_validation,fieldmask}.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from zeroflow.knative.local.processes.volumes import KINDS as VOLUMES_HERE
from zeroflow.knative.local.serving.admission import features
from zeroflow.knative.local.serving.admission.containers import container_faults
from zeroflow.knative.local.serving.admission.faults import Fault, disallowed, invalid, missing, out_of_range
from zeroflow.knative.local.serving.configuration.revisions import RevisionDefaults

Object = dict[str, Any]

_ALWAYS = frozenset(
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
    ]
)
_ALWAYS_VOLUMES = frozenset({"secret", "configMap", "projected"})
_DNS_1123 = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def pod_faults(pod: Object, where: str, enabled: frozenset[str], bounds: RevisionDefaults) -> Iterator[Fault]:
    """Yield what is wrong with the spec of a revision (or of its template)."""
    allowed = _ALWAYS | {name for name, feature in features.POD_FIELDS.items() if feature in enabled}
    yield from disallowed(pod, allowed, where)
    longest, least = bounds.most_timeout_s, 0 if bounds.unlimited else 1
    yield from out_of_range(pod["timeoutSeconds"], 0, longest, f"{where}.timeoutSeconds")
    yield from out_of_range(
        pod["containerConcurrency"], least, bounds.most_concurrency, f"{where}.containerConcurrency"
    )
    most = pod["timeoutSeconds"] if isinstance(pod["timeoutSeconds"], int) else longest
    for name in ("responseStartTimeoutSeconds", "idleTimeoutSeconds"):
        if pod.get(name) is not None:
            yield from out_of_range(pod[name], 0, most or longest, f"{where}.{name}")
    volumes = pod.get("volumes") or []
    yield from _volume_faults(volumes, where, enabled)
    inits = pod.get("initContainers") or [] if "initContainers" in allowed else []
    containers = pod.get("containers")
    if not isinstance(containers, list) or not containers:
        yield missing(f"{where}.containers")
        return
    yield from _port_faults(containers, where)
    known = {volume.get("name"): volume for volume in volumes}
    for number, container in enumerate(containers):
        serves = len(containers) == 1 or bool(container.get("ports"))
        at = f"{where}.containers[{number}]"
        yield from container_faults(container, at, known, enabled, serves=serves)
    for number, container in enumerate(inits):
        yield from container_faults(container, f"{where}.initContainers[{number}]", known, enabled, serves=False)
    used = {mount.get("name") for each in (*containers, *inits) for mount in each.get("volumeMounts") or ()}
    for number, volume in enumerate(volumes):
        if volume.get("name") and volume["name"] not in used:
            yield Fault(f'volume with name "{volume["name"]}" not mounted', f"{where}.volumes[{number}].name")


def _volume_faults(volumes: list[Object], where: str, enabled: frozenset[str]) -> Iterator[Fault]:
    kinds = _ALWAYS_VOLUMES | {name for name, feature in features.VOLUME_KINDS.items() if feature in enabled}
    seen: set[str] = set()
    for number, volume in enumerate(volumes):
        at = f"{where}.volumes[{number}]"
        name = volume.get("name")
        if not name:
            yield missing(f"{at}.name")
        elif not _DNS_1123.fullmatch(name):
            yield invalid(name, f"{at}.name")
        elif name in seen:
            yield Fault(f'duplicate volume name "{name}"', f"{at}.name")
        seen.add(name or "")
        yield from disallowed(volume, kinds | {"name"}, at)
        given = sorted(set(volume) & kinds)
        if not set(volume) - {"name"}:
            for kind in sorted(kinds):
                yield Fault("expected exactly one, got neither", f"{at}.{kind}")
        if len(given) > 1:
            for kind in given:
                yield Fault("expected exactly one, got both", f"{at}.{kind}")
        for kind in given:
            if kind not in VOLUMES_HERE:
                yield Fault(f"this host has {', '.join(VOLUMES_HERE)} volumes", f"{at}.{kind}")


def _port_faults(containers: list[Object], where: str) -> Iterator[Fault]:
    """Yield when it is not clear which of several containers takes the requests."""
    count = sum(len(container.get("ports") or ()) for container in containers)
    if len(containers) > 1 and count == 0:
        yield missing(f"{where}.containers.ports")
    if len(containers) > 1 and count > 1:
        details = "Only a single port is allowed across all containers"
        yield Fault("more than one container port is set", f"{where}.containers.ports", details)
