"""What is refused, with the path of its field; and what the official examples are told."""

import copy
from typing import Any

import pytest
import yaml

from tuning.experiments import X, experiment
from zeroflow.tuning.defaults import defaulted
from zeroflow.tuning.validation import faults


def fields(obj: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
    return [field for field, _ in faults(defaulted(obj), defaulted(old) if old else None)]


def double(**space: str) -> dict[str, Any]:
    return {"parameters": [{**X, "feasibleSpace": space}]}


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("spec.objective.type", {"objective": {"type": "minimise", "objectiveMetricName": "loss"}}),
    ("spec.objective.objectiveMetricName", {"objective": {"type": "minimize"}}),
    (
        "spec.objective.additionalMetricNames",
        {"objective": {"type": "minimize", "objectiveMetricName": "a", "additionalMetricNames": ["a"]}},
    ),
    ("spec.parallelTrialCount", {"parallelTrialCount": 0}),
    ("spec.maxTrialCount", {"maxTrialCount": -1}),
    ("spec.maxFailedTrialCount", {"maxTrialCount": 2, "maxFailedTrialCount": 3}),
    ("spec.resumePolicy", {"resumePolicy": "Sometimes"}),
    ("spec.algorithm.algorithmName", {"algorithm": {"algorithmName": "tpee"}}),
    ("spec.algorithm.algorithmName", {"algorithm": {"algorithmName": "hyperband"}}),
    (
        "spec.algorithm.algorithmSettings[0].name",
        {"algorithm": {"algorithmName": "tpe", "algorithmSettings": [{"name": "n_ei", "value": "3"}]}},
    ),
    (
        "spec.algorithm.algorithmSettings[0].value",
        {"algorithm": {"algorithmName": "tpe", "algorithmSettings": [{"name": "gamma", "value": "2"}]}},
    ),
    ("spec.parameters", {"algorithm": {"algorithmName": "cmaes"}}),
    ("spec.parameters[0].feasibleSpace.step", {"algorithm": {"algorithmName": "grid"}}),
    ("spec.maxTrialCount", {"algorithm": {"algorithmName": "grid"}, **double(min="0", max="1", step="0.5")}),
    ("spec.parameters", {"parameters": []}),
    ("spec.parameters[0].parameterType", {"parameters": [{**X, "parameterType": "float"}]}),
    ("spec.parameters[1].name", {"parameters": [X, X]}),
    ("spec.parameters[0].feasibleSpace.min", double(min="low", max="1")),
    ("spec.parameters[0].feasibleSpace.max", double(min="2", max="1")),
    ("spec.parameters[0].feasibleSpace.min", double(min="0", max="1", distribution="logUniform")),
    ("spec.parameters[0].feasibleSpace.distribution", double(min="0", max="1", distribution="cauchy")),
    ("spec.metricsCollectorSpec.collector.kind", {"metricsCollectorSpec": {"collector": {"kind": "Push"}}}),
    (
        "spec.metricsCollectorSpec.source.filter.metricsFormat[0]",
        {"metricsCollectorSpec": {"source": {"filter": {"metricsFormat": ["loss=(.*)"]}}}},
    ),
    ("spec.earlyStopping", {"earlyStopping": {"algorithmName": "medianstop"}}),
    ("spec.trialTemplate.primaryContainerName", {"template": {"primaryContainerName": "other"}}),
    (
        "spec.trialTemplate.trialParameters[0].reference",
        {"template": {"trialParameters": [{"name": "x", "reference": "y"}]}},
    ),
    ("spec.trialTemplate.trialSpec", {"template": {"trialParameters": [{"name": "y", "reference": "x"}]}}),
]


@pytest.mark.parametrize(
    ("field", "change"), WRONG, ids=[f"{number}-{field}" for number, (field, _) in enumerate(WRONG)]
)
def test_a_fault_is_found_at_its_field(field, change):
    assert field in fields(experiment("wrong", **copy.deepcopy(change)))


def test_a_good_experiment_has_no_fault():
    assert faults(defaulted(experiment("good"))) == []


@pytest.mark.parametrize(
    ("kind", "version"), [("PyTorchJob", "kubeflow.org/v1"), ("TrainJob", "trainer.kubeflow.org/v1alpha1")]
)
def test_other_kinds_of_trials_are_refused_by_name(kind, version):
    obj = experiment("other")
    obj["spec"]["trialTemplate"]["trialSpec"].update(kind=kind, apiVersion=version)
    [message] = [said for field, said in faults(defaulted(obj)) if field == "spec.trialTemplate.trialSpec.kind"]
    assert kind in message


def test_only_the_budget_can_be_changed():
    old, new = experiment("changed"), experiment("changed", maxTrialCount=9, parallelTrialCount=1)
    assert fields(new, old) == []
    assert fields(experiment("changed", algorithm={"algorithmName": "tpe"}), old) == ["spec.algorithm"]


ACCEPTED = [
    "hp-tuning/random.yaml",
    "hp-tuning/tpe.yaml",
    "hp-tuning/grid.yaml",
    "hp-tuning/bayesian-optimization.yaml",
    "hp-tuning/hyperopt-distribution.yaml",
    "resume-experiment/long-running-resume.yaml",
]
REFUSED = {
    "hp-tuning/simple-pbt.yaml": "spec.algorithm.algorithmName",
    "early-stopping/median-stop.yaml": "spec.earlyStopping",
    "metrics-collector/file-metrics-collector.yaml": "spec.metricsCollectorSpec.collector.kind",
    "trial-template/trial-configmap-source.yaml": "spec.trialTemplate.configMap",
    "kubeflow-trainer/trainjob-pytorch.yaml": "spec.trialTemplate.trialSpec.kind",
    "kubeflow-training-operator/mpijob-horovod.yaml": "spec.trialTemplate.trialSpec.kind",
    "nas/darts-cpu.yaml": "spec.nasConfig",
    "nas/enas-cpu.yaml": "spec.nasConfig",
    "argo/argo-workflow.yaml": "spec.trialTemplate.trialSpec.kind",
    "tekton/pipeline-run.yaml": "spec.trialTemplate.trialSpec.kind",
}


def official(contracts, path: str) -> dict[str, Any]:
    documents = yaml.safe_load_all((contracts / "katib" / path).read_text())
    found: dict[str, Any] = next(each for each in documents if each and each["kind"] == "Experiment")
    return found


@pytest.mark.parametrize("path", [f"examples/{path}" for path in ACCEPTED] + ["testdata/valid-experiment.yaml"])
def test_an_official_example_is_accepted(contracts, path):
    assert faults(defaulted(official(contracts, path))) == []


@pytest.mark.parametrize("path", REFUSED)
def test_an_official_example_that_needs_more_is_refused_by_name(contracts, path):
    assert REFUSED[path] in fields(official(contracts, f"examples/{path}"))


def test_the_experiment_of_the_tutorial_is_accepted(contracts):
    assert faults(defaulted(official(contracts, "tutorial-experiment.yaml"))) == []
