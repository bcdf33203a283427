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


def of_task(namespace: str, task: TaskPlan, inputs: Values) -> str:
    """Return the key of one execution; one that the author chose stands for all but component and namespace."""
    if task.cache_key:
        return _hash({"namespace": namespace, "component": task.component.name, "key": task.cache_key})
    return _hash(
        {
            "namespace": namespace,
            "component": _component(task.component),
            "parameters": inputs["parameters"],
            "artifacts": {name: [_content(item) for item in held] for name, held in inputs["artifacts"].items()},
            **({"platform": inputs["platform"]} if "platform" in inputs else {}),
        }
    )


def _component(component: Component) -> dict[str, Any]:
    container = {key: value for key, value in (component.container or {}).items() if key != "resources"}
    return {"definitions": component.definitions, "container": container}


def _content(artifact: dict[str, Any]) -> dict[str, Any]:
    content = {key: artifact.get(key) for key in ("type", "sha256", "metadata")}
    if artifact.get("sha256") is None and not str(artifact.get("uri")).startswith(OURS):
        content["uri"] = artifact.get("uri")  # by reference: where it lies is all that is known of its bytes
    return content


def _hash(value: Any) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
