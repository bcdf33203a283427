"""What a write does to a draft: create, update, update status, delete.

Guarantees: owner references and namespaces cascade inside the same draft, so a cascade is committed whole. An update
that changes nothing writes nothing. Objects passed in are given up by the caller. Admission hooks run before
anything is staged. Source: Kubernetes API conventions; garbage collection ("Owners and Dependents"), finalizers,
metadata.generation.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from zeroflow.knative.local.api import crds
from zeroflow.knative.local.api.builtin import CRD_KEY
from zeroflow.knative.local.api.core import check_core
from zeroflow.knative.local.api.deletions import DeleteOptions, Deletions, present
from zeroflow.knative.local.api.errors import AlreadyExists, Cause, Conflict, Forbidden, Invalid, NotFound
from zeroflow.knative.local.api.kinds import Kind, KindRegistry
from zeroflow.knative.local.api.objects import Object, copy, declared, generated_name, meta, now, without
from zeroflow.knative.local.api.persistence import Key
from zeroflow.knative.local.api.schemas import pruning, rules, validation
from zeroflow.knative.local.api.state import Draft
from zeroflow.knative.local.api.validation import check_object

Hook: TypeAlias = Callable[[Object, Object | None], Object]

NAME_ATTEMPTS: Final = 8  # for generateName, before a clash is reported
MAX_EVENTS: Final = 400
JOB_KEY: Final = "Job.batch"
CONTROLLER_UID: Final = "batch.kubernetes.io/controller-uid"
"""The label by which a Job's pods are found (`kubectl logs job/x`)."""

UNCHECKED: Final = ("FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid")
RULES_UNCHECKED: Final = (
    'Invalid value: "null": some validation rules were not checked because the object was invalid; '
    "correct the existing errors to complete validation"
)
SERVER_FIELDS: Final = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")


@dataclass(slots=True)
class Mutations:
    """The writes, over the known kinds and the admission hooks (kind key -> hooks)."""

    kinds: KindRegistry
    hooks: Mapping[str, Sequence[Hook]]

    def create(self, draft: Draft, kind: Kind, obj: Object) -> Object:
        """Stage a new object; raise AlreadyExists, NotFound (its namespace), Forbidden or Invalid."""
        metadata = meta(obj)
        for name in (*SERVER_FIELDS, "resourceVersion", "selfLink"):
            metadata.pop(name, None)
        self.place(kind, obj)
        if not metadata.get("name") and isinstance(metadata.get("generateName"), str):
            metadata["name"] = self._free_name(draft, kind, obj)
        check_object(kind, obj)
        key = key_of(kind, obj)
        if draft.find(key) is not None:
            raise AlreadyExists.named(kind.resource, key[2])
        self._require_namespace(draft, kind, key)
        obj = self._admit(kind, obj, None)
        metadata = meta(obj)
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = now()
        if kind.generations:
            metadata["generation"] = 1
        draft.write(key, self._finished(draft, kind, obj, None))
        return obj

    def update(self, draft: Draft, kind: Kind, obj: Object) -> Object:
        """Stage a replacement of everything but status; raise Conflict when a resourceVersion is given and stale."""
        self.place(kind, obj)
        check_object(kind, obj)
        key = key_of(kind, obj)
        old = self.present(draft, kind, key)
        self._check_version(kind, obj, old)
        if kind.has_status:
            obj.pop("status", None)
            if "status" in old:
                obj["status"] = copy(old["status"])
        self._keep_server_fields(obj, old)
        obj = self._admit(kind, obj, old)
        if declared(obj) != declared(old) and kind.generations:
            meta(obj)["generation"] = int(meta(old).get("generation", 0)) + 1
        return self._replace(draft, kind, key, obj, old)

    def update_status(self, draft: Draft, kind: Kind, obj: Object) -> Object:
        """Stage a new status; everything else of `obj` is ignored, except a resourceVersion to insist on."""
        self.place(kind, obj)
        key = key_of(kind, obj)
        old = self.present(draft, kind, key)
        self._check_version(kind, obj, old)
        updated = copy(without(old, ("status",)))
        if obj.get("status") is not None:
            updated["status"] = obj["status"]
        check_schema(kind, updated, old)
        if (managers := meta(obj).get("managedFields")) is not None:
            meta(updated)["managedFields"] = managers
        return self._replace(draft, kind, key, updated, old)

    def delete(self, draft: Draft, kind: Kind, key: Key, options: DeleteOptions) -> Object:
        """Stage a deletion and what follows from it; return the object's last state."""
        return Deletions(self.kinds).delete(draft, kind, key, options)

    def present(self, draft: Draft, kind: Kind, key: Key) -> Object:
        """Return the object of this key; raise NotFound."""
        return present(draft, kind, key)

    def place(self, kind: Kind, obj: Object) -> None:
        """Store under the storage version, and without a namespace where there is none."""
        obj["apiVersion"], obj["kind"] = kind.api_version(), kind.kind
        metadata = meta(obj)
        for fields in (obj, metadata):
            for name in [name for name, value in fields.items() if value is None]:
                del fields[name]  # a null says nothing here, as in the server's own types
        if not kind.namespaced:
            metadata.pop("namespace", None)
        elif not metadata.get("namespace"):
            metadata["namespace"] = "default"

    def _free_name(self, draft: Draft, kind: Kind, obj: Object) -> str:
        prefix = meta(obj)["generateName"]
        name = generated_name(prefix)
        for _ in range(NAME_ATTEMPTS):
            if draft.find((kind.key, str(meta(obj).get("namespace", "")), name)) is None:
                break
            name = generated_name(prefix)
        return name

    def _require_namespace(self, draft: Draft, kind: Kind, key: Key) -> None:
        if not kind.namespaced:
            return
        namespace = draft.find(("Namespace", "", key[1]))
        if namespace is None:
            raise NotFound.named("namespaces", key[1])
        if meta(namespace).get("deletionTimestamp"):
            raise Forbidden(
                f'{kind.resource} "{key[2]}" is forbidden: unable to create new content in namespace {key[1]} '
                "because it is being terminated",
                name=key[2],
                kind=kind.plural,
            )

    def _admit(self, kind: Kind, obj: Object, old: Object | None) -> Object:
        check_core(kind, obj, old)
        check_schema(kind, obj, old)
        for hook in self.hooks.get(kind.key, ()):
            try:
                obj = hook(obj, copy(old) if old is not None else None)
            except Invalid as error:
                raise error if error.details else _about(kind, obj, error) from error
        return obj

    def _check_version(self, kind: Kind, obj: Object, old: Object) -> None:
        metadata = meta(obj)
        wanted, uid = metadata.get("resourceVersion"), metadata.get("uid")
        stale = wanted not in (None, "", meta(old)["resourceVersion"])
        if stale or uid not in (None, "", meta(old)["uid"]):
            raise Conflict.stale(kind.resource, str(metadata.get("name", "")))

    def _keep_server_fields(self, obj: Object, old: Object) -> None:
        metadata = meta(obj)
        if "managedFields" in meta(old):
            metadata.setdefault("managedFields", meta(old)["managedFields"])
        for name in SERVER_FIELDS:
            metadata.pop(name, None)
            if name in meta(old):
                metadata[name] = meta(old)[name]

    def _replace(self, draft: Draft, kind: Kind, key: Key, obj: Object, old: Object) -> Object:
        metadata = meta(obj)
        metadata["resourceVersion"] = meta(old)["resourceVersion"]
        obj = self._finished(draft, kind, obj, old)
        if obj == old:
            return obj
        deletions = Deletions(self.kinds)
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers") and not deletions.waits(draft, key):
            draft.remove(key)
            deletions.settle(draft, {key})
            return obj
        draft.write(key, obj)
        return obj

    def check_controller(self, draft: Draft, obj: Object) -> None:
        """Raise NotFound when what controls an object does not exist."""
        for owner in meta(obj).get("ownerReferences") or ():
            if owner.get("controller") and not Deletions(self.kinds).exists(
                draft, owner, meta(obj).get("namespace", "")
            ):
                raise NotFound.named(str(owner.get("kind")), str(owner.get("name")))

    def _finished(self, draft: Draft, kind: Kind, obj: Object, old: Object | None) -> Object:
        """Set what the API server itself decides for some kinds."""
        if kind.key == CRD_KEY and (old is None or obj["spec"] != old["spec"]):
            defined = crds.kind_of(obj)
            known = self.kinds.find(defined.key)
            clash = self.kinds.find_plural(defined.group, defined.plural) or known
            if clash is not None and (not clash.custom or clash.resource != defined.resource):
                raise AlreadyExists(f"{defined.resource}: these names are taken by {clash.resource}", kind=kind.plural)
            crds.check_versions(obj, old)
            crds.check_rules(defined, obj)
            obj = crds.established(obj, old)
        elif kind.key == "Namespace":
            leaving = bool(meta(obj).get("deletionTimestamp"))
            obj["status"] = {"phase": "Terminating" if leaving else "Active"}
            obj.setdefault("spec", {})["finalizers"] = ["kubernetes"]
            meta(obj).setdefault("labels", {})["kubernetes.io/metadata.name"] = meta(obj)["name"]
            if old is None:
                self._add_service_account(draft, meta(obj)["name"])
        elif kind.key == JOB_KEY and old is None:
            obj.setdefault("spec", {}).setdefault("selector", {"matchLabels": {CONTROLLER_UID: meta(obj)["uid"]}})
        elif kind.key == "Event" and old is None:
            self._make_room(draft)
        return obj

    def _make_room(self, draft: Draft) -> None:
        """Drop the oldest Events, some at a time: they live in memory."""
        if draft.count_of("Event") >= MAX_EVENTS:
            keys = draft.keys_of("Event")
            ages = {key: int(meta(obj)["resourceVersion"]) for key in keys if (obj := draft.find(key)) is not None}
            for key in sorted(keys, key=ages.__getitem__)[: MAX_EVENTS // 4]:
                draft.remove(key)

    def _add_service_account(self, draft: Draft, namespace: str) -> None:
        metadata: dict[str, Any] = {"name": "default", "namespace": namespace}
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": now()}
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
        if draft.find(("ServiceAccount", namespace, "default")) is None:
            draft.write(("ServiceAccount", namespace, "default"), account)


def check_schema(kind: Kind, obj: Object, old: Object | None) -> None:
    """Fill in defaults and check values by the schema of a custom kind; raise Invalid with every fault."""
    if kind.schema is None:
        return
    pruning.default(kind.schema, obj)
    before = validation.MISSING if old is None else old
    causes = list(validation.faults(kind.schema, obj, old=before))
    if not causes:
        causes += rules.broken(kind.schema, obj, before)
    elif kind.schema.ruled and any(cause.reason in UNCHECKED for cause in causes):
        causes.append(Cause("<nil>", RULES_UNCHECKED))
    if causes:
        raise Invalid.fields(kind.kind, kind.group, str(meta(obj).get("name", "")), *causes)


def _about(kind: Kind, obj: Object, error: Invalid) -> Invalid:
    """Say of which object a hook's bare message speaks; `spec.x: why` names its field."""
    field, _, message = str(error).partition(": ")
    is_path = bool(message) and " " not in field
    cause = Cause(field, message) if is_path else Cause("spec", str(error))
    return Invalid.fields(kind.kind, kind.group, str(meta(obj).get("name", "")), cause)


def key_of(kind: Kind, obj: Object) -> Key:
    """Return where an object is kept."""
    metadata = meta(obj)
    return kind.key, str(metadata.get("namespace", "")) if kind.namespaced else "", str(metadata.get("name", ""))
