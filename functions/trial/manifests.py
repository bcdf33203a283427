"""The objects of an Experiment: its Suggestion, its Trials and what runs them.

Names follow from the Experiment's uid and the trial's number, so that creating one again finds it there.
"""

from __future__ import annotations

import hashlib
import math
import string

from zeroflow.resources.owners import owned_by
from zeroflow.tuning.spec import API_VERSION, EXPERIMENT_LABEL, SUGGESTION, TRIAL, TRIAL_LABEL, Object
from zeroflow.tuning.template import rendered

ALTERNATIVE_RULES = ("median", "asha")
ALTERNATIVES = "zeroflow.dev/early-stopping-alternatives"
"""Annotation of a Trial whose early stopping rules end it one by one; in Katib all of them must come true."""
CHECKPOINT_DIRECTORY = "zeroflow.dev/checkpoint-directory"
"""Annotation of a Trial: where its checkpoint lies."""
SAMPLER = "zeroflow.dev/sampler"
"""Annotation of a Trial, and of its assignment: what the algorithm goes on from."""
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


def trial(experiment: Object, assignment: Object, remaining_s: float | None = None) -> Object:
    """Return the Trial of one assignment; `remaining_s` is how long it may run at most."""
    spec, template = experiment["spec"], experiment["spec"]["trialTemplate"]
    name, namespace = assignment["name"], experiment["metadata"]["namespace"]
    assigned = {each["name"]: each["value"] for each in assignment["parameterAssignments"]}
    fields = {
        "objective": spec["objective"],
        "parameterAssignments": assignment["parameterAssignments"],
        "earlyStoppingRules": assignment.get("earlyStoppingRules"),
        "metricsCollector": spec["metricsCollectorSpec"],
        "primaryContainerName": template.get("primaryContainerName"),
        "primaryPodLabels": template.get("primaryPodLabels"),
        "successCondition": template.get("successCondition"),
        "failureCondition": template.get("failureCondition"),
        "retainRun": True if template.get("retain") else None,
        "labels": assignment.get("labels"),
        "runSpec": _limited(rendered(template, template["trialSpec"], name, namespace, assigned), remaining_s),
    }
    made = _metadata(experiment, name)
    made["labels"] |= assignment.get("labels") or {}
    if annotations := {**_annotations(spec), **(assignment.get("annotations") or {})}:
        made["annotations"] = annotations
    return {
        "apiVersion": API_VERSION,
        "kind": TRIAL,
        "metadata": made,
        "spec": {field: value for field, value in fields.items() if value is not None},
    }


def assignment_of(trial: Object) -> Object:
    """Return the assignment that a Trial was made of."""
    spec, annotations = trial["spec"], trial["metadata"].get("annotations") or {}
    kept = {name: spec[name] for name in ("parameterAssignments", "labels", "earlyStoppingRules") if name in spec}
    if SAMPLER in annotations:
        kept["annotations"] = {SAMPLER: annotations[SAMPLER]}
    return {"name": trial["metadata"]["name"], **kept}


def remembered(trial: Object) -> Object:
    """Return what is asked of a Trial that has ended."""
    metadata = trial["metadata"]
    return {
        "metadata": {"name": metadata["name"], "uid": metadata["uid"]},
        "spec": {"parameterAssignments": trial["spec"]["parameterAssignments"]},
        "status": trial["status"],
    }


def _annotations(spec: Object) -> dict[str, str]:
    annotations = {}
    if (spec.get("earlyStopping") or {}).get("algorithmName") in ALTERNATIVE_RULES:
        annotations[ALTERNATIVES] = "true"
    if spec["algorithm"]["algorithmName"] == "pbt":
        settings = {each["name"]: str(each["value"]) for each in spec["algorithm"]["algorithmSettings"]}
        annotations[CHECKPOINT_DIRECTORY] = settings["suggestion_trial_dir"]
    return annotations


def _limited(run: Object, remaining_s: float | None) -> Object:
    """Have a Job end when its Experiment may run no longer."""
    if remaining_s is None or run.get("kind") != "Job":
        return run
    limit = max(1, math.ceil(remaining_s))
    own = run["spec"].get("activeDeadlineSeconds")
    return {**run, "spec": {**run["spec"], "activeDeadlineSeconds": min(limit, own) if own else limit}}


def run_of(trial: Object) -> Object:
    """Return the object that runs a Trial, as its template says, under the Trial's name and owned by it."""
    run = trial["spec"]["runSpec"]
    marks = {EXPERIMENT_LABEL: trial["metadata"]["labels"][EXPERIMENT_LABEL], TRIAL_LABEL: trial["metadata"]["name"]}
    metadata = run["metadata"]
    labels = {**(metadata.get("labels") or {}), **marks}
    return {**run, "metadata": {**metadata, "labels": labels, "ownerReferences": owned_by(trial)}}


def _metadata(experiment: Object, name: str) -> Object:
    return {
        "name": name,
        "namespace": experiment["metadata"]["namespace"],
        "labels": {EXPERIMENT_LABEL: experiment["metadata"]["name"]},
        "ownerReferences": owned_by(experiment),
    }
