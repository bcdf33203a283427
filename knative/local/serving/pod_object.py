"""The Pod object of one instance of a revision, as Knative's Deployment would make it."""

from __future__ import annotations

from typing import Any

from zeroflow.knative.local.api.objects import generated_name
from zeroflow.knative.local.processes.runtimes import ANNOTATION
from zeroflow.knative.local.serving import labels

Object = dict[str, Any]

_PASSED = (
    "volumes",
    "initContainers",
    "nodeSelector",
    "tolerations",
    "affinity",
    "imagePullSecrets",
    "runtimeClassName",
    "priorityClassName",
)


def pod_object(revision: Object) -> Object:
    """Return a new Pod for a revision."""
    meta, spec = revision["metadata"], revision["spec"]
    given = meta.get("labels") or {}
    marks = {
        "app": meta["name"],
        labels.REVISION: meta["name"],
        labels.REVISION_UID: meta.get("uid", ""),
        **{key: given[key] for key in (labels.SERVICE, labels.CONFIGURATION) if key in given},
    }
    annotations = {key: value for key, value in (meta.get("annotations") or {}).items() if key == ANNOTATION}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": generated_name(f"{meta['name']}-deployment-"),
            "namespace": meta["namespace"],
            "labels": given | marks,
            "annotations": annotations,
            "ownerReferences": [
                {
                    "apiVersion": labels.API_VERSION,
                    "kind": "Revision",
                    "name": meta["name"],
                    "uid": meta.get("uid", ""),
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "containers": spec["containers"],
            "volumes": [],
            **{name: spec[name] for name in _PASSED if spec.get(name)},
            "nodeName": "localhost",
            "serviceAccountName": spec.get("serviceAccountName", "default"),
            "terminationGracePeriodSeconds": spec.get("timeoutSeconds", 300),
        },
    }


def serving_container(containers: list[Object]) -> Object:
    """Return the container that takes the requests: the one with a port, or the only one."""
    return next((container for container in containers if container.get("ports")), containers[0])


def port_of(container: Object) -> Object:
    """Return the declared port, with Knative's defaults."""
    given = (container.get("ports") or [{}])[0]
    return {"name": given.get("name") or "http1", "containerPort": given.get("containerPort") or 8080}
