"""The Pod object of one attempt of a Job."""

from __future__ import annotations

from typing import Any

from zeroflow.knative.local.jobs.admission import CONTROLLER_UID, JOB_NAME
from zeroflow.resources.owners import owned_by

Object = dict[str, Any]


def pod_object(job: Object, name: str) -> Object:
    """Return the Pod of this name that runs a Job's template."""
    meta, template = job["metadata"], job["spec"]["template"]
    given = template.get("metadata") or {}
    marks = {
        JOB_NAME: meta["name"],
        CONTROLLER_UID: meta["uid"],
        "job-name": meta["name"],
        "controller-uid": meta["uid"],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": meta["namespace"],
            "labels": (given.get("labels") or {}) | marks,
            "annotations": dict(given.get("annotations") or {}),
            "ownerReferences": owned_by(job),
        },
        "spec": {**template["spec"], "nodeName": "localhost"},
    }
