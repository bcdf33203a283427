"""The objects that Serving makes: of a Service its Configuration and Route, of a Configuration its Revisions.

Source: knative.dev/serving pkg/reconciler/{service,configuration}/resources.
"""

from __future__ import annotations

from typing import Any

from zeroflow.knative.local.api.objects import now
from zeroflow.knative.local.serving import labels
from zeroflow.resources.owners import owned_by

Object = dict[str, Any]


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


def revision_name(config: Object) -> str:
    """Return the name of a Configuration's newest revision: the user's, or one that counts."""
    given = (config["spec"]["template"].get("metadata") or {}).get("name")
    return given or f"{config['metadata']['name']}-{config['metadata']['generation']:05d}"


def revision(config: Object) -> Object:
    """Return the newest revision of a Configuration."""
    template, owned = config["spec"]["template"], config["metadata"].get("labels") or {}
    meta = template.get("metadata") or {}
    marks = {
        labels.CONFIGURATION: config["metadata"]["name"],
        labels.CONFIGURATION_GENERATION: str(config["metadata"]["generation"]),
        labels.CONFIGURATION_UID: config["metadata"]["uid"],
        **{key: owned.get(key, "") for key in (labels.SERVICE, labels.SERVICE_UID)},
        labels.ROUTING_STATE: "pending",
    }
    annotations = {
        labels.CREATOR: (config["metadata"].get("annotations") or {}).get(labels.LAST_MODIFIER, ""),
        labels.ROUTING_STATE_MODIFIED: now(),
    }
    return {
        "apiVersion": labels.API_VERSION,
        "kind": "Revision",
        "metadata": {
            "name": revision_name(config),
            "namespace": config["metadata"]["namespace"],
            "labels": (meta.get("labels") or {}) | marks,
            "annotations": (meta.get("annotations") or {}) | annotations,
            "ownerReferences": owned_by(config),
        },
        "spec": template["spec"],
    }


def _child(service: Object, kind: str, spec: Object) -> Object:
    meta = service["metadata"]
    hidden = "kubectl.kubernetes.io/last-applied-configuration"
    shown = {key: value for key, value in (meta.get("labels") or {}).items() if key == labels.VISIBILITY}
    return {
        "apiVersion": labels.API_VERSION,
        "kind": kind,
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "labels": {**shown, labels.SERVICE: meta["name"], labels.SERVICE_UID: meta["uid"]},
            "annotations": {key: value for key, value in meta["annotations"].items() if key != hidden},
            "ownerReferences": owned_by(service),
        },
        "spec": spec,
    }
