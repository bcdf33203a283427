"""The objects that Serving makes of a Service: Configuration, Revision, Route.

Source: knative.dev/serving pkg/reconciler/{service,configuration}/resources.
"""

from __future__ import annotations

from typing import Any

from zeroflow.knative.local.api.objects import now
from zeroflow.knative.local.serving import labels

Object = dict[str, Any]


def owner(obj: Object) -> Object:
    """Return the reference by which `obj` controls another."""
    return {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "name": obj["metadata"]["name"],
        "uid": obj["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def configuration(service: Object) -> Object:
    """Return the Configuration of a Service: its template."""
    return _child(service, "Configuration", {"template": service["spec"]["template"]})


def route(service: Object) -> Object:
    """Return the Route of a Service: its traffic; the latest revision is that of the Configuration."""
    name = service["metadata"]["name"]
    traffic = [
        {**target, "configurationName": name} if target["latestRevision"] else dict(target)
        for target in service["spec"]["traffic"]
    ]
    return _child(service, "Route", {"traffic": traffic})


def revision_name(service: Object, config: Object) -> str:
    """Return the name of the Configuration's newest revision: the user's, or one that counts."""
    given = (service["spec"]["template"].get("metadata") or {}).get("name")
    return given or f"{config['metadata']['name']}-{config['metadata']['generation']:05d}"


def revision(service: Object, config: Object) -> Object:
    """Return the newest revision of a Configuration."""
    template = config["spec"]["template"]
    meta = template.get("metadata") or {}
    marks = {
        labels.CONFIGURATION: config["metadata"]["name"],
        labels.CONFIGURATION_GENERATION: str(config["metadata"]["generation"]),
        labels.CONFIGURATION_UID: config["metadata"]["uid"],
        labels.SERVICE: service["metadata"]["name"],
        labels.SERVICE_UID: service["metadata"]["uid"],
        labels.ROUTING_STATE: "pending",
    }
    annotations = {
        labels.CREATOR: service["metadata"]["annotations"][labels.LAST_MODIFIER],
        labels.ROUTING_STATE_MODIFIED: now(),
    }
    return {
        "apiVersion": labels.API_VERSION,
        "kind": "Revision",
        "metadata": {
            "name": revision_name(service, config),
            "namespace": config["metadata"]["namespace"],
            "labels": (meta.get("labels") or {}) | marks,
            "annotations": (meta.get("annotations") or {}) | annotations,
            "ownerReferences": [owner(config)],
        },
        "spec": template["spec"],
    }


def _child(service: Object, kind: str, spec: Object) -> Object:
    meta = service["metadata"]
    hidden = "kubectl.kubernetes.io/last-applied-configuration"
    return {
        "apiVersion": labels.API_VERSION,
        "kind": kind,
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "labels": {labels.SERVICE: meta["name"], labels.SERVICE_UID: meta["uid"]},
            "annotations": {key: value for key, value in meta["annotations"].items() if key != hidden},
            "ownerReferences": [owner(service)],
        },
        "spec": spec,
    }
