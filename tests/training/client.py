"""A user's script for kubeflow's SDK, run in an environment that has only the SDK: `client.py RUNTIME`.

Prints one JSON document: what the clients returned.
"""

import json
import sys
import time

from kubeflow.optimizer import Objective, OptimizerClient, RandomSearch, Search, TrainJobTemplate, TrialConfig
from kubeflow.trainer import CustomTrainer, KubernetesBackendConfig, TrainerClient


def train(lr="0.5", depth="3"):
    import os

    print("index=" + os.environ["JOB_COMPLETION_INDEX"], os.path.basename(__file__))
    print(f"loss={(float(lr) - 0.03) ** 2 + int(depth)}")


def broken():
    raise ValueError("no data")


def waited(client, name):
    deadline = time.monotonic() + 60
    while (found := client.get_job(name)).status not in ("Complete", "Failed"):
        assert time.monotonic() < deadline, f"{name} is {found.status}"
        time.sleep(0.3)
    return found


def searched(client, name):
    """Wait as its own wait does; it raises when it sees a Trial in the moment before it has its TrainJob."""
    for _ in range(5):
        try:
            return client.wait_for_job_status(name, timeout=90, polling_interval=1)
        except RuntimeError as error:
            unseen = error
    raise unseen


def main(runtime):
    backend = KubernetesBackendConfig(namespace="kubeflow")
    trainer, optimizer = TrainerClient(backend), OptimizerClient(backend)
    chosen = trainer.get_runtime(runtime)
    one_cpu = {"cpu": 1}
    job = trainer.train(runtime=chosen, trainer=CustomTrainer(func=train, num_nodes=2, resources_per_node=one_cpu))
    fails = trainer.train(runtime=chosen, trainer=CustomTrainer(func=broken, resources_per_node=one_cpu))
    search = optimizer.optimize(
        TrainJobTemplate(runtime=chosen, trainer=CustomTrainer(func=train, resources_per_node=one_cpu)),
        search_space={"lr": Search.loguniform(1e-3, 1e-1), "depth": Search.choice(["1", "2"])},
        objectives=[Objective(metric="loss")],
        trial_config=TrialConfig(num_trials=4, parallel_trials=2),
        algorithm=RandomSearch(random_state=7),
    )
    trained, failed = waited(trainer, job), waited(trainer, fails)
    found = searched(optimizer, search)
    best = optimizer.get_best_results(search)
    seen = {
        "runtimes": {each.name: each.trainer.framework for each in trainer.list_runtimes()},
        "state": trained.status,
        "steps": [[each.name, each.status] for each in trained.steps],
        "logs": [list(trainer.get_job_logs(job, step=f"node-{index}")) for index in (0, 1)],
        "events": [each.reason for each in trainer.get_job_events(job)],
        "failed": failed.status,
        "why": list(trainer.get_job_logs(fails))[-1],
        "search": found.status,
        "trials": [[each.trainjob.status, each.parameters, each.metrics[0].latest] for each in found.trials],
        "best": [best.parameters, best.metrics[0].latest],
        "best_log": list(optimizer.get_job_logs(search)),
        "listed": [each.name for each in optimizer.list_jobs()] == [search],
        "jobs": len(trainer.list_jobs()),
    }
    optimizer.delete_job(search)
    trainer.delete_job(job)
    trainer.delete_job(fails)
    seen["left"] = [each.name for each in (*trainer.list_jobs(), *optimizer.list_jobs())]
    return seen


if __name__ == "__main__":
    from contextlib import redirect_stdout

    with redirect_stdout(sys.stderr):
        result = main(sys.argv[1])
    json.dump(result, sys.stdout)
