"""A user's script for the official kubeflow-katib client, run in an environment that has only the client.

Prints one JSON document: what the client returned.
"""

import json
import sys
import time

from kubeflow import katib
from kubernetes.client import V1ObjectMeta


def objective(parameters):
    import time

    time.sleep(0.05)
    # Katib expects metrics in the format: <metric-name>=<metric-value>
    result = 4 * int(parameters["a"]) - float(parameters["b"]) ** 2
    print(f"result={result}")


def unimported(parameters):
    time.sleep(0.05)
    print(f"result={parameters['a']}")


def space():
    return {"a": katib.search.int(min=10, max=20), "b": katib.search.double(min=0.1, max=0.2)}


def metrics(client, trial, manager):
    return [
        [each.metric.name, each.metric.value] for each in client.get_trial_metrics(trial, db_manager_address=manager)
    ]


def ended(client, name):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if client.is_experiment_succeeded(name) or client.is_experiment_failed(name):
            return
        time.sleep(0.05)
    raise SystemExit(f"{name} did not end")


def pushing(parameters):
    import kubeflow.katib as katib

    for step in range(3):
        katib.report_metrics({"result": float(parameters["a"]) + step, "other": step})


def declared(name):
    """An Experiment made of the client's own models."""
    container = {"name": "main", "image": "python", "command": ["echo", "result=${trialParameters.a}"]}
    job = {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}
    return katib.V1beta1Experiment(
        api_version="kubeflow.org/v1beta1",
        kind="Experiment",
        metadata=V1ObjectMeta(name=name, namespace="kubeflow"),
        spec=katib.V1beta1ExperimentSpec(
            max_trial_count=2,
            algorithm=katib.V1beta1AlgorithmSpec(algorithm_name="random"),
            objective=katib.V1beta1ObjectiveSpec(type="maximize", objective_metric_name="result"),
            parameters=[
                katib.V1beta1ParameterSpec(
                    name="a",
                    parameter_type="int",
                    feasible_space=katib.V1beta1FeasibleSpace(min="1", max="9"),
                )
            ],
            parallel_trial_count=2,
            trial_template=katib.V1beta1TrialTemplate(
                primary_container_name="main",
                trial_parameters=[katib.V1beta1TrialParameterSpec(name="a", reference="a")],
                trial_spec={"apiVersion": "batch/v1", "kind": "Job", "spec": job},
            ),
        ),
    )


def public(cls):
    return [name for name in dir(cls) if not name.startswith("_") and callable(getattr(cls, name))]


USED = set()


class Noting(katib.KatibClient):
    """The client, which notes what is called of it."""

    def __getattribute__(self, name):
        USED.add(name)
        return super().__getattribute__(name)


def main(kubeconfig, manager):
    client = Noting(config_file=kubeconfig, namespace="kubeflow")
    client.tune(
        name="tutorial",
        objective=objective,
        parameters=space(),
        objective_metric_name="result",
        max_trial_count=12,
        resources_per_trial={"cpu": "2"},
        retain_trials=True,
    )
    client.tune(
        name="pushing",
        objective=pushing,
        parameters=space(),
        objective_metric_name="result",
        additional_metric_names=["other"],
        max_trial_count=2,
        base_image="katib-client",
        metrics_collector_config={"kind": "Push"},
    )
    client.tune(
        name="unimported",
        objective=unimported,
        parameters=space(),
        objective_metric_name="result",
        max_trial_count=3,
    )
    ended(client, "tutorial")
    succeeded = client.wait_for_experiment_condition("tutorial", polling_interval=1)
    best = client.get_optimal_hyperparameters("tutorial")
    trials = client.list_trials("tutorial")
    trial = client.get_trial(best.best_trial_name)
    log = list(client.get_job_logs("tutorial", best.best_trial_name))
    followed = list(client.get_job_logs("tutorial", best.best_trial_name, follow=True))
    ended(client, "unimported")
    seen = {
        "state": succeeded.status.conditions[-1].type,
        "best": {each.name: each.value for each in best.parameter_assignments},
        "observed": best.observation.metrics[0].latest,
        "assigned": [{each.name: each.value for each in found.spec.parameter_assignments} for found in trials],
        "trial": trial.status.conditions[-1].type,
        "details": len(client.get_success_trial_details("tutorial")),
        "suggested": client.get_suggestion("tutorial").status.suggestion_count,
        "listed": sorted(found.metadata.name for found in client.list_experiments()),
        "log": log,
        "followed": followed,
        "metrics": metrics(client, best.best_trial_name, manager),
        "unimported": client.get_experiment_conditions("unimported")[-1].message,
    }
    ended(client, "pushing")
    pushed = client.get_optimal_hyperparameters("pushing")
    seen["pushed"] = {
        "state": client.get_experiment_conditions("pushing")[-1].message,
        "best": pushed and {each.name: each.value for each in pushed.parameter_assignments},
        "observed": pushed and {each.name: each.latest for each in pushed.observation.metrics},
        "log": pushed and metrics(client, pushed.best_trial_name, manager),
    }
    try:
        client.get_trial_metrics("nobody", db_manager_address=manager)
    except RuntimeError as error:
        seen["nobody"] = str(error)
    client.tune(
        name="budget", objective=objective, parameters=space(), objective_metric_name="result", max_trial_count=40
    )
    client.edit_experiment_budget("budget", max_trial_count=5, parallel_trial_count=1)
    seen["budget"] = client.get_experiment("budget").spec.max_trial_count
    seen["running"] = [client.is_experiment_created("tutorial"), client.is_experiment_restarting("tutorial")]
    client.is_experiment_running("budget")
    client.create_experiment(declared("declared"))
    seen["declared"] = client.wait_for_experiment_condition("declared", polling_interval=1).metadata.name
    seen["told"] = len(client.list_suggestions())
    for name in ("tutorial", "unimported", "budget", "pushing", "declared"):
        client.delete_experiment(name)
    seen["unused"] = sorted(set(public(katib.KatibClient)) - USED)
    seen["left"] = [found.metadata.name for found in client.list_experiments()]
    return seen


if __name__ == "__main__":
    from contextlib import redirect_stdout

    with redirect_stdout(sys.stderr):
        result = main(*sys.argv[1:])
    json.dump(result, sys.stdout)
