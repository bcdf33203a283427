"""What a Job must look like: Kubernetes' defaults and refusals, and what this host does not have.

Source: Kubernetes batch/v1 validation and defaulting.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zeroflow.knative.local.api.errors import Cause, Invalid
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.processes.volumes import KINDS as VOLUMES

Object = dict[str, Any]

JOB_KIND = "Job.batch"
JOB_NAME = "batch.kubernetes.io/job-name"
CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
DEFAULT_BACKOFF_LIMIT = 6
_MUTABLE = frozenset({"parallelism", "suspend", "activeDeadlineSeconds", "ttlSecondsAfterFinished", "backoffLimit"})
_NOT_HERE = frozenset({"podFailurePolicy", "successPolicy", "backoffLimitPerIndex", "maxFailedIndexes", "managedBy"})


def register(store: Store) -> None:
    """Have `store` ask here about every write of a Job."""
    store.admit(JOB_KIND, admit)


def admit(new: Object, old: Object | None) -> Object:
    """Return `new` with defaults; raise Invalid with the fields that are wrong."""
    spec = new.setdefault("spec", {})
    complete(spec)
    causes = list(faults(spec, "spec"))
    if old is not None:
        if "selector" in old["spec"]:
            spec.setdefault("selector", old["spec"]["selector"])
        causes += _changed(spec, old["spec"])
    if causes:
        raise Invalid.fields("Job", "batch", new["metadata"].get("name", ""), *causes)
    return new


def complete(spec: Object) -> None:
    """Fill in a JobSpec's defaults."""
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", DEFAULT_BACKOFF_LIMIT)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("template", {}).setdefault("spec", {})


def faults(spec: Object, where: str) -> Iterator[Cause]:
    """Yield what is wrong with a completed JobSpec that lies at the path `where`."""
    yield from _number_faults(spec, where)
    yield from _pod_faults(spec["template"]["spec"], f"{where}.template.spec")
    yield from _absent(spec, where)


def _number_faults(spec: Object, where: str) -> Iterator[Cause]:
    for name in ("completions", "parallelism", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"):
        value = spec.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            yield Cause(f"{where}.{name}", f"Invalid value: {value}: must be greater than or equal to 0")


def _pod_faults(pod: Object, where: str) -> Iterator[Cause]:
    if pod.get("restartPolicy") not in ("Never", "OnFailure"):
        yield Cause(
            f"{where}.restartPolicy", 'Required value: valid values: "OnFailure", "Never"', "FieldValueRequired"
        )
    containers = pod.get("containers") or []
    if not containers:
        yield Cause(f"{where}.containers", "Required value", "FieldValueRequired")
    if len(containers) > 1:
        yield Cause(f"{where}.containers", "Forbidden: on this host a Pod has one container", "FieldValueForbidden")
    for number, container in enumerate(pod.get("initContainers") or ()):
        if not container.get("name"):
            yield Cause(f"{where}.initContainers[{number}].name", "Required value", "FieldValueRequired")
    for number, volume in enumerate(pod.get("volumes") or ()):
        if not isinstance(volume, dict) or not volume.get("name"):
            yield Cause(f"{where}.volumes[{number}].name", "Required value", "FieldValueRequired")
            continue
        for kind in sorted(set(volume) - {"name", *VOLUMES}):
            message = f"Forbidden: this host has {', '.join(VOLUMES)} volumes"
            yield Cause(f"{where}.volumes[{number}].{kind}", message, "FieldValueForbidden")
    for number, container in enumerate(containers):
        if not container.get("name"):
            yield Cause(f"{where}.containers[{number}].name", "Required value", "FieldValueRequired")


def _absent(spec: Object, where: str) -> Iterator[Cause]:
    for name in sorted(_NOT_HERE & set(spec)):
        yield Cause(f"{where}.{name}", "Forbidden: this host does not have it", "FieldValueForbidden")
    if spec["completionMode"] != "NonIndexed":
        yield Cause(f"{where}.completionMode", "Forbidden: this host has NonIndexed Jobs", "FieldValueForbidden")


def _changed(spec: Object, before: Object) -> Iterator[Cause]:
    for name in sorted(set(spec) | set(before)):
        if name not in _MUTABLE and spec.get(name) != before.get(name):
            yield Cause(f"spec.{name}", "Invalid value: field is immutable")
