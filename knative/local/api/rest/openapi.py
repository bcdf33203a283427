"""OpenAPI documents: enough for kubectl's server-side validation, `apply`, `edit` and `explain`.

Each group and version has its own v3 document, made when it is asked for: paths with the query parameters that the
verbs take, and a schema per kind (a custom kind's comes from its definition). The v2 document says only that there
is nothing in it. Source: OpenAPI 3.0; Kubernetes "OpenAPI V3" (x-kubernetes-group-version-kind,
x-kubernetes-action).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final

import orjson
from aiohttp import web

from zeroflow.knative.local.api.builtin import CRD_KEY
from zeroflow.knative.local.api.builtin_schemas import document
from zeroflow.knative.local.api.errors import NotFound
from zeroflow.knative.local.api.kinds import Kind
from zeroflow.knative.local.api.objects import Object
from zeroflow.knative.local.api.patches import APPLY_PATCH, JSON_PATCH, MERGE_PATCH
from zeroflow.knative.local.api.rest.replies import reply
from zeroflow.knative.local.api.rest.target import NOWHERE
from zeroflow.knative.local.api.store import Store

META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
PROTOBUF_V2: Final = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
# An OpenAPI v2 document in protobuf: swagger "2.0" (field 1), info with title and version (field 2), no paths.
EMPTY_V2: Final = b"\n\x032.0\x12\x0e\n\x08zeroflow\x12\x021\x30"

DESCRIPTIONS: Final = {
    "Namespace": "A Namespace keeps names apart: deleting it deletes what is in it.",
    "ConfigMap": "A ConfigMap holds configuration that containers read.",
    "Secret": "A Secret holds configuration that only its reader should see; values are base64.",
    "ServiceAccount": "A ServiceAccount names who a workload is.",
    "PersistentVolumeClaim": "A PersistentVolumeClaim asks for a volume that outlives Pods: here, a directory.",
    "Pod": "A Pod is one running instance: here, a group of processes. The host makes Pods for Services and Jobs.",
    "Service": "The one Service of core/v1 is this API; Knative's Services are serving.knative.dev/v1.",
    "Node": "A Node is a machine: here, the one that the host runs on.",
    "Event": "An Event says what happened to an object; Events are kept in memory for a while.",
    "Job.batch": "A Job runs processes to completion.",
    "CronJob.batch": "A CronJob makes a Job at each due time of a schedule.",
    "Lease.coordination.k8s.io": "A Lease says who holds something, and until when.",
    CRD_KEY: "A CustomResourceDefinition adds a kind to this API.",
}
METADATA_PROPERTIES: Final = {
    "name": ("string", "The name, unique among the objects of its kind in its namespace."),
    "generateName": ("string", "A prefix; the server adds a random suffix when no name is given."),
    "namespace": ("string", "The namespace; cannot be changed."),
    "labels": ("object", "Words to select objects by."),
    "annotations": ("object", "Facts about the object that are not selected by."),
    "uid": ("string", "Tells this object from earlier ones of the same name; set by the server."),
    "resourceVersion": ("string", "Changes with every write; an update that gives an old one is refused."),
    "generation": ("integer", "Counts the changes of what is declared; set by the server."),
    "creationTimestamp": ("string", "When the object was created; set by the server."),
    "deletionTimestamp": ("string", "When its deletion was asked for; it goes once its finalizers are gone."),
    "finalizers": ("array", "What must happen before the object can go."),
    "ownerReferences": ("array", "The objects that own this one: it goes with the last of them."),
    "managedFields": ("array", "Who manages which field."),
}
QUERY: Final = {
    "list": ("labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "watch", "timeoutSeconds"),
    "write": ("dryRun", "fieldManager", "fieldValidation"),
    "patch": ("dryRun", "fieldManager", "fieldValidation", "force"),
    "delete": ("dryRun", "propagationPolicy", "gracePeriodSeconds"),
}


@dataclass(frozen=True, slots=True)
class OpenApi:
    """The documents under /openapi."""

    store: Store

    def v2(self, request: web.Request) -> web.Response:
        """/openapi/v2"""
        if "protobuf" in request.headers.get("Accept", ""):
            return web.Response(body=EMPTY_V2, headers={"Content-Type": PROTOBUF_V2})
        info = {"title": "zeroflow", "version": "1"}
        return reply({"swagger": "2.0", "info": info, "paths": {}, "definitions": {}})

    def index(self) -> web.Response:
        """/openapi/v3: where each group's document is; the hash changes with it."""
        paths = {}
        for group, version in self._group_versions():
            path = f"apis/{group}/{version}" if group else f"api/{version}"
            digest = hashlib.sha256(orjson.dumps(self._document(group, version))).hexdigest()[:32]
            paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
        return reply({"paths": paths})

    def v3(self, parts: list[str]) -> web.Response:
        """/openapi/v3/api/v1 and /openapi/v3/apis/<group>/<version>"""
        match parts:
            case ["api", version]:
                group = ""
            case ["apis", group, version]:
                pass
            case _:
                raise NotFound(NOWHERE)
        if (group, version) not in self._group_versions():
            raise NotFound(NOWHERE)
        return reply(self._document(group, version))

    def _group_versions(self) -> list[tuple[str, str]]:
        found: dict[tuple[str, str], None] = {}
        for kind in self.store.kinds:
            for version in kind.versions:
                found[kind.group, version.name] = None
        return list(found)

    def _document(self, group: str, version: str) -> Object:
        paths: Object = {}
        schemas: Object = {META: _metadata_schema()}
        for kind in self.store.kinds:
            if kind.group == group and kind.version(version) is not None:
                gvk = {"group": group, "version": version, "kind": kind.kind}
                name = _schema_name(kind, version)
                schemas[name] = self._schema(kind, version) | {"x-kubernetes-group-version-kind": [gvk]}
                paths |= _paths(kind, version, gvk, name)
        info = {"title": "Zeroflow", "version": version}
        return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}

    def _schema(self, kind: Kind, version: str) -> Object:
        table = None if kind.custom else document(kind.kind)
        schema: Object = {**(table or {"type": "object"}), "description": DESCRIPTIONS.get(kind.key, "")}
        if kind.custom and (definition := self.store.find(CRD_KEY, None, kind.resource)) is not None:
            for served in definition["spec"]["versions"]:
                if served["name"] == version:
                    schema = dict((served.get("schema") or {}).get("openAPIV3Schema") or schema)
        properties = dict(schema.get("properties") or {})
        if not kind.custom:
            properties |= {field: {"description": ""} for field in kind.fields or () if field not in properties}
        properties["apiVersion"] = {"type": "string", "description": "The group and version of this object's form."}
        properties["kind"] = {"type": "string", "description": "What kind of object this is."}
        properties["metadata"] = {
            "description": "What every object has: name, labels, owners, ...",
            "allOf": [{"$ref": f"#/components/schemas/{META}"}],
            "default": {},
        }
        return schema | {"properties": properties}


def _schema_name(kind: Kind, version: str) -> str:
    group = ".".join(reversed(kind.group.split("."))) if kind.group else "io.k8s.api.core"
    return f"{group}.{version}.{kind.kind}"


def _metadata_schema() -> Object:
    properties: Object = {}
    for name, (kind, description) in METADATA_PROPERTIES.items():
        properties[name] = {"type": kind, "description": description}
        if kind == "object":
            properties[name]["additionalProperties"] = {"type": "string"}
        elif kind == "array":
            properties[name]["items"] = {"type": "string" if name == "finalizers" else "object"}
    return {"type": "object", "description": "What every object has.", "properties": properties}


def _paths(kind: Kind, version: str, gvk: Object, schema: str) -> Object:
    root = f"/apis/{kind.group}/{version}" if kind.group else f"/api/{version}"
    collection = f"{root}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"
    body = {"$ref": f"#/components/schemas/{schema}"}
    patch_types = (JSON_PATCH, MERGE_PATCH, APPLY_PATCH)

    def operation(action: str, query: str = "", content: tuple[str, ...] = ()) -> Object:
        made: Object = {
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": gvk,
            "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": body}}}},
            "parameters": [
                {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
                for name in QUERY.get(query, ())
            ],
        }
        if content:
            made["requestBody"] = {"content": {media: {"schema": body} for media in content}}
        return made

    item: Object = {
        "get": operation("get"),
        "put": operation("put", "write", ("application/json",)),
        "patch": operation("patch", "patch", patch_types),
        "delete": operation("delete", "delete"),
        "parameters": _path_parameters(kind, name=True),
    }
    group: Object = {"get": operation("list", "list"), "delete": operation("deletecollection", "delete")}
    if kind.creatable:
        group["post"] = operation("post", "write", ("application/json",))
    group["parameters"] = _path_parameters(kind, name=False)
    paths: Object = {collection: group, f"{collection}/{{name}}": item}
    if kind.namespaced:
        paths[f"{root}/{kind.plural}"] = {"get": operation("list", "list")}
    return paths


def _path_parameters(kind: Kind, name: bool) -> list[dict[str, Any]]:
    names = (["namespace"] if kind.namespaced else []) + (["name"] if name else [])
    return [{"name": each, "in": "path", "required": True, "schema": {"type": "string"}} for each in names]
