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
        }
    )


def _component(component: Component) -> dict[str, Any]:
    container = {key: value for key, value in (component.container or {}).items() if key != "resources"}
    return {"definitions": component.definitions, "container": container}


def _content(artifact: dict[str, Any]) -> dict[str, Any]:
    return {key: artifact.get(key) for key in ("type", "sha256", "metadata")}


def _hash(value: Any) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
