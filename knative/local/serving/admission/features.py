"""Which fields of a Pod an administrator has allowed: ConfigMap `config-features` of namespace `knative-serving`.

Without one Knative's defaults hold. KServe's installation asks for some features on every cluster, so a template that
carries its label has them here. Source: knative.dev/serving config/core/configmaps/features.yaml; KServe's
administration guide.
"""

from __future__ import annotations

from typing import Any

from zeroflow.knative.local.api.store import Store

Object = dict[str, Any]

KSERVE_LABEL = "serving.kserve.io/inferenceservice"
TAG_HEADER = "tag-header-based-routing"
POD_FIELDS = {
    "affinity": "kubernetes.podspec-affinity",
    "automountServiceAccountToken": "",
    "dnsConfig": "kubernetes.podspec-dnsconfig",
    "dnsPolicy": "kubernetes.podspec-dnspolicy",
    "hostAliases": "kubernetes.podspec-hostaliases",
    "hostIPC": "kubernetes.podspec-hostipc",
    "hostNetwork": "kubernetes.podspec-hostnetwork",
    "hostPID": "kubernetes.podspec-hostpid",
    "initContainers": "kubernetes.podspec-init-containers",
    "nodeSelector": "kubernetes.podspec-nodeselector",
    "priorityClassName": "kubernetes.podspec-priorityclassname",
    "runtimeClassName": "kubernetes.podspec-runtimeclassname",
    "schedulerName": "kubernetes.podspec-schedulername",
    "securityContext": "kubernetes.podspec-securitycontext",
    "shareProcessNamespace": "kubernetes.podspec-shareprocessnamespace",
    "tolerations": "kubernetes.podspec-tolerations",
    "topologySpreadConstraints": "kubernetes.podspec-topologyspreadconstraints",
}
VOLUME_KINDS = {
    "csi": "kubernetes.podspec-volumes-csi",
    "emptyDir": "kubernetes.podspec-volumes-emptydir",
    "ephemeral": "kubernetes.podspec-volumes-ephemeral",
    "hostPath": "kubernetes.podspec-volumes-hostpath",
    "image": "kubernetes.podspec-volumes-image",
    "persistentVolumeClaim": "kubernetes.podspec-persistent-volume-claim",
}
FIELD_REF = "kubernetes.podspec-fieldref"
ADD_CAPABILITIES = "kubernetes.containerspec-addcapabilities"
VOLUME_WRITE = "kubernetes.podspec-persistent-volume-write"

_DEFAULTS = frozenset({"multi-container", "kubernetes.podspec-volumes-emptydir", ""})
_KSERVE = frozenset(
    [
        "kubernetes.podspec-affinity",
        "kubernetes.podspec-fieldref",
        "kubernetes.podspec-init-containers",
        "kubernetes.podspec-nodeselector",
        "kubernetes.podspec-persistent-volume-claim",
        "kubernetes.podspec-persistent-volume-write",
        "kubernetes.podspec-priorityclassname",
        "kubernetes.podspec-runtimeclassname",
        "kubernetes.podspec-schedulername",
        "kubernetes.podspec-securitycontext",
        "kubernetes.podspec-tolerations",
        "kubernetes.podspec-topologyspreadconstraints",
    ]
)


class Features:
    """What is allowed on this host now."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def enabled(self) -> frozenset[str]:
        """Return the features that are `enabled` or `allowed`."""
        written = (self._store.find("ConfigMap", "knative-serving", "config-features") or {}).get("data") or {}
        on = {name for name, value in written.items() if str(value).lower() in ("enabled", "allowed")}
        off = {name for name, value in written.items() if str(value).lower() == "disabled"}
        return (_DEFAULTS - off) | on

    def of_template(self, template: Object) -> frozenset[str]:
        """Return the features that hold for one revision template."""
        given = (template.get("metadata") or {}).get("labels") or {}
        return self.enabled() | (_KSERVE if KSERVE_LABEL in given else frozenset())
