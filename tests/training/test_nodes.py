"""What a TrainJob runs on its nodes, and what is refused by name."""

from typing import Any

import pytest

from zeroflow.functions.training import nodes, reconcile, runtimes
from zeroflow.functions.training.runtimes import NotSupported


def runtime(policy: dict[str, Any], *jobs: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """Return a runtime whose node runs an image."""
    container = {"name": "node", "image": "trainer", "env": [{"name": "A", "value": "1"}]}
    pod = {"containers": [container]}
    node = {"name": "node", "template": {"spec": {"template": {"spec": pod}}}}
    return {
        "metadata": {"name": "r"},
        "spec": {"mlPolicy": policy, "template": {"spec": {"replicatedJobs": [*jobs, node]}}, **spec},
    }


class Cluster:
    """Has one runtime."""

    def __init__(self, found: dict[str, Any] | None) -> None:
        self.found = found

    def find(self, _api_version: str, _kind: str, _namespace: str | None, _name: str) -> dict[str, Any] | None:
        return self.found


def train_job(trainer: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """Return a TrainJob of the runtime."""
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": "t", "namespace": "n", "uid": "u", "labels": {"katib.kubeflow.org/trial": "t", "x": "y"}},
        "spec": {"runtimeRef": {"name": "r"}, "trainer": trainer or {}, **spec},
    }


def made(job: dict[str, Any], found: dict[str, Any], index: int = 0) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a node's Job and the environment of its container."""
    plan = runtimes.plan(job, Cluster(found))
    made = nodes.job(job, plan, index, 1234)
    container = made["spec"]["template"]["spec"]["containers"][0]
    return made, {each["name"]: each["value"] for each in container["env"]}


def test_a_node_of_torch_is_told_where_the_others_are():
    trainer = {"numNodes": 3, "resourcesPerNode": {"limits": {"cpu": "1500m"}}, "env": [{"name": "A", "value": "2"}]}
    job, env = made(train_job(trainer), runtime({"numNodes": 1, "torch": {}}), index=2)
    assert env == {
        "A": "2",
        "JOB_COMPLETION_INDEX": "2",
        "PET_NNODES": "3",
        "PET_NPROC_PER_NODE": "2",
        "PET_NODE_RANK": "2",
        "PET_MASTER_ADDR": "127.0.0.1",
        "PET_MASTER_PORT": "1234",
    }
    assert job["metadata"]["name"] == "t-node-2"
    assert job["spec"]["backoffLimit"] == 0
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert labels["jobset.sigs.k8s.io/jobset-name"] == labels["katib.kubeflow.org/trial"] == "t"
    assert labels["batch.kubernetes.io/job-completion-index"] == "2"
    assert "x" not in labels


def test_all_nodes_meet_at_the_port_of_the_first():
    job, _ = made(train_job({"numNodes": 2}), runtime({"torch": {}}))
    assert nodes.master_port([job]) == 1234


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"numProcPerNode": 4}, "4"),
        ({"resourcesPerNode": {"limits": {"nvidia.com/gpu": 2}}}, "auto"),
        ({"resourcesPerNode": {"requests": {"cpu": "3"}}}, "3"),
        ({}, "1"),
    ],
    ids=["as-given", "gpus", "processors", "nothing"],
)
def test_torchrun_starts_as_many_processes_as_there_are_devices(given, expected):
    assert made(train_job(given), runtime({"torch": {}}))[1]["PET_NPROC_PER_NODE"] == expected


def test_each_node_works_in_a_directory_of_its_own():
    pod = made(train_job(), runtime({}))[0]["spec"]["template"]["spec"]
    assert pod["containers"][0]["workingDir"] == "/workspace"
    assert pod["volumes"] == [{"name": "workspace", "emptyDir": {}}]


@pytest.mark.parametrize(
    ("job", "found", "named"),
    [
        (train_job(initializer={"dataset": {}}), runtime({}), "spec.initializer"),
        (train_job(runtimePatches=[{"manager": "m"}]), runtime({}), "spec.runtimePatches"),
        (train_job(managedBy="kueue.x-k8s.io/multikueue"), runtime({}), "spec.managedBy"),
        (train_job({"env": [{"name": "PET_NNODES", "value": "9"}]}), runtime({}), "PET_NNODES"),
        (train_job(), runtime({"mpi": {"numProcPerNode": 1}}), "mlPolicy.mpi"),
        (train_job(), runtime({"jax": {}}), "mlPolicy.jax"),
        (train_job(), runtime({}, {"name": "dataset-initializer"}), "dataset-initializer"),
        (train_job(), runtime({}, podGroupPolicy={"coscheduling": {}}), "podGroupPolicy"),
        (train_job(), None, "there is no ClusterTrainingRuntime 'r'"),
        (train_job({"resourcesPerNode": {"limits": {"cpu": "many"}}}), runtime({"torch": {}}), "'many'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_built_is_refused_by_name(job, found, named):
    with pytest.raises(NotSupported, match=named):
        runtimes.plan(job, Cluster(found))


def ended(kind: str, reason: str = "") -> dict[str, Any]:
    condition = {"type": kind, "status": "True", "reason": reason, "message": "m"}
    return {"metadata": {"name": "t-node-0"}, "status": {"conditions": [condition]}}


@pytest.mark.parametrize(
    ("jobs", "kind", "reason"),
    [
        ([ended("Complete"), ended("Complete")], "Complete", "AllJobsCompleted"),
        ([ended("Complete"), ended("Failed", "BackoffLimitExceeded")], "Failed", "FailedJobs"),
        ([ended("Failed", "DeadlineExceeded")], "Failed", "DeadlineExceeded"),
    ],
    ids=["complete", "failed", "deadline"],
)
def test_a_train_job_ends_as_its_nodes_do(jobs, kind, reason):
    verdict = reconcile.verdict(jobs, 2)
    assert verdict is not None
    assert (verdict["type"], verdict["reason"]) == (kind, reason)


def test_a_train_job_goes_on_while_a_node_does():
    running: dict[str, Any] = {"metadata": {"name": "t-node-1"}, "status": {"active": 1, "ready": 1}}
    assert reconcile.verdict([ended("Complete"), running], 2) is None
    counted = reconcile.counted([ended("Complete"), running])
    assert (counted["succeeded"], counted["active"], counted["ready"]) == (1, 1, 1)
