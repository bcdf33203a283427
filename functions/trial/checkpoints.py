"""Where the members of a population keep their checkpoints: a claim of the Experiment, a directory a trial.

The directory lies at `suggestion_trial_dir`; before a trial starts, the collector copies what its parent has left there
(`collector/inheriting.py`). Source: Katib v1beta1 pbt (suggestion_trial_dir, ReadWriteMany 5Gi).
"""

from __future__ import annotations

from zeroflow.errors import Conflict
from zeroflow.functions.trial.algorithms.population import PARENT
from zeroflow.functions.trial.manifests import CHECKPOINT_DIRECTORY
from zeroflow.resources.client import Resources
from zeroflow.resources.owners import owned_by
from zeroflow.tuning.spec import EXPERIMENT_LABEL, Object

VOLUME = "pbt-checkpoints"
ALL = "/opt/katib/data"
"""Where a trial sees the directories of all, for the collector to copy from."""


def claim_name(experiment: str) -> str:
    """Return the name of an Experiment's claim."""
    return f"{experiment}-pbt"


def claim(resources: Resources, experiment: Object) -> None:
    """Create the claim."""
    metadata = experiment["metadata"]
    try:
        resources.create(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {
                    "name": claim_name(metadata["name"]),
                    "namespace": metadata["namespace"],
                    "labels": {EXPERIMENT_LABEL: metadata["name"]},
                    "ownerReferences": owned_by(experiment),
                },
                "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "5Gi"}}},
            }
        )
    except Conflict:
        return


def mount(trial: Object, pod: Object, container: Object) -> Object:
    """Mount a trial's directory and those of all; return what the collector copies before the trial starts."""
    directory = (trial["metadata"].get("annotations") or {}).get(CHECKPOINT_DIRECTORY)
    if not directory:
        return {}
    name, labels = trial["metadata"]["name"], trial["metadata"]["labels"]
    pod["volumes"] = [
        *(pod.get("volumes") or []),
        {"name": VOLUME, "persistentVolumeClaim": {"claimName": claim_name(labels[EXPERIMENT_LABEL])}},
    ]
    container["volumeMounts"] = [
        *(container.get("volumeMounts") or []),
        {"name": VOLUME, "mountPath": directory.rstrip("/"), "subPath": name},
        {"name": VOLUME, "mountPath": ALL},
    ]
    return {"inherit": {"own": name, "parent": labels.get(PARENT), "all": ALL}}
