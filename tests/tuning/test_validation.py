"""What is refused, with the path of its field; and what the official examples are told."""

import copy
from typing import Any

import pytest
import yaml

from tuning.experiments import X, experiment
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.tuning import job_faults
from zeroflow.tuning.defaults import defaulted
from zeroflow.tuning.validation import faults


def fields(obj: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
    return [field for field, _ in faults(defaulted(obj), defaulted(old) if old else None)]


def double(**space: str) -> dict[str, Any]:
    return {"parameters": [{**X, "feasibleSpace": space}]}


def collected(kind: str, **source: Any) -> dict[str, Any]:
    return {"metricsCollectorSpec": {"collector": {"kind": kind}, "source": source}}


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
    ("spec.algorithm.algorithmSettings", {"algorithm": {"algorithmName": "hyperband"}}),
    ("spec.algorithm.algorithmSettings", {"algorithm": {"algorithmName": "pbt"}}),
    ("spec.parallelTrialCount", {"parallelTrialCount": 5, "maxTrialCount": 4}),
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
    ("spec.metricsCollectorSpec.collector.kind", {"metricsCollectorSpec": {"collector": {"kind": "Pull"}}}),
    (
        "spec.metricsCollectorSpec.source.fileSystemPath.path",
        collected("File", fileSystemPath={"path": "metrics.log", "kind": "File"}),
    ),
    (
        "spec.metricsCollectorSpec.source.fileSystemPath.format",
        collected("File", fileSystemPath={"path": "/m.log", "kind": "File", "format": "XML"}),
    ),
    (
        "spec.metricsCollectorSpec.source.filter",
        collected(
            "File",
            fileSystemPath={"path": "/m.log", "kind": "File", "format": "JSON"},
            filter={"metricsFormat": ["(a)=(b)"]},
        ),
    ),
    (
        "spec.metricsCollectorSpec.source.fileSystemPath",
        collected("TensorFlowEvent", fileSystemPath={"path": "/logs", "kind": "File"}),
    ),
    ("spec.metricsCollectorSpec.source.httpGet.port", collected("PrometheusMetric", httpGet={"port": "metrics"})),
    ("spec.metricsCollectorSpec.source.httpGet.path", collected("PrometheusMetric", httpGet={"path": "metrics"})),
    ("spec.metricsCollectorSpec.collector.customCollector", collected("Custom")),
    ("spec.trialTemplate.successCondition", {"template": {"successCondition": "status.conditions.#(a"}}),
    (
        "spec.trialTemplate.configMap",
        {"template": {"trialSpec": None, "configMap": {"configMapName": "templates"}}},
    ),
    ("spec.trialTemplate", {"template": {"configMap": {"configMapName": "templates"}}}),
    ("spec.trialTemplate.trialParameters", {"template": {"trialParameters": []}}),
    (
        "spec.trialTemplate.trialParameters[0]",
        {"template": {"trialParameters": [{"name": "{x}", "reference": "x"}]}},
    ),
    (
        "spec.trialTemplate.trialSpec.metadata.name",
        {"template": {"trialSpec": {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "mine"}}}},
    ),
    ("spec.trialTemplate.trialSpec", {"template": {"trialSpec": {"kind": "Job"}}}),
    ("spec.nasConfig", {"parameters": [], "nasConfig": {"graphConfig": {"numLayers": 1}}}),
    ("spec", {"nasConfig": {"graphConfig": {"numLayers": 1}}}),
    ("spec.nasConfig", {"parameters": [], "algorithm": {"algorithmName": "enas"}}),
    (
        "spec.nasConfig.graphConfig.inputSizes",
        {
            "parameters": [],
            "algorithm": {"algorithmName": "enas"},
            "nasConfig": {"graphConfig": {"numLayers": 1, "outputSizes": [10]}},
        },
    ),
    (
        "spec.metricsCollectorSpec.source.filter.metricsFormat[0]",
        {"metricsCollectorSpec": {"source": {"filter": {"metricsFormat": ["loss=(.*)"]}}}},
    ),
    ("spec.earlyStopping.algorithmName", {"earlyStopping": {"algorithmName": "meanstop"}}),
    (
        "spec.earlyStopping.algorithmSettings[0].name",
        {"earlyStopping": {"algorithmName": "medianstop", "algorithmSettings": [{"name": "start", "value": "1"}]}},
    ),
    (
        "spec.earlyStopping.algorithmSettings[0].value",
        {"earlyStopping": {"algorithmName": "medianstop", "algorithmSettings": [{"name": "start_step", "value": "0"}]}},
    ),
    ("spec.earlyStopping", {"earlyStopping": {"algorithmName": "medianstop"}, **collected("Push")}),
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


def test_only_the_budget_can_be_changed():
    old, new = experiment("changed"), experiment("changed", maxTrialCount=9, parallelTrialCount=1)
    assert fields(new, old) == []
    assert fields(experiment("changed", algorithm={"algorithmName": "tpe"}), old) == ["spec.algorithm"]


@pytest.mark.parametrize(
    ("resume", "reason", "most", "field"),
    [
        ("Never", "ExperimentMaxTrialsReached", 9, "spec.resumePolicy"),
        ("LongRunning", "ExperimentGoalReached", 9, "spec.resumePolicy"),
        ("LongRunning", "ExperimentMaxTrialsReached", 4, "spec.maxTrialCount"),
        ("FromVolume", "ExperimentMaxTrialsReached", 9, None),
    ],
)
def test_a_finished_experiment_is_resumed_only_with_more_trials(resume, reason, most, field):
    old = experiment("ended", resumePolicy=resume)
    succeeded = {"type": "Succeeded", "status": "True", "reason": reason}
    old["status"] = {"conditions": [succeeded], "trials": 4}
    changed = experiment("ended", resumePolicy=resume, maxTrialCount=most, parallelTrialCount=1)
    assert fields(changed, old) == ([field] if field else [])


REFUSED = {
    "hp-tuning/simple-pbt.yaml": ["spec.maxFailedTrialCount"],  # 3 of 2 trials
    # Katib's own ConfigMap has had another template since
    "trial-template/trial-configmap-source.yaml": [
        "spec.trialTemplate.trialParameters[1].name",
        "spec.trialTemplate.trialParameters[2].name",
        "spec.trialTemplate.trialSpec",
    ],
    # its template uses $(trialParameters.lr), and nowhere ${trialParameters.learningRate}
    "tekton/pipeline-run.yaml": ["spec.trialTemplate.trialParameters[0].name"],
}


def official(contracts, path: str) -> dict[str, Any]:
    documents = yaml.safe_load_all((contracts / "katib" / path).read_text())
    found: dict[str, Any] = next(each for each in documents if each and each["kind"] == "Experiment")
    return found


def test_the_official_examples_are_accepted_or_refused_as_katib_does(contracts):
    """A template in a ConfigMap is looked up: Katib's own is installed."""
    documents = yaml.safe_load_all((contracts / "katib/config/trial-templates.yaml").read_text())
    templates = next(each for each in documents if each)
    told = {}
    paths = sorted((contracts / "katib/examples").rglob("*.yaml"))
    for path in paths:
        found = faults(
            defaulted(official(contracts, f"examples/{path.parent.name}/{path.name}")), None, lambda *_: templates
        )
        if found:
            told[f"{path.parent.name}/{path.name}"] = [field for field, _ in found]
    assert len(paths) >= 19
    assert told == REFUSED


def test_a_valid_experiment_is_accepted(contracts):
    assert faults(defaulted(official(contracts, "testdata/valid-experiment.yaml"))) == []


def test_a_template_in_a_config_map_must_be_there(contracts):
    obj = official(contracts, "examples/trial-template/trial-configmap-source.yaml")
    assert [field for field, _ in faults(defaulted(obj), None, lambda *_: None)] == ["spec.trialTemplate.configMap"]


def test_the_experiment_of_the_tutorial_is_accepted(contracts):
    assert faults(defaulted(official(contracts, "tutorial-experiment.yaml"))) == []


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("spec.backofLimit", {"backofLimit": 3}),
        ("spec.backoffLimit", {"backoffLimit": "three"}),
        ("spec.template.spec.containers[0].comand", {"template": {"spec": {"containers": [{"comand": ["true"]}]}}}),
        ("spec.activeDeadlineSeconds", {"activeDeadlineSeconds": -1}),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_template_that_is_no_job_of_this_cluster_is_refused_at_apply(tuning, field, change):
    obj = experiment("nojob")
    job = obj["spec"]["trialTemplate"]["trialSpec"]["spec"]
    if "template" in change:
        job["template"]["spec"]["containers"][0] |= change["template"]["spec"]["containers"][0]
    else:
        job |= change
    said = tuning.apply(obj, check=False)
    assert f"spec.trialTemplate.trialSpec.{field}" in said, said


def test_every_job_of_the_official_examples_is_one_of_this_host(contracts):
    store, refused = Store(), {}
    for path in sorted((contracts / "katib/examples").rglob("*.yaml")):
        obj = official(contracts, f"examples/{path.parent.name}/{path.name}")
        template = obj["spec"]["trialTemplate"].get("trialSpec")
        if found := [cause.field for cause in job_faults(store, template)]:
            refused[path.name] = found
    assert refused == {}
