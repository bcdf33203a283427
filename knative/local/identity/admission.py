"""Roles and bindings as they are admitted: what an API server fills in and refuses.

Source: rbac.authorization.k8s.io/v1 defaults and validation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from zeroflow.knative.local.api.errors import Cause, Invalid
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.identity.authorization import (
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    GROUP,
    ROLE,
    ROLE_BINDING,
)

Object = dict[str, Any]

_SUBJECTS: Final = {"User": GROUP, "Group": GROUP, "ServiceAccount": ""}
_RULE_FIELDS: Final = ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs")


def register(store: Store) -> None:
    """Have `store` ask here about every write of one."""
    for kind in (ROLE, CLUSTER_ROLE):
        store.admit(kind, admit_role)
    for kind in (ROLE_BINDING, CLUSTER_ROLE_BINDING):
        store.admit(kind, admit_binding)


def admit_role(new: Object, old: Object | None) -> Object:
    """Return the role; raise Invalid with the fields that are wrong."""
    _refuse(new, [cause for at, rule in enumerate(new.get("rules") or ()) for cause in _rule(new, at, rule)])
    return new


def admit_binding(new: Object, old: Object | None) -> Object:
    """Return the binding with its groups written out; raise Invalid with the fields that are wrong."""
    reference = new.get("roleRef")
    if isinstance(reference, dict):
        reference.setdefault("apiGroup", GROUP)
    causes = list(_reference(new, reference))
    if old is not None and old.get("roleRef") != reference:
        causes.append(Cause("roleRef", f"Invalid value: {reference}: cannot change roleRef"))
    for at, subject in enumerate(new.get("subjects") or ()):
        causes += _subject(new, f"subjects[{at}]", subject)
    _refuse(new, causes)
    return new


def _refuse(obj: Object, causes: list[Cause]) -> None:
    if causes:
        raise Invalid.fields(obj["kind"], GROUP, str(obj["metadata"].get("name", "")), *causes)


def _rule(role: Object, at: int, rule: Any) -> Iterator[Cause]:
    where = f"rules[{at}]"
    if not isinstance(rule, dict):
        yield Cause(where, "Invalid value: must be an object", "FieldValueTypeInvalid")
        return
    for name in _RULE_FIELDS:
        values = rule.get(name) or []
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            yield Cause(f"{where}.{name}", "Invalid value: must be a list of strings", "FieldValueTypeInvalid")
            return
    if not rule.get("verbs"):
        yield Cause(f"{where}.verbs", "Required value: verbs must contain at least one value", "FieldValueRequired")
    if paths := rule.get("nonResourceURLs"):
        if role["kind"] == "Role":
            yield Cause(
                f"{where}.nonResourceURLs",
                f"Invalid value: {paths}: namespaced rules cannot apply to non-resource URLs",
            )
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            yield Cause(
                f"{where}.nonResourceURLs",
                f"Invalid value: {paths}: rules cannot apply to both regular resources and non-resource URLs",
            )
        return
    for name, words in (("apiGroups", "api group"), ("resources", "resource")):
        if not rule.get(name):
            yield Cause(
                f"{where}.{name}",
                f"Required value: resource rules must supply at least one {words}",
                "FieldValueRequired",
            )


def _reference(binding: Object, reference: Any) -> Iterator[Cause]:
    if not isinstance(reference, dict) or not reference.get("name"):
        yield Cause("roleRef.name", "Required value", "FieldValueRequired")
        return
    if reference["apiGroup"] != GROUP:
        yield Cause("roleRef.apiGroup", f'Unsupported value: "{reference["apiGroup"]}": supported values: "{GROUP}"')
    kinds = ("Role", "ClusterRole") if binding["kind"] == "RoleBinding" else ("ClusterRole",)
    if reference.get("kind") not in kinds:
        words = ", ".join(f'"{kind}"' for kind in kinds)
        yield Cause("roleRef.kind", f'Unsupported value: "{reference.get("kind", "")}": supported values: {words}')


def _subject(binding: Object, where: str, subject: Any) -> Iterator[Cause]:
    if not isinstance(subject, dict) or not subject.get("name"):
        yield Cause(f"{where}.name", "Required value", "FieldValueRequired")
        return
    if subject.get("kind") not in _SUBJECTS:
        words = ", ".join(f'"{kind}"' for kind in _SUBJECTS)
        yield Cause(f"{where}.kind", f'Unsupported value: "{subject.get("kind", "")}": supported values: {words}')
        return
    group = subject.setdefault("apiGroup", _SUBJECTS[subject["kind"]])
    if group != _SUBJECTS[subject["kind"]]:
        yield Cause(f"{where}.apiGroup", f'Unsupported value: "{group}"')
    if not subject["apiGroup"]:
        del subject["apiGroup"]
    if subject["kind"] == "ServiceAccount" and binding["kind"] == "ClusterRoleBinding" and not subject.get("namespace"):
        yield Cause(f"{where}.namespace", "Required value", "FieldValueRequired")
