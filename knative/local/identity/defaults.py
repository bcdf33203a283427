"""The roles that every cluster has: cluster-admin, admin, edit, view - and what everyone who is known may do.

At each start those that are missing are declared, and rules that are missing in them are added, unless a role's
annotation says `autoupdate: "false"`; what else an administrator made of them stays. As on a cluster, `view`
shows no Secrets and no roles, `edit` does not touch roles, and none of the three reaches what has no namespace.
Source: Kubernetes "Default roles and role bindings"; Kubeflow aggregates its own kinds into the three alike.
"""

from __future__ import annotations

from typing import Any, Final

from zeroflow.knative.local.identity.authorization import GROUP
from zeroflow.knative.local.identity.callers import AUTHENTICATED, MASTERS

READ: Final = ["get", "list", "watch"]
AUTOUPDATE: Final = "rbac.authorization.kubernetes.io/autoupdate"
PIPELINES: Final = "pipelines.kubeflow.org"
WRITE: Final = [*READ, "create", "update", "patch", "delete", "deletecollection"]
_SHOWN: Final = [
    *("configmaps", "events", "persistentvolumeclaims", "pods", "pods/log", "pods/status"),
    *("serviceaccounts", "services"),
]
_OURS: Final = [
    *("batch", "serving.knative.dev", "eventing.knative.dev", "messaging.knative.dev", "flows.knative.dev"),
    *("sources.knative.dev", "sinks.knative.dev", "serving.kserve.io", "kubeflow.org", "trainer.kubeflow.org"),
]
_KINDS: Final = {"apiGroups": _OURS, "resources": ["*"]}
_MEASURED: Final = {"apiGroups": ["metrics.k8s.io"], "resources": ["pods", "nodes"], "verbs": ["get", "list"]}
_RUNS: Final = ["archive", "retry", "terminate", "unarchive", "readArtifact", "reportMetrics", "enable", "disable"]
"""KFP's own verbs, beside those of any resource."""
_VIEW: Final = [
    _MEASURED,
    {"apiGroups": [PIPELINES], "resources": ["*"], "verbs": [*READ, "readArtifact"]},
    {"apiGroups": [""], "resources": [*_SHOWN, "namespaces"], "verbs": READ},
    {**_KINDS, "verbs": READ},
]
_EDIT: Final = [
    _MEASURED,
    {"apiGroups": [PIPELINES], "resources": ["*"], "verbs": [*WRITE, *_RUNS]},
    {"apiGroups": [""], "resources": [*_SHOWN, "secrets", "serviceaccounts/token"], "verbs": WRITE},
    {"apiGroups": [""], "resources": ["pods/attach", "pods/exec", "pods/portforward"], "verbs": ["create", "get"]},
    {"apiGroups": [""], "resources": ["namespaces"], "verbs": READ},
    {**_KINDS, "verbs": WRITE},
]
_ADMIN: Final = [*_EDIT, {"apiGroups": [GROUP], "resources": ["roles", "rolebindings"], "verbs": WRITE}]
_ALL: Final = [
    {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
    {"nonResourceURLs": ["*"], "verbs": ["*"]},
]
_ANYONE: Final = [
    {"nonResourceURLs": ["/api", "/api/*", "/apis", "/apis/*", "/openapi/*", "/version"], "verbs": ["get"]},
    {
        "apiGroups": ["authorization.k8s.io"],
        "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
        "verbs": ["create"],
    },
    {"apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": ["create"]},
]


def documents() -> list[dict[str, Any]]:
    """Return the roles and bindings."""
    roles = {"cluster-admin": _ALL, "admin": _ADMIN, "edit": _EDIT, "view": _VIEW, "system:discovery": _ANYONE}
    bindings = {"cluster-admin": MASTERS, "system:discovery": AUTHENTICATED}
    return [
        *(_cluster("ClusterRole", name, rules=rules) for name, rules in roles.items()),
        *(
            _cluster(
                "ClusterRoleBinding",
                name,
                roleRef={"apiGroup": GROUP, "kind": "ClusterRole", "name": name},
                subjects=[{"apiGroup": GROUP, "kind": "Group", "name": group}],
            )
            for name, group in bindings.items()
        ),
    ]


def completed(role: dict[str, Any], document: dict[str, Any]) -> dict[str, Any] | None:
    """Return a role with the rules that it lacks of those in the document; None when there is nothing to add."""
    keeps = role["metadata"].get("annotations", {}).get(AUTOUPDATE) == "false"
    missing = [rule for rule in document.get("rules", ()) if rule not in (role.get("rules") or ())]
    return None if keeps or not missing else {**role, "rules": [*(role.get("rules") or ()), *missing]}


def _cluster(kind: str, name: str, **fields: Any) -> dict[str, Any]:
    labels, annotations = {"kubernetes.io/bootstrapping": "rbac-defaults"}, {AUTOUPDATE: "true"}
    metadata = {"name": name, "labels": labels, "annotations": annotations}
    return {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": metadata, **fields}
