"""A project as Knative objects: one Service, and a Trigger for each subscription.

Source: Knative Functions' deployer (labels, Triggers of subscriptions).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zeroflow.projects.func_yaml import FuncYaml

Object = dict[str, Any]

FUNCTION_LABEL, NAME_LABEL = "function.knative.dev", "function.knative.dev/name"
SOURCE_ANNOTATION = "zeroflow.dev/function-source"
_APPLICATION = "zeroflow.instance.app:create_app()"
_THREADS = "--threads=32"


def service(project: FuncYaml, source: Path, import_root: Path, environment: Path | None) -> Object:
    """Return the Service; without an environment of its own it is forked from the platform's preloaded parent."""
    annotations = {SOURCE_ANNOTATION: str(source), **project.annotations, **project.scale}
    if project.start_timeout_s:
        annotations["serving.knative.dev/progress-deadline"] = f"{project.start_timeout_s}s"
    if environment is None:
        annotations["zeroflow.dev/runtime"] = "function"
        command, arguments = ["gunicorn"], [_THREADS, _APPLICATION]
    else:
        command = [str(environment / "bin" / "python"), "-m", "gunicorn"]
        arguments = ["--worker-class=gthread", _THREADS, "--bind=127.0.0.1:$(PORT)", _APPLICATION]
    env = [
        {"name": "PYTHONPATH", "value": str(source / import_root)},
        {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"},
        {"name": "ZEROFLOW_FUNCTION_INVOKE", "value": project.invoke},
        {"name": "LISTEN_ADDRESS", "value": "127.0.0.1:$(PORT)"},
        *project.env,
    ]
    container: Object = {
        "image": f"zeroflow.local/functions/{project.name}:{source.name}",
        "command": command,
        "args": arguments,
        "workingDir": str(source),
        "env": env,
        "livenessProbe": {"httpGet": {"path": project.liveness}},
        "readinessProbe": {"httpGet": {"path": project.readiness}},
    }
    for name, value in (("envFrom", project.env_from), ("volumeMounts", project.mounts)):
        if value:
            container[name] = list(value)
    if project.resources:
        container["resources"] = project.resources
    spec: Object = {"containers": [container]}
    if project.volumes:
        spec["volumes"] = list(project.volumes)
    if project.concurrency is not None:
        spec["containerConcurrency"] = project.concurrency
    if project.service_account:
        spec["serviceAccountName"] = project.service_account
    marks = _marks(project)
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": project.name, "namespace": project.namespace, "labels": marks | dict(project.labels)},
        "spec": {"template": {"metadata": {"annotations": annotations, "labels": marks}, "spec": spec}},
    }


def triggers(project: FuncYaml, service_uid: str) -> list[Object]:
    """Return a Trigger for each subscription; they go with the Service."""
    owner = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "name": project.name,
        "uid": service_uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return [
        {
            "apiVersion": "eventing.knative.dev/v1",
            "kind": "Trigger",
            "metadata": {
                "name": f"{project.name}-function-trigger-{number}",
                "namespace": project.namespace,
                "labels": _marks(project),
                "ownerReferences": [owner],
            },
            "spec": {
                "broker": subscription["source"],
                "filter": {"attributes": subscription.get("filters") or {}},
                "subscriber": {
                    "ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": project.name}
                },
            },
        }
        for number, subscription in enumerate(project.subscriptions)
    ]


def _marks(project: FuncYaml) -> dict[str, str]:
    return {FUNCTION_LABEL: "true", NAME_LABEL: project.name, "function.knative.dev/runtime": "python"}
