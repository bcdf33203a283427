"""TrainJobs as the trials of an Experiment whose metrics are not in their log."""

from lifecycle.conftest import eventually
from tuning.experiments import Tuning, experiment, outcome

SCRIPT = """
import os
with open("/var/log/katib/metrics.log", "a") as log:
    log.write("loss=%s\\n" % ((${trialParameters.x}) ** 2))
print(os.environ["KATIB_TRIAL_NAME"], "loss=99")
"""


def test_a_train_job_writes_its_metrics_to_a_file(training_host):
    tuning = Tuning(training_host, eventually)
    obj = experiment(
        "filed",
        maxTrialCount=3,
        metricsCollectorSpec={"collector": {"kind": "File"}},
        template={
            "primaryContainerName": "node",
            "retain": True,
            "trialSpec": {
                "apiVersion": "trainer.kubeflow.org/v1alpha1",
                "kind": "TrainJob",
                "spec": {
                    "runtimeRef": {"name": "plain-python"},
                    "trainer": {"command": ["python", "-c", SCRIPT]},
                },
            },
        },
    )
    tuning.apply(obj)
    ended = tuning.ended("filed")
    assert ended["status"].get("trialsSucceeded") == 3, outcome(ended)
    for trial in tuning.trials("filed"):
        x = float(trial["spec"]["parameterAssignments"][0]["value"])
        assert float(trial["status"]["observation"]["metrics"][0]["latest"]) == x**2
