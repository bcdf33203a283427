"""The official examples whose images are only Python run as they are, when something stands for their images."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tuning.experiments import outcome

IMAGES = Path(__file__).parents[2] / "examples" / "tuning" / "images"
MAPPED = {
    "ghcr.io/kubeflow/katib/pytorch-mnist-cpu": "pytorch-mnist",
    "ghcr.io/kubeflow/katib/simple-pbt": "simple-pbt",
    "ghcr.io/kubeflow/katib/darts-cnn-cifar10-cpu": "darts-cnn",
    "ghcr.io/kubeflow/katib/enas-cnn-cifar10-cpu": "enas-cnn",
}
EXAMPLES = {
    "metrics-collector/file-metrics-collector.yaml": [pytest.mark.scale],
    "early-stopping/median-stop.yaml": [pytest.mark.scale],
    "hp-tuning/random.yaml": [pytest.mark.scale],
    "hp-tuning/tpe.yaml": [pytest.mark.scale],
    "hp-tuning/grid.yaml": [pytest.mark.scale],
    "hp-tuning/bayesian-optimization.yaml": [pytest.mark.scale],
    "hp-tuning/hyperopt-distribution.yaml": [pytest.mark.scale],
    "hp-tuning/simple-pbt.yaml": [],
    "metrics-collector/file-metrics-collector-with-json-format.yaml": [pytest.mark.scale],
    "resume-experiment/long-running-resume.yaml": [pytest.mark.scale],
    "nas/enas-cpu.yaml": [pytest.mark.scale],
    "nas/darts-cpu.yaml": [pytest.mark.scale],
}


@pytest.fixture(scope="module")
def mapped(tuning) -> None:
    for image, folder in MAPPED.items():
        tuning.map_image(image, IMAGES / folder)


@pytest.mark.parametrize(
    "path", [pytest.param(path, marks=marks, id=Path(path).stem) for path, marks in EXAMPLES.items()]
)
def test_an_official_example_runs(contracts, mapped, tuning, path):
    if "nas/" in path:
        pytest.importorskip("torch", reason="pip install 'zeroflow[torch]'")
    [obj] = [each for each in yaml.safe_load_all((contracts / "katib/examples" / path).read_text()) if each]
    obj["metadata"]["namespace"] = "default"
    if "simple-pbt" in path:
        obj["spec"] |= {"maxTrialCount": 12, "maxFailedTrialCount": 3}  # 3 of 2 are refused, by Katib as well
        for setting in obj["spec"]["algorithm"]["algorithmSettings"]:
            setting["value"] = "5" if setting["name"] == "n_population" else setting["value"]
    tuning.apply(obj)
    name = obj["metadata"]["name"]
    ended = tuning.ended(name)
    status = ended["status"]
    assert outcome(ended)["type"] == "Succeeded", outcome(ended)
    assert status["currentOptimalTrial"]["observation"]["metrics"][0]["latest"] != "unavailable"
    if outcome(ended)["reason"] == "ExperimentMaxTrialsReached":
        assert status["trials"] == obj["spec"]["maxTrialCount"]
    assert status.get("trialsFailed", 0) == status.get("trialMetricsUnavailable", 0) == 0
    if "simple-pbt" in path:
        check_population(tuning.trials(name))


def check_population(trials: list[dict[str, Any]]) -> None:
    """A trial with a parent goes on from its accuracy."""
    label = "pbt.suggestion.katib.kubeflow.org/parent"
    values = {each["metadata"]["name"]: each["status"]["observation"]["metrics"][0] for each in trials}
    children = [each for each in trials if label in each["metadata"]["labels"]]
    assert children
    for child in children:
        parent = values[child["metadata"]["labels"][label]]
        assert float(values[child["metadata"]["name"]]["min"]) >= float(parent["latest"])
