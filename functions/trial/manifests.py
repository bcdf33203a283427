"""The objects of an Experiment: its Suggestion, its Trials and their Jobs.

Names follow from the Experiment's uid and the trial's number, so that creating one again finds it there.
"""

from __future__ import annotations

import hashlib
import string

from zeroflow.resources.owners import owned_by
from zeroflow.tuning.spec import API_VERSION, EXPERIMENT_LABEL, SUGGESTION, TRIAL, TRIAL_LABEL, Object
from zeroflow.tuning.template import rendered

JOB_API_VERSION, JOB = "batch/v1", "Job"
ALPHABET = string.ascii_lowercase + string.digits


def trial_name(experiment: Object, number: int) -> str:
    """Return the name of a trial: the Experiment's, and eight letters or digits that begin with a letter."""
    digest = hashlib.sha256(f"{experiment['metadata']['uid']}/{number}".encode()).digest()
    letters = ALPHABET[digest[0] % 26] + "".join(ALPHABET[byte % len(ALPHABET)] for byte in digest[1:8])
    return f"{experiment['metadata']['name']}-{letters}"


def suggestion(experiment: Object, requests: int) -> Object:
    """Return the Suggestion: how many assignments the Experiment has asked for; they follow in its status."""
    spec = experiment["spec"]
    return {
        "apiVersion": API_VERSION,
        "kind": SUGGESTION,
        "metadata": _metadata(experiment, experiment["metadata"]["name"]),
        "spec": {"algorithm": spec["algorithm"], "requests": requests, "resumePolicy": spec["resumePolicy"]},
    }


def trial(experiment: Object, assignment: Object) -> Object:
    """Return the Trial of one assignment."""
    spec, template = experiment["spec"], experiment["spec"]["trialTemplate"]
    name, namespace = assignment["name"], experiment["metadata"]["namespace"]
    assigned = {each["name"]: each["value"] for each in assignment["parameterAssignments"]}
    fields = {
        "objective": spec["objective"],
        "parameterAssignments": assignment["parameterAssignments"],
        "metricsCollector": spec["metricsCollectorSpec"],
        "primaryContainerName": template.get("primaryContainerName"),
        "primaryPodLabels": template.get("primaryPodLabels"),
        "successCondition": template.get("successCondition"),
        "failureCondition": template.get("failureCondition"),
        "retainRun": True if template.get("retain") else None,
        "labels": assignment.get("labels"),
        "runSpec": rendered(template, template["trialSpec"], name, namespace, assigned),
    }
    made = _metadata(experiment, name)
    made["labels"] |= assignment.get("labels") or {}
    return {
        "apiVersion": API_VERSION,
        "kind": TRIAL,
        "metadata": made,
        "spec": {field: value for field, value in fields.items() if value is not None},
    }


def job(trial: Object) -> Object:
    """Return the Job of a Trial; its pods carry the labels by which clients find a trial's log."""
    run = trial["spec"]["runSpec"]
    marks = {EXPERIMENT_LABEL: trial["metadata"]["labels"][EXPERIMENT_LABEL], TRIAL_LABEL: trial["metadata"]["name"]}
    metadata, template = run["metadata"], run["spec"]["template"]
    pod = template.get("metadata") or {}
    return {
        **run,
        "metadata": {
            **metadata,
            "labels": {**(metadata.get("labels") or {}), **marks},
            "ownerReferences": owned_by(trial),
        },
        "spec": {
            **run["spec"],
            "template": {**template, "metadata": {**pod, "labels": {**(pod.get("labels") or {}), **marks}}},
        },
    }


def _metadata(experiment: Object, name: str) -> Object:
    return {
        "name": name,
        "namespace": experiment["metadata"]["namespace"],
        "labels": {EXPERIMENT_LABEL: experiment["metadata"]["name"]},
        "ownerReferences": owned_by(experiment),
    }
