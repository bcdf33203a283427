"""What a TrainJob asks for, together with the runtime that it names: the nodes' template, and what is not built.

Source: Kubeflow Trainer v1alpha1 API (TrainJob, TrainingRuntime, ClusterTrainingRuntime, MLPolicy).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from zeroflow.errors import NotFound, ZeroflowError
from zeroflow.resources.client import Resources

Object = dict[str, Any]

API_VERSION, KIND = "trainer.kubeflow.org/v1alpha1", "TrainJob"
NAMESPACED, FOR_ALL = "TrainingRuntime", "ClusterTrainingRuntime"
NODE = "node"
"""Name of the replicated Job and of the container in which training runs."""
CONTROLLER = "trainer.kubeflow.org/trainjob-controller"
POLICIES = ("torch", "numNodes")
TRAINER_FIELDS = ("image", "command", "args", "env", "numNodes", "numProcPerNode", "resourcesPerNode")
SET_HERE = ("PET_NNODES", "PET_NPROC_PER_NODE", "PET_NODE_RANK", "PET_MASTER_ADDR", "PET_MASTER_PORT")
GPU = "nvidia.com/gpu"


class NotSupported(ZeroflowError):
    """A TrainJob, or its runtime, asks for what there is not."""

    reason = "InvalidInput"


@dataclass(frozen=True)
class Plan:
    """What is to run."""

    job: Object
    """The spec of a node's Job, with the trainer's words for image, command and resources."""
    nodes: int
    processes: str | None
    """How many processes torchrun starts on a node, None where the runtime has no torch."""


def plan(train_job: Object, resources: Resources) -> Plan:
    """Return what a TrainJob runs; raise NotSupported with the field that stands in the way."""
    spec = train_job["spec"]
    runtime = _runtime(train_job, resources)
    wrong = [*_unknown_in_job(spec), *_unknown_in_runtime(runtime)]
    if wrong:
        raise NotSupported("; ".join(wrong))
    policy, trainer = runtime["spec"].get("mlPolicy") or {}, spec.get("trainer") or {}
    job = _node_job(runtime)["template"].get("spec") or {}
    pod = (job.get("template") or {}).get("spec") or {}
    container = next((each for each in pod.get("containers") or () if each.get("name") == NODE), None)
    if container is None:
        raise NotSupported(f"the runtime {runtime['metadata']['name']} has no container {NODE!r}")
    container = _overridden(container, trainer)
    others = [each for each in pod["containers"] if each.get("name") != NODE]
    pod = {**pod, "restartPolicy": pod.get("restartPolicy", "Never"), "containers": [container, *others]}
    nodes = int(trainer.get("numNodes") or policy.get("numNodes") or 1)
    processes = _processes(policy, trainer, container) if "torch" in policy else None
    return Plan({**job, "template": {**(job.get("template") or {}), "spec": pod}}, nodes, processes)


def _runtime(train_job: Object, resources: Resources) -> Object:
    reference = train_job["spec"].get("runtimeRef") or {}
    kind, name = reference.get("kind") or FOR_ALL, str(reference.get("name") or "")
    namespace = train_job["metadata"]["namespace"] if kind == NAMESPACED else None
    if kind not in (NAMESPACED, FOR_ALL):
        raise NotSupported(f"spec.runtimeRef.kind: {kind!r} is neither {NAMESPACED} nor {FOR_ALL}")
    try:
        found = resources.find(API_VERSION, kind, namespace, name)
    except NotFound as error:
        raise NotSupported(f"spec.runtimeRef: {error}") from error
    if found is None:
        raise NotSupported(f"spec.runtimeRef.name: there is no {kind} {name!r}")
    return found


def _unknown_in_job(spec: Object) -> Iterator[str]:
    for field in ("initializer", "runtimePatches", "podTemplateOverrides"):
        if spec.get(field):
            yield f"spec.{field} is not built"
    managed_by = spec.get("managedBy")
    if managed_by not in (None, "", CONTROLLER):
        yield f"spec.managedBy: {managed_by!r} is not built; only {CONTROLLER}"
    trainer = spec.get("trainer") or {}
    for field in trainer:
        if field not in TRAINER_FIELDS:
            yield f"spec.trainer.{field} is not built"
    for each in trainer.get("env") or ():
        if each.get("name") in SET_HERE:
            yield f"spec.trainer.env: {each['name']} is set by the runtime"


def _unknown_in_runtime(runtime: Object) -> Iterator[str]:
    name, spec = runtime["metadata"]["name"], runtime.get("spec") or {}
    for policy, value in (spec.get("mlPolicy") or {}).items():
        if policy not in POLICIES and value is not None:
            yield f"the runtime {name}: mlPolicy.{policy} is not built; there are torch and none"
    if spec.get("podGroupPolicy"):
        yield f"the runtime {name}: podGroupPolicy is not built"
    for each in _replicated(runtime):
        if each.get("name") != NODE:
            yield f"the runtime {name}: the replicated job {each.get('name')!r} is not built; there is {NODE!r}"


def _replicated(runtime: Object) -> list[Object]:
    template = ((runtime.get("spec") or {}).get("template") or {}).get("spec") or {}
    found: list[Object] = template.get("replicatedJobs") or []
    return found


def _node_job(runtime: Object) -> Object:
    found = next((each for each in _replicated(runtime) if each.get("name") == NODE), None)
    if found is None:
        raise NotSupported(f"the runtime {runtime['metadata']['name']} has no replicated job {NODE!r}")
    return found


def _overridden(container: Object, trainer: Object) -> Object:
    changed = {field: trainer[field] for field in ("image", "command", "args") if trainer.get(field)}
    if trainer.get("resourcesPerNode"):
        changed["resources"] = trainer["resourcesPerNode"]
    env = {each["name"]: each for each in [*(container.get("env") or ()), *(trainer.get("env") or ())]}
    return {**container, **changed, **({"env": list(env.values())} if env else {})}


def _processes(policy: Object, trainer: Object, container: Object) -> str:
    """Return torchrun's count: as given; the GPUs' where some are asked for, else the whole processors'."""
    given = trainer.get("numProcPerNode") or (policy.get("torch") or {}).get("numProcPerNode") or "auto"
    if str(given) not in ("auto", "cpu"):
        return str(given)
    resources = container.get("resources") or {}
    asked = {**(resources.get("requests") or {}), **(resources.get("limits") or {})}
    if GPU in asked and str(given) == "auto":
        return "auto"
    return str(max(1, math.ceil(_processors(str(asked.get("cpu", "1"))))))


def _processors(quantity: str) -> float:
    try:
        return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)
    except ValueError:
        raise NotSupported(f"resources: {quantity!r} is no number of processors") from None
