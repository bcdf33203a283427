"""Experiments as a user writes them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

X = {"name": "x", "parameterType": "double", "feasibleSpace": {"min": "-1", "max": "1"}}
SQUARE = "print('loss=%r' % (float('${trialParameters.x}') ** 2))"


def experiment(name: str, script: str = SQUARE, job: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """Return a small valid Experiment whose trials run a line of Python."""
    container = {"name": "main", "image": "python", "command": ["python", "-c", script]}
    template = {
        "primaryContainerName": "main",
        "trialParameters": [{"name": "x", "reference": "x"}],
        "trialSpec": {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}, **(job or {})},
        },
    }
    template.update(spec.pop("template", {}))
    return {
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Experiment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "objective": {"type": "minimize", "objectiveMetricName": "loss"},
            "algorithm": {"algorithmName": "random"},
            "parallelTrialCount": min(2, spec.get("maxTrialCount", 4)),
            "maxTrialCount": 4,
            "parameters": [X],
            "trialTemplate": template,
            **spec,
        },
    }


class Tuning:
    """Experiments of one host."""

    def __init__(self, host: Any, wait_until: Any) -> None:
        self.host, self._wait_until = host, wait_until

    def map_image(self, image: str, directory: Path) -> None:
        """Let a directory stand for an image."""
        zeroflow = [sys.executable, "-m", "zeroflow", "images", "map", image, str(directory)]
        environment = os.environ | {"ZEROFLOW_HOME": str(self.host.home)}
        subprocess.run(zeroflow, check=True, capture_output=True, env=environment)

    def apply(self, obj: dict[str, Any], *, check: bool = True) -> str:
        """Apply with kubectl; return what it said."""
        return str(self.host.kubectl("apply", "-f", "-", stdin=json.dumps(obj), check=check))

    def get(self, plural: str, name: str) -> Any:
        """Return one object of kubeflow.org."""
        return self.host.get(f"/apis/kubeflow.org/v1beta1/namespaces/default/{plural}/{name}")

    def trials(self, name: str) -> list[Any]:
        """Return an Experiment's Trials."""
        selector = f"labelSelector=katib.kubeflow.org/experiment={name}"
        found = self.host.get(f"/apis/kubeflow.org/v1beta1/namespaces/default/trials?{selector}")["items"]
        assert isinstance(found, list)
        return found

    def jobs(self, name: str) -> list[Any]:
        """Return the Jobs of an Experiment's Trials."""
        selector = f"labelSelector=katib.kubeflow.org/experiment={name}"
        found = self.host.get(f"/apis/batch/v1/namespaces/default/jobs?{selector}")["items"]
        assert isinstance(found, list)
        return found

    def ended(self, name: str, reason: str | None = None) -> Any:
        """Wait until an Experiment has ended (for this reason); return it."""

        def found() -> Any:
            obj = self.get("experiments", name)
            last = outcome(obj)
            return obj if last is not None and reason in (None, last["reason"]) else None

        return self._wait_until(found, f"the Experiment {name} to end")


def outcome(obj: dict[str, Any]) -> dict[str, Any] | None:
    """Return the condition with which an Experiment or Trial has ended."""
    ends = ("Succeeded", "Failed", "Killed", "MetricsUnavailable", "EarlyStopped")
    conditions = obj.get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] in ends and each["status"] == "True"), None)
