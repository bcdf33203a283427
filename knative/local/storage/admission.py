"""What a PersistentVolumeClaim must look like: Kubernetes' defaults and refusals, and what this host does not have.

Every claim gets a directory of its own, whatever class it names; a directory has no size, so `requests.storage` is
checked and shown and bounds nothing. Source: Kubernetes core/v1 validation (ValidatePersistentVolumeClaim).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zeroflow.knative.local.api.errors import Cause, Invalid
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.processes.container import BadContainer, quantity

Object = dict[str, Any]

CLAIM_KIND = "PersistentVolumeClaim"
PROTECTION = "kubernetes.io/pvc-protection"
DEFAULT_CLASS = "standard"
MODES = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany")
_GROWS = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
_NOT_HERE = {
    "dataSource": "this host makes empty volumes",
    "dataSourceRef": "this host makes empty volumes",
    "selector": "this host has no PersistentVolumes to select: it makes a directory for each claim",
}


def register(store: Store) -> None:
    """Have `store` ask here about every write of a claim."""
    store.admit(CLAIM_KIND, admit)


def admit(new: Object, old: Object | None) -> Object:
    """Return `new` with defaults; raise Invalid with the fields that are wrong."""
    spec = new.setdefault("spec", {})
    before: Object = (old or {}).get("spec") or {}
    for name, default in (("volumeMode", "Filesystem"), ("storageClassName", DEFAULT_CLASS), ("volumeName", None)):
        if spec.get(name) is None and (value := before.get(name, default)) is not None:
            spec[name] = value
    causes = [*_faults(spec), *(_changes(spec, before) if old is not None else _given(spec))]
    if causes:
        raise Invalid.fields(CLAIM_KIND, "", new["metadata"].get("name", ""), *causes)
    if old is None:
        finalizers = new["metadata"].setdefault("finalizers", [])
        if PROTECTION not in finalizers:
            finalizers.append(PROTECTION)
    return new


def requested(claim: Object) -> str:
    """Return the storage that a claim asks for, as written."""
    return str(claim["spec"]["resources"]["requests"]["storage"])


def _faults(spec: Object) -> Iterator[Cause]:
    modes = spec.get("accessModes")
    if not modes or not isinstance(modes, list):
        yield Cause("spec.accessModes", "Required value: at least 1 access mode is required", "FieldValueRequired")
    for mode in modes or ():
        if mode == "ReadWriteOncePod":
            yield Cause(
                "spec.accessModes",
                "Forbidden: this host keeps no other Pod off a claim; use ReadWriteOnce",
                "FieldValueForbidden",
            )
        elif mode not in MODES:
            choices = ", ".join(f'"{choice}"' for choice in MODES)
            message = f'Unsupported value: "{mode}": supported values: {choices}'
            yield Cause("spec.accessModes", message, "FieldValueNotSupported")
    if spec["volumeMode"] != "Filesystem":
        yield Cause("spec.volumeMode", "Forbidden: on this host volumes are directories", "FieldValueForbidden")
    for name, why in _NOT_HERE.items():
        if spec.get(name) is not None:
            yield Cause(f"spec.{name}", f"Forbidden: {why}", "FieldValueForbidden")
    yield from _storage_faults(spec.get("resources"))


def _storage_faults(resources: Any) -> Iterator[Cause]:
    where = "spec.resources.requests.storage"
    requests = resources.get("requests") if isinstance(resources, dict) else None
    storage = requests.get("storage") if isinstance(requests, dict) else None
    if storage is None:
        yield Cause(where, "Required value", "FieldValueRequired")
        return
    size = _bytes(storage)
    if size is None:
        yield Cause(where, f'Invalid value: "{storage}": expected a quantity such as 500Mi or 1Gi')
    elif size <= 0:
        yield Cause(where, f'Invalid value: "{storage}": must be greater than zero')


def _given(spec: Object) -> Iterator[Cause]:
    if spec.get("volumeName"):
        yield Cause(
            "spec.volumeName",
            "Forbidden: this host has no PersistentVolumes to name: it makes a directory for each claim",
            "FieldValueForbidden",
        )


def _changes(spec: Object, before: Object) -> Iterator[Cause]:
    changeable = ("resources", "volumeAttributesClassName")
    for name in sorted({*spec, *before} - set(changeable)):
        if spec.get(name) != before.get(name) and not (name == "volumeName" and not before.get(name)):
            yield Cause("spec", f"Forbidden: {_GROWS}", "FieldValueForbidden")
            return
    try:
        now, then = (_bytes(each["resources"]["requests"]["storage"]) for each in (spec, before))
    except (KeyError, TypeError):
        return  # said above
    if now is not None and then is not None and now < then:
        yield Cause(
            "spec.resources.requests.storage",
            "Forbidden: field can not be less than status.capacity",
            "FieldValueForbidden",
        )


def _bytes(written: Any) -> int | None:
    try:
        return quantity(str(written))
    except BadContainer:
        return None
