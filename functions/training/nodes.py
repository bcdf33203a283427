"""The Jobs of a TrainJob: one for each node, `<name>-node-0` for the first or only one, with torchrun's environment.

Their pods carry the labels of a JobSet's, by which the Trainer's clients find them, and the TrainJob's own labels of
Katib, by which a trial's pods are found. Source: Kubeflow Trainer (torch plugin: PET_ variables), JobSet (labels).
"""

from __future__ import annotations

import os
import socket
from typing import Any

from zeroflow.functions.training.runtimes import NODE, NotSupported, Plan
from zeroflow.resources.owners import owned_by
from zeroflow.tuning.collectors import METRICS_DIRECTORY

Object = dict[str, Any]

TRAIN_JOB_LABEL = "trainer.kubeflow.org/trainjob-name"
JOBSET_LABEL, REPLICATED_LABEL = "jobset.sigs.k8s.io/jobset-name", "jobset.sigs.k8s.io/replicatedjob-name"
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
HANDED_ON = "katib.kubeflow.org/"
PORT = "PET_MASTER_PORT"
DEFAULT_PORT = 29400
WORKSPACE, VOLUME = "/workspace", "workspace"
METRICS_VOLUME = "metrics-volume"


def job_name(train_job: Object, index: int) -> str:
    """Return the name of a node's Job."""
    return f"{train_job['metadata']['name']}-{NODE}-{index}"


def master_port(jobs: list[Object]) -> int:
    """Return where the nodes meet: what the Jobs that are there say, else a port that is free."""
    for job in jobs:
        for container in job["spec"]["template"]["spec"]["containers"]:
            for each in container.get("env") or ():
                if each["name"] == PORT:
                    return int(each["value"])
    if _on_a_cluster():
        return DEFAULT_PORT
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def job(train_job: Object, plan: Plan, index: int, port: int) -> Object:
    """Return the Job of one node; raise NotSupported where nodes cannot find each other."""
    if plan.nodes > 1 and _on_a_cluster():
        raise NotSupported("spec.trainer.numNodes: several nodes are built on one machine, not on a cluster yet")
    metadata = train_job["metadata"]
    marks = {
        JOBSET_LABEL: metadata["name"],
        REPLICATED_LABEL: NODE,
        INDEX_LABEL: str(index),
        TRAIN_JOB_LABEL: metadata["name"],
    }
    handed_on = {name: value for name, value in (metadata.get("labels") or {}).items() if name.startswith(HANDED_ON)}
    template = plan.job["template"]
    given = template.get("metadata") or {}
    containers = template["spec"]["containers"]
    first = {**containers[0], "env": [*(containers[0].get("env") or []), *_environment(plan, index, port)]}
    pod = _in_a_directory_of_its_own({**template["spec"], "containers": [first, *containers[1:]]})
    if folder := (metadata.get("annotations") or {}).get(METRICS_DIRECTORY):
        pod = _with_empty(pod, METRICS_VOLUME, folder)
    spec = {
        **plan.job,
        "backoffLimit": plan.job.get("backoffLimit", 0),
        "template": {
            "metadata": {**given, "labels": {**(given.get("labels") or {}), **handed_on, **marks}},
            "spec": pod,
        },
    }
    if (limit := train_job["spec"].get("activeDeadlineSeconds")) is not None:
        spec["activeDeadlineSeconds"] = limit
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(train_job, index),
            "namespace": metadata["namespace"],
            "labels": marks,
            "ownerReferences": owned_by(train_job),
        },
        "spec": spec,
    }


def _in_a_directory_of_its_own(pod: Object) -> Object:
    """Have the trainer work in an empty directory: clients have it write the training function's source there.

    In an image the working directory is the container's own; processes of one machine would share it.
    """
    container = pod["containers"][0]
    if container.get("workingDir"):
        return pod
    pod = {**pod, "containers": [{**container, "workingDir": WORKSPACE}, *pod["containers"][1:]]}
    return _with_empty(pod, VOLUME, WORKSPACE)


def _with_empty(pod: Object, name: str, path: str) -> Object:
    """Have the trainer see an empty directory at a path, unless something is there already."""
    container = pod["containers"][0]
    mounts = container.get("volumeMounts") or []
    if any(str(each.get("mountPath", "")).rstrip("/") == path for each in mounts):
        return pod
    container = {**container, "volumeMounts": [*mounts, {"name": name, "mountPath": path}]}
    volumes = [*(pod.get("volumes") or []), {"name": name, "emptyDir": {}}]
    return {**pod, "volumes": volumes, "containers": [container, *pod["containers"][1:]]}


def _environment(plan: Plan, index: int, port: int) -> list[Object]:
    said = {"JOB_COMPLETION_INDEX": str(index)}
    if plan.processes is not None:
        said |= {
            "PET_NNODES": str(plan.nodes),
            "PET_NPROC_PER_NODE": plan.processes,
            "PET_NODE_RANK": str(index),
            "PET_MASTER_ADDR": "127.0.0.1",
            PORT: str(port),
        }
    return [{"name": name, "value": value} for name, value in said.items()]


def _on_a_cluster() -> bool:
    return "KUBECONFIG" not in os.environ and "KUBERNETES_SERVICE_HOST" in os.environ
