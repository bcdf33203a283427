"""Lists as tables: what `kubectl get` prints, computed on the server.

Built-in kinds have computed cells below; custom kinds the printer columns of their definition. Source:
meta.k8s.io/v1 Table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from zeroflow.knative.local.api import jsonpath, times
from zeroflow.knative.local.api.kinds import Kind
from zeroflow.knative.local.api.objects import Object, meta

NONE: Final = "<none>"


@dataclass(frozen=True, slots=True)
class Cell:
    """One column and how its value comes from an object."""

    name: str
    value: Callable[[Object], Any]
    type: str = "string"
    priority: int = 0
    format: str = ""
    description: str = ""


def table(kind: Kind, version: str, objects: Iterable[Object], include: str, header: bool = True) -> Object:
    """Return a Table of objects; `include` is what rows carry of them: None, Metadata or Object."""
    cells = columns(kind, version)
    made: Object = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}}
    made["columnDefinitions"] = [
        {
            "name": cell.name,
            "type": cell.type,
            "format": cell.format or ("name" if cell.name == "Name" else ""),
            "description": cell.description,
            "priority": cell.priority,
        }
        for cell in cells
    ]
    if not header:
        made["columnDefinitions"] = None
    made["rows"] = [{"cells": [_cell(cell, obj) for cell in cells]} | _carried(obj, include) for obj in objects]
    return made


def columns(kind: Kind, version: str) -> list[Cell]:
    """Return the columns of a kind, Name first."""
    name = Cell("Name", lambda obj: meta(obj).get("name", ""))
    built_in = BUILT_IN.get(kind.key)
    if built_in is not None:
        return built_in if kind.key == "Event" else [name, *built_in]
    served = kind.version(version)
    declared = [
        Cell(
            c.name,
            _printer(c.path, c.type),
            "string" if c.type == "date" else c.type,
            c.priority,
            c.format,
            c.description,
        )
        for c in (served.columns if served else ())
    ]
    return [name, *(declared or [AGE])]


def _cell(cell: Cell, obj: Object) -> Any:
    try:
        return cell.value(obj)
    except (TypeError, ValueError, AttributeError, KeyError):
        return NONE  # an object of an unexpected form must not hide the others


def _carried(obj: Object, include: str) -> Object:
    if include == "None":
        return {}
    if include == "Object":
        return {"object": obj}
    partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta(obj)}
    return {"object": partial}


def _printer(path: str, kind: str) -> Callable[[Object], Any]:
    def value(obj: Object) -> Any:
        found = jsonpath.first(path, obj)
        if kind == "date":
            return times.age(found) if isinstance(found, str) else NONE
        if found is None:
            return None
        if kind in ("integer", "number", "boolean"):
            return found if isinstance(found, int | float) else None
        if isinstance(found, bool):
            return "true" if found else "false"
        return found if isinstance(found, str) else str(found)

    return value


def _at(path: str, default: Any = "") -> Callable[[Object], Any]:
    def value(obj: Object) -> Any:
        found = jsonpath.first(path, obj)
        return default if found is None else found

    return value


def _age(obj: Object) -> str:
    return times.age(meta(obj).get("creationTimestamp"))


def _pod_ready(pod: Object) -> str:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    total = len((pod.get("spec") or {}).get("containers") or statuses)
    return f"{sum(1 for status in statuses if status.get('ready'))}/{total}"


def _pod_status(pod: Object) -> str:
    if meta(pod).get("deletionTimestamp"):
        return "Terminating"
    status = pod.get("status") or {}
    shown = str(status.get("reason") or status.get("phase") or "Pending")
    for container in status.get("containerStatuses") or ():
        state = container.get("state") or {}
        waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
        if waiting.get("reason"):
            return str(waiting["reason"])
        if ended.get("reason"):
            shown = str(ended["reason"])
    return shown


def _restarts(pod: Object) -> int:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return sum(int(status.get("restartCount", 0)) for status in statuses)


def _job_status(job: Object) -> str:
    status = job.get("status") or {}
    true = {c.get("type") for c in status.get("conditions") or () if c.get("status") == "True"}
    for condition in ("Complete", "Failed", "Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if condition in true:
            return condition
    return "Terminating" if meta(job).get("deletionTimestamp") else "Running"


def _job_completions(job: Object) -> str:
    spec = job.get("spec") or {}
    wanted = spec.get("completions", 1)
    return f"{(job.get('status') or {}).get('succeeded', 0)}/{wanted}"


def _job_duration(job: Object) -> str:
    status = job.get("status") or {}
    start, end = times.parsed(status.get("startTime") or ""), times.parsed(status.get("completionTime") or "")
    if start is None:
        return ""
    return times.age(status["startTime"]) if end is None else times.human((end - start).total_seconds())


def _last_schedule(cronjob: Object) -> str:
    last = (cronjob.get("status") or {}).get("lastScheduleTime")
    return times.age(last) if last else NONE


def _job_containers(field: str, job_spec: str = ".spec") -> Callable[[Object], str]:
    def value(job: Object) -> str:
        containers = jsonpath.first(f"{job_spec}.template.spec.containers", job) or []
        return ",".join(str(container.get(field, "")) for container in containers)

    return value


def _job_selector(job: Object) -> str:
    labels = jsonpath.first(".spec.selector.matchLabels", job) or {}
    return ",".join(f"{key}={value}" for key, value in labels.items()) or NONE


def _event_object(event: Object) -> str:
    involved = event.get("involvedObject") or {}
    return f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"


def _event_last(event: Object) -> str:
    return times.age(event.get("lastTimestamp") or event.get("eventTime") or meta(event).get("creationTimestamp"))


def _node_status(node: Object) -> str:
    conditions = (node.get("status") or {}).get("conditions") or ()
    ready = any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)
    return ("Ready" if ready else "NotReady") + (
        ",SchedulingDisabled" if (node.get("spec") or {}).get("unschedulable") else ""
    )


def _service_ports(service: Object) -> str:
    ports = (service.get("spec") or {}).get("ports") or ()
    return ",".join(f"{port['port']}/{port.get('protocol', 'TCP')}" for port in ports)


def _address(kind: str) -> Callable[[Object], str]:
    def value(node: Object) -> str:
        addresses = (node.get("status") or {}).get("addresses") or ()
        return next((str(each["address"]) for each in addresses if each.get("type") == kind), NONE)

    return value


def _claim_status(claim: Object) -> str:
    if meta(claim).get("deletionTimestamp"):
        return "Terminating"
    return str((claim.get("status") or {}).get("phase", "Pending"))


def _access_modes(claim: Object) -> str:
    short = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
    modes = (claim.get("status") or {}).get("accessModes") or ()
    return ",".join(short.get(mode, mode) for mode in modes)


def _count(*fields: str) -> Callable[[Object], int]:
    return lambda obj: sum(len(obj.get(field) or ()) for field in fields)


AGE: Final = Cell("Age", _age)
BUILT_IN: Final[dict[str, list[Cell]]] = {
    "Namespace": [Cell("Status", _at(".status.phase")), AGE],
    "ConfigMap": [Cell("Data", _count("data", "binaryData"), "integer"), AGE],
    "Secret": [Cell("Type", _at(".type")), Cell("Data", _count("data"), "integer"), AGE],
    "ServiceAccount": [Cell("Secrets", _count("secrets"), "integer"), AGE],
    "PersistentVolumeClaim": [
        Cell("Status", _claim_status),
        Cell("Volume", _at(".spec.volumeName")),
        Cell("Capacity", _at(".status.capacity.storage")),
        Cell("Access Modes", _access_modes),
        Cell("StorageClass", _at(".spec.storageClassName")),
        Cell("VolumeAttributesClass", _at(".spec.volumeAttributesClassName", "<unset>")),
        AGE,
        Cell("VolumeMode", _at(".spec.volumeMode", "<unset>"), priority=1),
    ],
    "Pod": [
        Cell("Ready", _pod_ready),
        Cell("Status", _pod_status),
        Cell("Restarts", _restarts, "integer"),
        AGE,
        Cell("IP", _at(".status.podIP", NONE), priority=1),
        Cell("Node", _at(".spec.nodeName", NONE), priority=1),
    ],
    "Service": [
        Cell("Type", _at(".spec.type")),
        Cell("Cluster-IP", _at(".spec.clusterIP", NONE)),
        Cell("External-IP", lambda service: NONE),
        Cell("Port(s)", _service_ports),
        AGE,
        Cell("Selector", lambda service: NONE, priority=1),
    ],
    "Node": [
        Cell("Status", _node_status),
        Cell("Roles", lambda node: NONE),
        AGE,
        Cell("Version", _at(".status.nodeInfo.kubeletVersion")),
        Cell("Internal-IP", _address("InternalIP"), priority=1),
        Cell("External-IP", _address("ExternalIP"), priority=1),
        Cell("OS-Image", _at(".status.nodeInfo.osImage"), priority=1),
        Cell("Kernel-Version", _at(".status.nodeInfo.kernelVersion"), priority=1),
        Cell("Container-Runtime", _at(".status.nodeInfo.containerRuntimeVersion"), priority=1),
    ],
    "Event": [
        Cell("Last Seen", _event_last),
        Cell("Type", _at(".type")),
        Cell("Reason", _at(".reason")),
        Cell("Object", _event_object),
        Cell("Source", _at(".source.component"), priority=1),
        Cell("Message", _at(".message")),
        Cell("Count", _at(".count", 1), "integer", priority=1),
        Cell("Name", lambda obj: meta(obj).get("name", ""), priority=1),
    ],
    "Job.batch": [
        Cell("Status", _job_status),
        Cell("Completions", _job_completions),
        Cell("Duration", _job_duration),
        AGE,
        Cell("Containers", _job_containers("name"), priority=1),
        Cell("Images", _job_containers("image"), priority=1),
        Cell("Selector", _job_selector, priority=1),
    ],
    "CronJob.batch": [
        Cell("Schedule", _at(".spec.schedule")),
        Cell("Timezone", _at(".spec.timeZone", NONE)),
        Cell("Suspend", lambda cronjob: "True" if (cronjob.get("spec") or {}).get("suspend") else "False"),
        Cell("Active", lambda cronjob: len((cronjob.get("status") or {}).get("active") or ()), "integer"),
        Cell("Last Schedule", _last_schedule),
        AGE,
        Cell("Containers", _job_containers("name", ".spec.jobTemplate.spec"), priority=1),
        Cell("Images", _job_containers("image", ".spec.jobTemplate.spec"), priority=1),
        Cell("Selector", lambda cronjob: NONE, priority=1),
    ],
    "Lease.coordination.k8s.io": [Cell("Holder", _at(".spec.holderIdentity")), AGE],
    "CustomResourceDefinition.apiextensions.k8s.io": [
        Cell("Created At", lambda obj: meta(obj).get("creationTimestamp", ""))
    ],
}
