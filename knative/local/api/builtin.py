"""The built-in kinds and the namespaces that exist from the start.

Only what the host itself realises is here. The only core/v1 Service is `kubernetes`, the API itself: so `services`
means on this host what it means on a cluster, and Knative's are `ksvc`.
Printer columns follow what kubectl users see on a cluster; computed cells are in `table.py`.
"""

from __future__ import annotations

from typing import Final

from zeroflow.knative.local.api.kinds import Kind, Version

INITIAL_NAMESPACES: Final = ("default", "kube-system", "zeroflow")
CRD_GROUP: Final = "apiextensions.k8s.io"
RBAC_GROUP: Final = "rbac.authorization.k8s.io"
CRD_KEY: Final = f"CustomResourceDefinition.{CRD_GROUP}"

V1_STATUS: Final = (Version("v1", status=True),)
V1: Final = (Version("v1", status=False),)

EVENT_FIELDS: Final = (
    *("involvedObject", "reason", "message", "source", "firstTimestamp", "lastTimestamp", "count", "type", "eventTime"),
    *("series", "action", "related", "reportingComponent", "reportingInstance"),
)
DECLARED: Final = ("spec", "status")

BUILTIN_KINDS: Final = (
    Kind(
        "", "Namespace", "namespaces", V1_STATUS, "v1", False, "namespace", ("ns",), generations=False, fields=DECLARED
    ),
    Kind(
        *("", "ConfigMap", "configmaps", V1, "v1", True, "configmap", ("cm",)),
        generations=False,
        fields=("data", "binaryData", "immutable"),
    ),
    Kind(
        *("", "Secret", "secrets", V1, "v1", True, "secret"),
        generations=False,
        fields=("data", "stringData", "type", "immutable"),
    ),
    Kind(
        *("", "ServiceAccount", "serviceaccounts", V1, "v1", True, "serviceaccount", ("sa",)),
        generations=False,
        fields=("secrets", "imagePullSecrets", "automountServiceAccountToken"),
    ),
    Kind(
        *("", "PersistentVolumeClaim", "persistentvolumeclaims", V1_STATUS, "v1", True, "persistentvolumeclaim"),
        ("pvc",),
        generations=False,
        fields=DECLARED,
    ),
    Kind(
        *("", "Pod", "pods", V1_STATUS, "v1", True, "pod", ("po",), ("all",)),
        durable=False,
        generations=False,
        instead="this host makes pods for Services and Jobs; create one of those",
        fields=DECLARED,
    ),
    Kind(
        *("", "Node", "nodes", V1_STATUS, "v1", False, "node", ("no",)),
        durable=False,
        generations=False,
        instead="this host is the only node there is",
        fields=DECLARED,
    ),
    Kind(
        *("", "Service", "services", V1_STATUS, "v1", True, "service", ("svc",), ("all",)),
        durable=False,
        generations=False,
        instead="this host has no networks to put one in; declare a Service of serving.knative.dev/v1",
        fields=DECLARED,
    ),
    Kind(
        *("", "Event", "events", V1, "v1", True, "event", ("ev",)),
        durable=False,
        generations=False,
        fields=EVENT_FIELDS,
    ),
    Kind("batch", "Job", "jobs", V1_STATUS, "v1", True, "job", (), ("all",), fields=DECLARED),
    Kind(
        *("batch", "CronJob", "cronjobs", V1_STATUS, "v1", True, "cronjob", ("cj",), ("all",)),
        fields=DECLARED,
    ),
    *(
        Kind(
            *(RBAC_GROUP, name, f"{name.lower()}s", V1, "v1", not name.startswith("Cluster"), name.lower()),
            generations=False,
            fields=fields,
        )
        for name, fields in (
            ("Role", ("rules",)),
            ("ClusterRole", ("rules", "aggregationRule")),
            ("RoleBinding", ("subjects", "roleRef")),
            ("ClusterRoleBinding", ("subjects", "roleRef")),
        )
    ),
    Kind("coordination.k8s.io", "Lease", "leases", V1, "v1", True, "lease", generations=False, fields=DECLARED),
    Kind(
        *(CRD_GROUP, "CustomResourceDefinition", "customresourcedefinitions", V1_STATUS, "v1", False),
        *("customresourcedefinition", ("crd", "crds"), ("api-extensions",)),
        fields=DECLARED,
    ),
)
