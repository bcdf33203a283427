"""The cache key: what makes two executions of a step the same.

Content only: the component (definitions, image, command, arguments, environment), resolved parameters, and for each
input artifact its type, metadata and content hash - never its name or place - within one namespace. Changed code,
changed data or changed metadata is a miss; the same data at another URI is a hit.
"""

import hashlib
from typing import Any

import orjson

from zeroflow.functions.pipeline.inputs import Values
from zeroflow.functions.pipeline.plan import Component, TaskPlan

OURS = ("store://", "s3://")
"""Where an artifact without a hash has no bytes."""


def content(namespace: str, task: TaskPlan, inputs: Values) -> str:
    """Return what tells one execution of a step from any that might end differently."""
    return _hash(
        {
            "namespace": namespace,
            "component": _component(task.component),
            "parameters": inputs["parameters"],
            "artifacts": {name: [of_artifact(item) for item in held] for name, held in inputs["artifacts"].items()},
            **({"platform": inputs["platform"]} if "platform" in inputs else {}),
        }
    )


def key(namespace: str, task: TaskPlan, content_key: str) -> str:
    """Return the cache key of an execution; one that the author chose stands for all but component and namespace."""
    if not task.cache_key:
        return content_key
    outputs = task.component.definitions.get("outputDefinitions")
    return _hash({"namespace": namespace, "component": task.component.name, "outputs": outputs, "key": task.cache_key})


def _component(component: Component) -> dict[str, Any]:
    container = {key: value for key, value in (component.container or {}).items() if key != "resources"}
    return {"definitions": component.definitions, "container": container}


def of_artifact(artifact: dict[str, Any]) -> dict[str, Any]:
    """Return what an artifact is, apart from its name and place."""
    found = {name: artifact.get(name) for name in ("type", "sha256", "metadata")}
    if artifact.get("sha256") is None and not str(artifact.get("uri")).startswith(OURS):
        found["uri"] = artifact.get("uri")  # by reference: where it lies is all that is known of its bytes
    return found


def _hash(value: Any) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
