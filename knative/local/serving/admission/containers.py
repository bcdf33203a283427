"""What one container of a revision template may say.

Source: knative.dev/serving pkg/apis/serving/{k8s_validation,fieldmask}.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

from zeroflow.knative.local.serving.admission import features
from zeroflow.knative.local.serving.admission.faults import (
    INT32_MAX,
    Fault,
    disallowed,
    invalid,
    missing,
    out_of_range,
)

Object = dict[str, Any]

RESERVED_ENV = frozenset({"PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION"})
RESERVED_PORTS = frozenset({8008, 8012, 8013, 8022, 8112, 9090, 9091})
RESERVED_MOUNTS = frozenset({"/", "/dev", "/dev/log"})
HANDLERS = ("exec", "grpc", "httpGet", "tcpSocket")
_FIELDS = frozenset(
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
_PROBES = ("readinessProbe", "livenessProbe", "startupProbe")
_SECURITY = frozenset(
    [
        "allowPrivilegeEscalation",
        "capabilities",
        "readOnlyRootFilesystem",
        "runAsGroup",
        "runAsNonRoot",
        "runAsUser",
        "seccompProfile",
    ]
)
_IMAGE = re.compile(r"[a-z0-9][\w.\-/:]*(@[a-z0-9]+:[0-9a-f]+)?", re.IGNORECASE)


def container_faults(
    container: Object, where: str, volumes: Mapping[Any, Object], enabled: frozenset[str], *, serves: bool
) -> Iterator[Fault]:
    """Yield what is wrong with a container; `serves`: it takes the requests."""
    allowed = _FIELDS if serves else _FIELDS - {"ports", *_PROBES}
    yield from disallowed(container, allowed | ({"restartPolicy"} if "initContainers" in where else set()), where)
    image = container.get("image")
    if not image:
        yield missing(f"{where}.image")
    elif not _IMAGE.fullmatch(str(image)):
        details = f'image: "{image}", error: could not parse reference: {image}'
        yield Fault("Failed to parse image reference", f"{where}.image", details)
    if container.get("name") == "queue-proxy":
        yield Fault('"queue-proxy" is a reserved container name', f"{where}.name")
    if (policy := container.get("imagePullPolicy")) not in (None, "", "Always", "IfNotPresent", "Never"):
        yield invalid(policy, f"{where}.imagePullPolicy")
    if (policy := container.get("terminationMessagePolicy")) not in (None, "", "File", "FallbackToLogsOnError"):
        yield invalid(policy, f"{where}.terminationMessagePolicy")
    yield from _env_faults(container, where, enabled)
    yield from _mount_faults(container, where, volumes, enabled)
    yield from _security_faults(container.get("securityContext") or {}, f"{where}.securityContext", enabled)
    if not serves:
        return
    yield from _port_faults(container.get("ports") or [], where)
    for name in _PROBES:
        if probe := container.get(name):
            yield from _probe_faults(probe, f"{where}.{name}", readiness=name == "readinessProbe")


def _env_faults(container: Object, where: str, enabled: frozenset[str]) -> Iterator[Fault]:
    sources = {"configMapKeyRef", "secretKeyRef"}
    if features.FIELD_REF in enabled:
        sources |= {"fieldRef", "resourceFieldRef"}
    for number, variable in enumerate(container.get("env") or ()):
        at = f"{where}.env[{number}]"
        if not variable.get("name"):
            yield missing(f"{at}.name")
        elif variable["name"] in RESERVED_ENV:
            yield Fault(f'"{variable["name"]}" is a reserved environment variable', f"{at}.name")
        yield from disallowed(variable.get("valueFrom") or {}, sources, f"{at}.valueFrom")


def _mount_faults(
    container: Object, where: str, volumes: Mapping[Any, Object], enabled: frozenset[str]
) -> Iterator[Fault]:
    seen: set[str] = set()
    for number, mount in enumerate(container.get("volumeMounts") or ()):
        at = f"{where}.volumeMounts[{number}]"
        if mount.get("name") not in volumes:
            yield Fault("volumeMount has no matching volume", f"{at}.name")
        written = mount.get("mountPath")
        if not written:
            yield missing(f"{at}.mountPath")
            continue
        path = posixpath.normpath(str(written))
        if path in RESERVED_MOUNTS:
            yield Fault(f'mountPath "{path}" is a reserved path', f"{at}.mountPath")
        elif not path.startswith("/"):
            yield invalid(written, f"{at}.mountPath")
        elif path in seen:
            yield invalid(f'"{written}" must be unique', f"{at}.mountPath")
        seen.add(path)
        claimed = "persistentVolumeClaim" in volumes.get(mount.get("name"), {})
        if claimed and not mount.get("readOnly") and features.VOLUME_WRITE not in enabled:
            yield Fault("Persistent volume write support is disabled, but found persistent volume claim", at)


def _security_faults(given: Object, where: str, enabled: frozenset[str]) -> Iterator[Fault]:
    yield from disallowed(given, _SECURITY, where)
    if (uid := given.get("runAsUser")) is not None:
        yield from out_of_range(uid, 0, INT32_MAX, f"{where}.runAsUser")
    if (gid := given.get("runAsGroup")) is not None:
        yield from out_of_range(gid, 0, INT32_MAX, f"{where}.runAsGroup")
    added = (given.get("capabilities") or {}).get("add") or []
    if set(added) - {"NET_BIND_SERVICE"} and features.ADD_CAPABILITIES not in enabled:
        yield Fault("must not set the field(s)", f"{where}.capabilities.add")


def _port_faults(ports: list[Object], where: str) -> Iterator[Fault]:
    if len(ports) > 1:
        yield Fault("more than one container port is set", f"{where}.ports", "Only a single port is allowed")
    for number, port in enumerate(ports):
        at = f"{where}.ports[{number}]"
        yield from disallowed(port, ("containerPort", "name", "protocol"), at)
        value = port.get("containerPort")
        if value is not None:
            yield from out_of_range(value, 0, 65535, f"{at}.containerPort")
            if value in RESERVED_PORTS:
                yield invalid(value, f"{at}.containerPort")
        if port.get("protocol", "TCP") != "TCP":
            yield invalid(port["protocol"], f"{at}.protocol")
        if port.get("name", "") not in ("", "h2c", "http1"):
            details = "Name must be empty, or one of: 'h2c', 'http1'"
            yield Fault(f"Port name {port['name']} is not allowed", at, details)


def _probe_faults(probe: Object, where: str, *, readiness: bool) -> Iterator[Fault]:
    given = [name for name in HANDLERS if name in probe]
    for name in given if len(given) > 1 else () if given else HANDLERS:
        yield Fault(f"expected exactly one, got {'both' if given else 'neither'}", f"{where}.{name}")
    numbers = {name: probe.get(name) or 0 for name in ("periodSeconds", "initialDelaySeconds", "timeoutSeconds")}
    for name, value in numbers.items():
        yield from out_of_range(value, 0, INT32_MAX, f"{where}.{name}")
    if not readiness:
        return
    yield from out_of_range(probe.get("successThreshold", 1), 1, INT32_MAX, f"{where}.successThreshold")
    if not numbers["periodSeconds"]:
        for name in ("failureThreshold", "timeoutSeconds"):
            if probe.get(name):
                yield Fault(f"{name} is disallowed when periodSeconds is zero", f"{where}.{name}")
