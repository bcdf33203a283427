"""What a caller may do: Role, ClusterRole, RoleBinding and ClusterRoleBinding, evaluated as Kubernetes does.

Rules only allow; nothing forbids what another rule allows. A RoleBinding gives the rules of a Role of its namespace, or
of a ClusterRole, in its namespace alone; a ClusterRoleBinding gives a ClusterRole's everywhere, and for what has no
namespace. `aggregationRule` gathers the rules of ClusterRoles by label. Nobody gives more than they have: who writes a
role, or binds one, must hold all of its rules, or have `escalate` or `bind` on it.

Source: Kubernetes "Using RBAC Authorization"; rbac.authorization.k8s.io/v1.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol

from zeroflow.knative.local.identity.callers import Caller

GROUP = "rbac.authorization.k8s.io"
ROLE, CLUSTER_ROLE = f"Role.{GROUP}", f"ClusterRole.{GROUP}"
ROLE_BINDING, CLUSTER_ROLE_BINDING = f"RoleBinding.{GROUP}", f"ClusterRoleBinding.{GROUP}"

Rule = Mapping[str, Any]
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Action:
    """What somebody wants to do: with a resource, or with a `path` that is none."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    namespace: str = ""
    """"" for what has none, and for all namespaces."""
    path: str = ""

    @property
    def described(self) -> str:
        """The words after "User ... cannot", as API servers have them."""
        if self.path:
            return f'{self.verb} path "{self.path}"'
        resource = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        where = f' in the namespace "{self.namespace}"' if self.namespace else " at the cluster scope"
        return f'{self.verb} resource "{resource}" in API group "{self.group}"{where}'


class Roles(Protocol):
    """Where roles and bindings are (the store)."""

    def find(self, kind: str, namespace: str | None, name: str) -> Object | None:
        """Return an object or None."""
        ...

    def peek(self, kind: str, namespace: str | None = None) -> Iterable[Object]:
        """Return the objects of a kind, not to be changed."""
        ...


@dataclass(frozen=True)
class Authorizer:
    """Decides by the roles that there are now."""

    roles: Roles

    def allows(self, caller: Caller, action: Action) -> bool:
        """Say whether a caller may do something."""
        return caller.is_master or any(_fits(rule, action) for _, rule in self.rules(caller, action.namespace))

    def rules(self, caller: Caller, namespace: str) -> Iterator[tuple[str, Rule]]:
        """Yield what a caller may do in a namespace ("": at the cluster's scope), with the binding that says so."""
        for binding in self.roles.peek(CLUSTER_ROLE_BINDING):
            if _names(binding, caller, ""):
                for rule in self.rules_of(binding["roleRef"], ""):
                    yield f"ClusterRoleBinding {binding['metadata']['name']!r}", rule
        if namespace:
            for binding in self.roles.peek(ROLE_BINDING, namespace):
                if _names(binding, caller, namespace):
                    for rule in self.rules_of(binding["roleRef"], namespace):
                        yield f"RoleBinding {namespace}/{binding['metadata']['name']}", rule

    def rules_of(self, reference: Mapping[str, str], namespace: str) -> list[Rule]:
        """Return the rules of a role; a role that is not there has none."""
        if reference["kind"] == "Role":
            role = self.roles.find(ROLE, namespace, reference["name"])
            return (role or {}).get("rules") or []
        cluster_role = self.roles.find(CLUSTER_ROLE, None, reference["name"])
        return [] if cluster_role is None else self.rules_in(cluster_role)

    def rules_in(self, role: Object) -> list[Rule]:
        """Return the rules of a role as it is, with those that it gathers."""
        rules = list(role.get("rules") or [])
        for selector in (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or ():
            wanted = (selector.get("matchLabels") or {}).items()
            for other in self.roles.peek(CLUSTER_ROLE):
                labels = other["metadata"].get("labels") or {}
                if wanted and all(labels.get(name) == value for name, value in wanted):
                    rules += other.get("rules") or []
        return rules

    def lacks(self, caller: Caller, rules: Iterable[Rule], namespace: str) -> Action | None:
        """Return the first thing that rules would give and the caller has not itself."""
        for rule in rules:
            for verb in rule.get("verbs") or ():
                for path in rule.get("nonResourceURLs") or ():
                    if not self.allows(caller, wanted := Action(verb, path=path)):
                        return wanted
                parts = (rule.get("apiGroups") or (), rule.get("resources") or (), rule.get("resourceNames") or ("",))
                for group, resource, name in product(*parts):
                    plural, _, subresource = resource.partition("/")
                    wanted = Action(verb, group, plural, subresource, name, namespace)
                    if not self.allows(caller, wanted):
                        return wanted
        return None


def _fits(rule: Rule, action: Action) -> bool:
    if not _has(rule.get("verbs"), action.verb):
        return False
    if action.path:
        return any(_covers(url, action.path) for url in rule.get("nonResourceURLs") or ())
    if not _has(rule.get("apiGroups"), action.group):
        return False
    resources = rule.get("resources") or ()
    full = f"{action.resource}/{action.subresource}" if action.subresource else action.resource
    known = "*" in resources or full in resources or (action.subresource and f"*/{action.subresource}" in resources)
    names = rule.get("resourceNames") or ()
    return bool(known) and (not names or action.name in names)


def _covers(url: str, path: str) -> bool:
    return url in ("*", path) or (url.endswith("*") and path.startswith(url[:-1]))


def _has(values: Collection[str] | None, wanted: str) -> bool:
    return bool(values) and ("*" in values or wanted in values)  # type: ignore[operator]  # None is falsy


def _names(binding: Object, caller: Caller, namespace: str) -> bool:
    for subject in binding.get("subjects") or ():
        match subject["kind"]:
            case "User" if subject["name"] == caller.name:
                return True
            case "Group" if subject["name"] in caller.groups:
                return True
            case "ServiceAccount":
                home = subject.get("namespace") or namespace
                if caller.name == f"system:serviceaccount:{home}:{subject['name']}":
                    return True
    return False
