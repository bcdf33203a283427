"""PersistentVolumeClaims that a pipeline makes and deletes: kfp-kubernetes' CreatePVC and DeletePVC.

A claim whose name the run leaves open is called after the task, so that asking for it again finds it. Deleting one
that is gone has done what was asked. Source: CreatePVC and DeletePVC of kfp-kubernetes; Kubernetes core/v1.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from zeroflow.errors import Conflict, InvalidInput
from zeroflow.functions.step.log import Log
from zeroflow.functions.step.outputs import Outputs
from zeroflow.functions.step.request import Attempt, Task
from zeroflow.resources.client import Resources

CLAIM = ("v1", "PersistentVolumeClaim")
TASK = "zeroflow.dev/task"
_NAME = re.compile(r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")


def perform(task: Task, attempt: Attempt, resources: Callable[[], Resources], log: Log) -> Outputs:
    """Make or delete the claim that the task names; raise Conflict when one of this name is somebody else's."""
    given = (task.executor_input.get("inputs") or {}).get("parameterValues") or {}
    if task.executor["claim"] == "delete":
        name = _name(given.get("pvc_name"))
        there = resources().find(*CLAIM, task.namespace, name) is not None
        resources().delete(*CLAIM, task.namespace, name)
        log.note(f"deleted claim {name}" if there else f"claim {name} was gone already")
        return Outputs()
    name = _chosen(given, attempt)
    claim = _claim(given, name, task.namespace, attempt)
    try:
        resources().create(claim)
    except Conflict:
        found = resources().find(*CLAIM, task.namespace, name)
        if ((found or {}).get("metadata", {}).get("labels") or {}).get(TASK) != attempt.task_id:
            raise Conflict(
                f"there is a PersistentVolumeClaim {name!r} in namespace {task.namespace} already; mount that one, or"
                " choose another name"
            ) from None
    log.note(f"claim {name} is there")
    return Outputs(parameters={"name": name})


def _chosen(given: Mapping[str, Any], attempt: Attempt) -> str:
    name, suffix = given.get("pvc_name"), given.get("pvc_name_suffix")
    if bool(name) == bool(suffix):
        raise InvalidInput("a claim needs either pvc_name or pvc_name_suffix")
    return _name(name or f"{attempt.task_id}{suffix}")


def _claim(given: Mapping[str, Any], name: str, namespace: str, attempt: Attempt) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "accessModes": given.get("access_modes") or [],
        "resources": {"requests": {"storage": given.get("size") or ""}},
    }
    for field, key in (("storageClassName", "storage_class_name"), ("volumeName", "volume_name")):
        if given.get(key) is not None and (given[key] or field == "storageClassName"):
            spec[field] = given[key]
    if given.get("data_source"):
        spec["dataSource"] = given["data_source"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {TASK: attempt.task_id},
            **({"annotations": given["annotations"]} if given.get("annotations") else {}),
        },
        "spec": spec,
    }


def _name(value: Any) -> str:
    if not isinstance(value, str) or not _NAME.match(value):
        raise InvalidInput(f"the name of a claim must be lower-case letters, digits, '-' and '.', got {value!r}")
    return value
