"""What kfp-kubernetes asks for a step, in a process: variables from Secrets, ConfigMaps and the pod's own fields.

Secrets are read here, in the namespace of the run, when the step begins; they are in no event and no log. A field of
the pod is the value that a pod of this task would have; one that it would not have is empty, as on a cluster.
"""

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any

from zeroflow.errors import InvalidInput, NotFound
from zeroflow.resources.client import Resources

_MEMBER = re.compile(r"""^metadata\.(labels|annotations)\[['"](.+)['"]\]$""")


def variables(
    platform: Mapping[str, Any], namespace: str, context: Mapping[str, str], resources: Callable[[], Resources]
) -> dict[str, str]:
    """Return environment variables; raise NotFound for a Secret, ConfigMap or key that must be there and is not."""
    found = {name: _field(path, platform, namespace, context) for name, path in (platform.get("fields") or {}).items()}
    for item in platform.get("environment") or ():
        kind, name = item["kind"], item["name"]
        held = resources().find("v1", kind, namespace, name)
        if held is None:
            if item["optional"]:
                continue
            raise NotFound(f"the step needs {kind} {name!r}, which is not in namespace {namespace}")
        data = held.get("data") or {}
        for variable, key in item["keys"].items():
            if key in data:
                found[variable] = base64.b64decode(data[key]).decode() if kind == "Secret" else str(data[key])
            elif not item["optional"]:
                raise NotFound(f"{kind} {name!r} in namespace {namespace} has no key {key!r}")
    return found


def references(platform: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the same variables as a pod has them: `valueFrom` by name."""
    found: dict[str, dict[str, Any]] = {
        name: {"fieldRef": {"fieldPath": path}} for name, path in (platform.get("fields") or {}).items()
    }
    for item in platform.get("environment") or ():
        field = {"Secret": "secretKeyRef", "ConfigMap": "configMapKeyRef"}[item["kind"]]
        for variable, key in item["keys"].items():
            found[variable] = {field: {"name": item["name"], "key": key, "optional": bool(item["optional"])}}
    return found


def _field(path: str, platform: Mapping[str, Any], namespace: str, context: Mapping[str, str]) -> str:
    own = {
        "metadata.name": context.get("task_id", ""),
        "metadata.uid": context.get("task_id", ""),
        "metadata.namespace": namespace,
    }
    if path in own:
        return own[path]
    match = _MEMBER.match(path)
    if match is None:
        raise InvalidInput(f"a process has no pod field {path!r}")
    given = {
        "labels": {"pipeline/runid": context.get("run_id", ""), **(platform.get("labels") or {})},
        "annotations": {
            "pipelines.kubeflow.org/run_name": context.get("run_name", ""),
            **(platform.get("annotations") or {}),
        },
    }
    return str(given[match[1]].get(match[2], ""))
