"""A user's script for the experiments of the official model-registry client, in the releases that have them."""

import json
import sys
import warnings

warnings.simplefilter("ignore")

from model_registry import ModelRegistry  # noqa: E402


def main(url: str, name: str) -> dict[str, object]:
    host, _, port = url.rpartition(":")
    registry = ModelRegistry(host, int(port), author="Ada", is_secure=False)
    made = registry.create_experiment(name)
    with registry.start_experiment_run(experiment_name=name, owner="Ada") as run:
        run.log_param("lr", 0.1)
        run.log_param("fast", True)
        run.log_metric("auc", 0.91, step=3)
        run.log_dataset("train", uri="s3://b/train.csv", source_type="s3", source="b")
    with registry.start_experiment_run(experiment_name=name, run_id=run.info.id) as again:
        again.log_metric("auc", 0.92, step=4)
    # several runs, so that the pager has pages; without names: this release looks a named run up by the wrong id
    for _ in range(3):
        with registry.start_experiment_run(experiment_name=name):
            pass
    runs = list(registry.get_experiment_runs(experiment_name=name).page_size(2))
    first = registry.get_experiment_run(run.info.id)
    logs = list(registry.get_experiment_run_logs(run_id=run.info.id).page_size(2))
    return {
        "made": made.model_dump(mode="json"),
        "listed": name in [one.name for one in registry.get_experiments().page_size(3)],
        "runs": len({one.id for one in runs}),
        "first": first.model_dump(mode="json"),
        "logs": sorted((type(one).__name__, one.name, getattr(one, "value", None)) for one in logs),
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
