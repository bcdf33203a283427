"""A JobSink's spec and the names that follow from it.

Source: Knative JobSink (sinks/v1alpha1): the Job's name is derived from (source, id), so that the pair is the
idempotency key.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any
from urllib.parse import quote

from zeroflow.knative.local.api.objects import Object
from zeroflow.knative.local.eventing.errors import InvalidSpec

NAME_LABEL = "sinks.knative.dev/job-sink-name"
ID_LABEL = "sinks.knative.dev/job-sink-id"
NAME_MAX = 63
_MD5_CHARS = 32


def check_job_sink(new: Object, old: Object | None) -> Object:
    """Check that the job template can become a Job."""
    spec = new.get("spec") or {}
    job = spec.get("job")
    if not isinstance(job, dict) or not isinstance(job.get("spec"), dict):
        raise InvalidSpec("spec.job.spec", "missing: a batch/v1 Job to run for each event")
    for field, expected in (("apiVersion", "batch/v1"), ("kind", "Job")):
        if job.get(field) not in {None, "", expected}:
            raise InvalidSpec(f"spec.job.{field}", f"must be {expected}, not {job[field]!r}")
    pod = (
        (job["spec"].get("template") or {}).get("spec") if isinstance(job["spec"].get("template") or {}, dict) else None
    )
    path = "spec.job.spec.template.spec"
    if not isinstance(pod, dict) or not isinstance(pod.get("containers"), list) or not pod["containers"]:
        raise InvalidSpec(f"{path}.containers", "missing: at least one container")
    for index, container in enumerate(pod["containers"]):
        if not isinstance(container, dict) or not container.get("name"):
            raise InvalidSpec(f"{path}.containers[{index}].name", "missing")
        if not isinstance(container.get("env") or [], list):
            raise InvalidSpec(f"{path}.containers[{index}].env", "must be a list")
    if pod.get("restartPolicy") not in {"Never", "OnFailure"}:
        raise InvalidSpec(f"{path}.restartPolicy", f"must be Never or OnFailure, not {pod.get('restartPolicy')!r}")
    return new


def job_id(source: str, event_id: str) -> str:
    """Return the key of an event: what makes a second post of it the same post."""
    return hashlib.md5(f"{source}{event_id}".encode(), usedforsecurity=False).hexdigest()


def job_name(sink: str, source: str, event_id: str) -> str:
    """Return the Job's name: `<sink>-<key>`, or within 63 characters the sink's beginning and a hash of both."""
    parent, key = f"{sink}-", job_id(source, event_id)
    if len(parent) + len(key) <= NAME_MAX:
        return parent + key
    digest = hashlib.md5(f"{parent}{key}".encode(), usedforsecurity=False).hexdigest()
    name = parent[: NAME_MAX - _MD5_CHARS] + digest
    return re.sub(r"[^a-z0-9]+$", "", name)


def status_path(namespace: str, sink: str, source: str, event_id: str) -> str:
    """Return the path under which the state of an event's Job is asked for."""
    parts = ("namespaces", namespace, "name", sink, "sources", source, "ids", event_id)
    return "/" + "/".join(quote(part, safe="") for part in parts)


def pod_spec(job: dict[str, Any]) -> dict[str, Any]:
    """Return the pod spec inside a Job."""
    spec: dict[str, Any] = job["spec"]["template"]["spec"]
    return spec
