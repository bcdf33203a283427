"""Who hears of the objects that run trials, and who clears them away.

Jobs are always watched (knative/manifests/eventing/tuning.yaml). For another kind a source and a trigger of its own are
declared when the first Experiment needs them, so that its changes wake the trial function in the same way.
Source: Knative Eventing ApiServerSource and Trigger.
"""

from __future__ import annotations

import hashlib
import os

from zeroflow.errors import NotFound
from zeroflow.functions.trial.workload import JOB, JOB_API_VERSION
from zeroflow.resources.client import Resources
from zeroflow.tuning.spec import EXPERIMENT_LABEL, Object

PLATFORM = "ZEROFLOW_NAMESPACE"
SOURCE_API, TRIGGER_API, SERVING_API = "sources.knative.dev/v1", "eventing.knative.dev/v1", "serving.knative.dev/v1"


def watch(resources: Resources, run: Object) -> None:
    """Have the changes of this kind's objects that belong to Experiments wake the trial function."""
    api_version, kind = str(run.get("apiVersion")), str(run.get("kind"))
    if (api_version, kind) == (JOB_API_VERSION, JOB):
        return
    namespace = os.environ.get(PLATFORM, "zeroflow")
    name = f"trials-{kind.lower()}-{hashlib.sha256(api_version.encode()).hexdigest()[:8]}"
    if resources.find(TRIGGER_API, "Trigger", namespace, name) is not None:
        return
    resources.apply(_source(name, namespace, api_version, kind))
    resources.apply(_trigger(name, namespace, kind))


def clean(resources: Resources, experiment: Object) -> None:
    """Delete what a crash has left of the objects that ran the trials of an Experiment that has ended."""
    template = experiment["spec"]["trialTemplate"]
    if template.get("retain"):
        return
    run, metadata = template["trialSpec"], experiment["metadata"]
    try:
        left = resources.list(
            run["apiVersion"], run["kind"], metadata["namespace"], {EXPERIMENT_LABEL: metadata["name"]}
        )
    except NotFound:
        return
    for each in left:
        if not each["metadata"].get("deletionTimestamp"):
            resources.delete(run["apiVersion"], run["kind"], metadata["namespace"], each["metadata"]["name"])


def _source(name: str, namespace: str, api_version: str, kind: str) -> Object:
    return {
        "apiVersion": SOURCE_API,
        "kind": "ApiServerSource",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "serviceAccountName": "events",
            "mode": "Resource",
            "resources": [
                {
                    "apiVersion": api_version,
                    "kind": kind,
                    "selector": {"matchExpressions": [{"key": EXPERIMENT_LABEL, "operator": "Exists"}]},
                }
            ],
            "namespaceSelector": {},
            "sink": {"ref": {"apiVersion": TRIGGER_API, "kind": "Broker", "name": "default"}},
        },
    }


def _trigger(name: str, namespace: str, kind: str) -> Object:
    filters = [{"prefix": {"type": "dev.knative.apiserver.resource."}}, {"exact": {"kind": kind}}]
    return {
        "apiVersion": TRIGGER_API,
        "kind": "Trigger",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "broker": "default",
            "filters": filters,
            "subscriber": {"ref": {"apiVersion": SERVING_API, "kind": "Service", "name": "trial"}},
        },
    }
