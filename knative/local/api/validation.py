"""The checks that hold for every object: names, labels, annotations, owners.

All faults of an object are reported together, each naming its field, in Kubernetes' words. What a kind's spec may hold
is the business of its admission hook. Source: Kubernetes "Object Names and IDs", "Labels and Selectors".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from zeroflow.knative.local.api.builtin import RBAC_GROUP
from zeroflow.knative.local.api.errors import Cause, Invalid
from zeroflow.knative.local.api.kinds import Kind
from zeroflow.knative.local.api.objects import LABEL, QUALIFIED, SUBDOMAIN, Object, meta

SUBDOMAIN_RULE: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com')"
)
LABEL_RULE: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name', or '123-abc')"
)
LABEL_VALUE_RULE: Final = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue', 'my_value', or '12345')"
)
QUALIFIED_RULE: Final = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character, with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
)
MAX_NAME: Final = 253
MAX_LABEL: Final = 63
MAX_ANNOTATIONS_BYTES: Final = 256 * 1024
DATA_KEY_KINDS: Final = ("ConfigMap", "Secret")


def check_object(kind: Kind, obj: Object) -> None:
    """Raise Invalid with every fault of the object's metadata."""
    causes = tuple(_faults(kind, obj))
    if causes:
        raise Invalid.fields(kind.kind, kind.group, str(meta(obj).get("name", "")), *causes)


def _faults(kind: Kind, obj: Object) -> Iterator[Cause]:
    metadata = meta(obj)
    name = metadata.get("name")
    if name is None or name == "":
        yield Cause("metadata.name", "Required value: name or generateName is required", "FieldValueRequired")
    else:
        if kind.group == RBAC_GROUP:
            yield from _path_segment(name)
        else:
            yield from _name("metadata.name", name, label=kind.key == "Namespace")
    if kind.namespaced:
        yield from _name("metadata.namespace", metadata.get("namespace"), label=True)
    for field in ("spec", "status"):
        if not isinstance(obj.get(field, {}), dict):
            yield Cause(
                field, f"Invalid value: {type(obj[field]).__name__}: must be an object", "FieldValueTypeInvalid"
            )
    yield from _labels(metadata.get("labels"))
    yield from _annotations(metadata.get("annotations"))
    yield from _finalizers(metadata.get("finalizers"))
    if not isinstance(metadata.get("managedFields", []), list):
        yield Cause("metadata.managedFields", "Invalid value: must be a list", "FieldValueTypeInvalid")
    yield from _owners(metadata.get("ownerReferences"))


def _name(field: str, name: Any, label: bool) -> Iterator[Cause]:
    if not isinstance(name, str):
        yield Cause(field, f"Invalid value: {name!r}: must be a string")
    elif len(name) > (MAX_LABEL if label else MAX_NAME):
        yield Cause(
            field, f'Invalid value: "{name}": must be no more than {MAX_LABEL if label else MAX_NAME} characters'
        )
    elif (LABEL if label else SUBDOMAIN).fullmatch(name) is None:
        yield Cause(field, f'Invalid value: "{name}": {LABEL_RULE if label else SUBDOMAIN_RULE}')


def _path_segment(name: Any) -> Iterator[Cause]:
    """Roles may be called `system:...`: anything that fits into a URL."""
    if not isinstance(name, str) or name in (".", "..") or "/" in name or "%" in name or len(name) > MAX_NAME:
        yield Cause("metadata.name", f"Invalid value: {name!r}: may not be '.' or '..', or contain '/' or '%'")


def _qualified(name: str) -> bool:
    prefix, slash, last = name.rpartition("/")
    if slash and (len(prefix) > MAX_NAME or SUBDOMAIN.fullmatch(prefix) is None):
        return False
    return len(last) <= MAX_LABEL and QUALIFIED.fullmatch(last) is not None


def _labels(labels: Any) -> Iterator[Cause]:
    if labels is None:
        return
    if not isinstance(labels, dict):
        yield Cause("metadata.labels", f"Invalid value: {labels!r}: must be a map of strings")
        return
    for key, value in labels.items():
        if not _qualified(key):
            yield Cause("metadata.labels", f'Invalid value: "{key}": {QUALIFIED_RULE}')
        if not isinstance(value, str):
            yield Cause(f"metadata.labels.{key}", f"Invalid value: {value!r}: must be a string")
        elif value and (len(value) > MAX_LABEL or QUALIFIED.fullmatch(value) is None):
            yield Cause("metadata.labels", f'Invalid value: "{value}": {LABEL_VALUE_RULE}')


def _annotations(annotations: Any) -> Iterator[Cause]:
    if annotations is None:
        return
    if not isinstance(annotations, dict):
        yield Cause("metadata.annotations", f"Invalid value: {annotations!r}: must be a map of strings")
        return
    for key, value in annotations.items():
        if not _qualified(key.lower()):
            yield Cause("metadata.annotations", f'Invalid value: "{key}": {QUALIFIED_RULE}')
        if not isinstance(value, str):
            yield Cause(f"metadata.annotations.{key}", f"Invalid value: {value!r}: must be a string")
    size = sum(len(key) + len(value) for key, value in annotations.items() if isinstance(value, str))
    if size > MAX_ANNOTATIONS_BYTES:
        yield Cause(
            "metadata.annotations", f"Too long: may not be more than {MAX_ANNOTATIONS_BYTES} bytes", "FieldValueTooLong"
        )


def _finalizers(finalizers: Any) -> Iterator[Cause]:
    if finalizers is None:
        return
    if not isinstance(finalizers, list) or not all(isinstance(finalizer, str) for finalizer in finalizers):
        yield Cause("metadata.finalizers", f"Invalid value: {finalizers!r}: must be a list of strings")
        return
    for finalizer in finalizers:
        if not _qualified(finalizer):
            yield Cause("metadata.finalizers", f'Invalid value: "{finalizer}": {QUALIFIED_RULE}')


def _owners(owners: Any) -> Iterator[Cause]:
    if owners is None:
        return
    if not isinstance(owners, list) or not all(isinstance(owner, dict) for owner in owners):
        yield Cause("metadata.ownerReferences", f"Invalid value: {owners!r}: must be a list of owner references")
        return
    for index, owner in enumerate(owners):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not isinstance(owner.get(field), str) or not owner[field]:
                yield Cause(f"metadata.ownerReferences[{index}].{field}", "Required value", "FieldValueRequired")
    if sum(1 for owner in owners if owner.get("controller")) > 1:
        yield Cause("metadata.ownerReferences", "Invalid value: only one reference can have controller set to true")
