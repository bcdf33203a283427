"""Deletion and what follows from it: finalizers, owners and dependents, namespaces and definitions with contents.

Guarantees: a cascade happens inside one draft, so it is committed whole. What has finalizers is only marked; what
waited for it goes in the same write that releases it. Source: Kubernetes "Owners and Dependents", "Finalizers".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from zeroflow.knative.local.api import crds
from zeroflow.knative.local.api.builtin import CRD_KEY, INITIAL_NAMESPACES
from zeroflow.knative.local.api.errors import Conflict, Forbidden, NotFound
from zeroflow.knative.local.api.kinds import Kind, KindRegistry
from zeroflow.knative.local.api.objects import Object, copy, meta, now, without
from zeroflow.knative.local.api.persistence import Key
from zeroflow.knative.local.api.state import Draft

FOREGROUND: Final = "foregroundDeletion"


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """metav1.DeleteOptions: what happens to dependents, and on which object the caller insists."""

    propagation: str = "Background"  # Background | Foreground | Orphan
    uid: str | None = None
    resource_version: str | None = None


@dataclass(slots=True)
class Deletions:
    """The deletions, over the known kinds."""

    kinds: KindRegistry

    def delete(self, draft: Draft, kind: Kind, key: Key, options: DeleteOptions) -> Object:
        """Stage a deletion and what follows from it; return the object's last state."""
        old = present(draft, kind, key)
        if options.uid is not None and options.uid != meta(old)["uid"]:
            raise Conflict.stale(kind.resource, key[2])
        if options.resource_version is not None and options.resource_version != meta(old)["resourceVersion"]:
            raise Conflict.stale(kind.resource, key[2])
        if kind.key == "Namespace" and key[2] in INITIAL_NAMESPACES:
            raise Forbidden(f'namespaces "{key[2]}" is forbidden: this namespace may not be deleted', kind="namespaces")
        if options.propagation == "Orphan":
            self._orphan(draft, meta(old)["uid"])
        self._delete(draft, key, foreground=options.propagation == "Foreground")
        self.settle(draft, {key})
        return draft.find(key) or old

    def _delete(self, draft: Draft, key: Key, foreground: bool = False) -> None:
        """Remove an object, or mark it when something has to happen first; take its contents and dependents along."""
        old = draft.find(key)
        if old is None:
            return
        if key[0] == "Namespace":
            self._mark(draft, key, old)
            for content in sorted(draft.keys_in(key[2])):
                self._delete(draft, content)
        elif key[0] == CRD_KEY:
            self._mark(draft, key, old)
            for instance in sorted(draft.keys_of(crds.kind_of(old).key)):
                self._delete(draft, instance)
        elif meta(old).get("finalizers"):
            self._mark(draft, key, old)
        elif foreground:
            self._delete_dependents(draft, meta(old)["uid"], foreground=True)
            if self._blocked(draft, meta(old)["uid"]):
                waiting = copy(old)
                meta(waiting)["finalizers"] = [FOREGROUND]
                self._mark(draft, key, waiting)
                return
            draft.remove(key)
        else:
            draft.remove(key)
            self._delete_dependents(draft, meta(old)["uid"])

    def _mark(self, draft: Draft, key: Key, old: Object) -> None:
        if meta(old).get("deletionTimestamp"):
            return
        leaving = copy(old)
        meta(leaving).update(deletionTimestamp=now(), deletionGracePeriodSeconds=0)
        if "generation" in meta(leaving):
            meta(leaving)["generation"] += 1
        if key[0] == "Namespace":
            leaving["status"] = {"phase": "Terminating"}
        draft.write(key, leaving)

    def _delete_dependents(self, draft: Draft, uid: str, foreground: bool = False) -> None:
        """Delete what this owner alone still held; others only lose the reference."""
        for key in sorted(draft.owned_by(uid)):
            dependent = draft.find(key)
            if dependent is None:
                continue
            others = [
                owner
                for owner in meta(dependent)["ownerReferences"]
                if owner.get("uid") != uid and self.exists(draft, owner, key[1])
            ]
            if others:
                kept = copy(dependent)
                meta(kept)["ownerReferences"] = others
                draft.write(key, kept)
            else:
                self._delete(draft, key, foreground)

    def exists(self, draft: Draft, owner: Mapping[str, Any], namespace: str) -> bool:
        """Say whether what an owner reference names is there."""
        group, _, _ = str(owner.get("apiVersion", "")).rpartition("/")
        key = f"{owner.get('kind')}.{group}" if group else str(owner.get("kind"))
        found = draft.find((key, namespace, str(owner.get("name")))) or draft.find((key, "", str(owner.get("name"))))
        return found is not None and meta(found)["uid"] == owner.get("uid")

    def _orphan(self, draft: Draft, uid: str) -> None:
        for key in sorted(draft.owned_by(uid)):
            dependent = draft.find(key)
            if dependent is None:
                continue
            kept = copy(dependent)
            owners = [owner for owner in meta(kept)["ownerReferences"] if owner.get("uid") != uid]
            meta(kept)["ownerReferences"] = owners
            if not owners:
                del meta(kept)["ownerReferences"]
            draft.write(key, kept)

    def _blocked(self, draft: Draft, uid: str) -> bool:
        return bool(draft.owned_by(uid))

    def waits(self, draft: Draft, key: Key) -> bool:
        """Say whether a namespace or definition that is being deleted still has contents."""
        if key[0] == "Namespace":
            return bool(draft.keys_in(key[2]))
        if key[0] == CRD_KEY and (definition := draft.find(key)) is not None:
            return bool(draft.keys_of(crds.kind_of(definition).key))
        return False

    def settle(self, draft: Draft, touched: set[Key]) -> None:
        """Finish deletions that only waited for what is gone now: owners, namespaces, definitions."""
        pending = [change for _, change in draft.changes if change.type == "DELETED"]
        candidates = set(touched)
        for change in pending:
            metadata = meta(change.object)
            candidates.add(("Namespace", "", str(metadata.get("namespace", ""))))
            if (kind := self.kinds.find(change.kind)) is not None and kind.custom:
                candidates.add((CRD_KEY, "", kind.resource))
            for owner in metadata.get("ownerReferences") or ():
                group, _, _ = str(owner.get("apiVersion", "")).rpartition("/")
                owner_kind = f"{owner.get('kind')}.{group}" if group else str(owner.get("kind"))
                candidates.add((owner_kind, str(metadata.get("namespace", "")), str(owner.get("name"))))
        for key in sorted(candidates):
            obj = draft.find(key)
            if obj is None or not meta(obj).get("deletionTimestamp"):
                continue
            waits_for = meta(obj).get("finalizers") or []
            if waits_for == [FOREGROUND] and not self._blocked(draft, meta(obj)["uid"]):
                released = {**obj, "metadata": without(meta(obj), ["finalizers"])}
                draft.write(key, released)
                waits_for = []
            if not waits_for and not self.waits(draft, key):
                draft.remove(key)
                self.settle(draft, set())


def present(draft: Draft, kind: Kind, key: Key) -> Object:
    """Return the object of this key; raise NotFound."""
    found = draft.find(key)
    if found is None:
        raise NotFound.named(kind.resource, key[2])
    return found
