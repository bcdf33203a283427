"""Which groups, versions and resources there are: the classic documents and the aggregated one.

Source: Kubernetes API concepts, "API Discovery" (apidiscovery.k8s.io/v2 for clients that accept it).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from zeroflow.knative.local.api.errors import NotFound
from zeroflow.knative.local.api.kinds import Kind, KindRegistry
from zeroflow.knative.local.api.objects import Object
from zeroflow.knative.local.api.rest.replies import reply
from zeroflow.knative.local.api.rest.target import NOWHERE

AGGREGATED: Final = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
STATUS_VERBS: Final = ("get", "patch", "update")
SCALE: Final = {"group": "autoscaling", "version": "v1", "kind": "Scale"}


@dataclass(frozen=True, slots=True)
class Unkept:
    """A resource that is answered and not kept."""

    kind: str
    plural: str
    namespaced: bool = False
    verbs: tuple[str, ...] = ("create",)

    @property
    def singular(self) -> str:
        return self.kind.lower() if "create" in self.verbs else ""  # metrics-server gives none


# By group and version; what measures comes last, so that "pods" are the core group's.
UNKEPT: Final[dict[tuple[str, str], tuple[Unkept, ...]]] = {
    ("authorization.k8s.io", "v1"): (
        Unkept("SelfSubjectAccessReview", "selfsubjectaccessreviews"),
        Unkept("SelfSubjectRulesReview", "selfsubjectrulesreviews"),
        Unkept("SubjectAccessReview", "subjectaccessreviews"),
        Unkept("LocalSubjectAccessReview", "localsubjectaccessreviews", namespaced=True),
    ),
    ("authentication.k8s.io", "v1"): (
        Unkept("SelfSubjectReview", "selfsubjectreviews"),
        Unkept("TokenReview", "tokenreviews"),
    ),
    ("metrics.k8s.io", "v1beta1"): (
        Unkept("PodMetrics", "pods", namespaced=True, verbs=("get", "list")),
        Unkept("NodeMetrics", "nodes", verbs=("get", "list")),
    ),
}
TOKEN: Final = {"group": "authentication.k8s.io", "version": "v1", "kind": "TokenRequest"}


@dataclass(frozen=True, slots=True)
class Discovery:
    """The documents under /api and /apis."""

    kinds: KindRegistry

    def core(self, request: web.Request) -> web.Response:
        """/api"""
        if _aggregated(request):
            return self._aggregate([""])
        address = {"clientCIDR": "0.0.0.0/0", "serverAddress": request.host}
        return reply({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [address]})

    def groups(self, request: web.Request) -> web.Response:
        """/apis"""
        names = [name for name in self._versions() if name]
        if _aggregated(request):
            return self._aggregate(names)
        return reply({"kind": "APIGroupList", "apiVersion": "v1", "groups": [self._group(name) for name in names]})

    def group(self, name: str) -> web.Response:
        """/apis/<group>"""
        if name not in self._versions():
            raise NotFound(NOWHERE)
        return reply({"kind": "APIGroup", "apiVersion": "v1"} | self._group(name))

    def resources(self, group: str, version: str) -> web.Response:
        """/api/v1 and /apis/<group>/<version>"""
        if version not in self._versions().get(group, ()):
            raise NotFound(NOWHERE)
        found: list[Object] = []
        for kind in self._kinds(group, version):
            entry: Object = {
                "name": kind.plural,
                "singularName": kind.singular,
                "namespaced": kind.namespaced,
                "kind": kind.kind,
                "verbs": list(kind.verbs),
            }
            if kind.short_names:
                entry["shortNames"] = list(kind.short_names)
            if kind.categories:
                entry["categories"] = list(kind.categories)
            found.append(entry)
            found += [
                {
                    "name": f"{kind.plural}/{name}",
                    "singularName": "",
                    "namespaced": kind.namespaced,
                    **_OTHERS.get(name, {"kind": kind.kind}),
                    "verbs": verbs,
                }
                for name, verbs in _subresources(kind, version)
            ]
        for unkept in UNKEPT.get((group, version), ()):
            found.append(
                {
                    "name": unkept.plural,
                    "singularName": unkept.singular,
                    "namespaced": unkept.namespaced,
                    "kind": unkept.kind,
                    "verbs": list(unkept.verbs),
                }
            )
        group_version = f"{group}/{version}" if group else version
        return reply({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": found})

    def _versions(self) -> dict[str, list[str]]:
        """Return group -> its served versions, the storage version of its kinds first."""
        found: dict[str, list[str]] = {}
        for group, kinds in self.kinds.groups().items():
            names = found.setdefault(group, [])
            for kind in kinds:
                names += [kind.storage_version] if kind.storage_version not in names else []
            for kind in kinds:
                names += [version.name for version in kind.versions if version.name not in names]
        for group, version in UNKEPT:
            found.setdefault(group, [version])
        return found

    def _kinds(self, group: str, version: str) -> list[Kind]:
        return [kind for kind in self.kinds.groups().get(group, ()) if kind.version(version) is not None]

    def _group(self, name: str) -> Object:
        versions = [{"groupVersion": f"{name}/{version}", "version": version} for version in self._versions()[name]]
        return {"name": name, "versions": versions, "preferredVersion": versions[0]}

    def _aggregate(self, groups: list[str]) -> web.Response:
        items = []
        for group in groups:
            versions = [
                {"version": version, "freshness": "Current", "resources": self._aggregated_resources(group, version)}
                for version in self._versions()[group]
            ]
            items.append({"metadata": {"name": group} if group else {}, "versions": versions})
        body = {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}
        return reply(body, content_type=AGGREGATED)

    def _aggregated_resources(self, group: str, version: str) -> list[Object]:
        found: list[Object] = []
        for kind in self._kinds(group, version):
            response = {"group": group, "version": version, "kind": kind.kind}
            found.append(
                {
                    "resource": kind.plural,
                    "responseKind": response,
                    "scope": "Namespaced" if kind.namespaced else "Cluster",
                    "singularResource": kind.singular,
                    "verbs": list(kind.verbs),
                    "shortNames": list(kind.short_names),
                    "categories": list(kind.categories),
                    "subresources": [
                        {"subresource": name, "responseKind": _OTHERS.get(name, response), "verbs": verbs}
                        for name, verbs in _subresources(kind, version)
                    ],
                }
            )
        for unkept in UNKEPT.get((group, version), ()):
            found.append(
                {
                    "resource": unkept.plural,
                    "responseKind": {"group": group, "version": version, "kind": unkept.kind},
                    "scope": "Namespaced" if unkept.namespaced else "Cluster",
                    "singularResource": unkept.singular,
                    "verbs": list(unkept.verbs),
                }
            )
        return found


_OTHERS: Final = {"scale": SCALE, "token": TOKEN}
"""Subresources that are of another kind than what they are of."""


def _subresources(kind: Kind, version: str) -> list[tuple[str, list[str]]]:
    served = kind.version(version)
    found: list[tuple[str, list[str]]] = []
    if served is not None and served.status:
        found.append(("status", list(STATUS_VERBS)))
    if served is not None and served.scale is not None:
        found.append(("scale", list(STATUS_VERBS)))
    if kind.key == "Pod":
        found.append(("log", ["get"]))
        found += [(name, ["create", "get"]) for name in ("attach", "exec", "portforward")]
    if kind.key == "ServiceAccount":
        found.append(("token", ["create"]))
    return found


def _aggregated(request: web.Request) -> bool:
    accept: Any = request.headers.get("Accept", "")
    return "APIGroupDiscoveryList" in accept and "v=v2;" in accept.replace("v=v2,", "v=v2;")
