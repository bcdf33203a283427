"""Puts a trial's marks and its collector into the object that runs it.

Every Pod template gets the labels by which clients find a trial's pods, and the primary container, or a TrainJob's
trainer, the trial's name in KATIB_TRIAL_NAME. Where the metrics are not in the log, or a trial may be ended early, the
collector is started in front of its command; a file or directory that it reads lies on a volume of the pod.

On a cluster this needs an image in which this function's Python and package lie at the same place; a trial whose
metrics are in its log needs nothing. Source: Katib v1beta1 pod mutation (KATIB_TRIAL_NAME, metrics volume).
"""

from __future__ import annotations

import json
import posixpath
import sys
from collections.abc import Iterator
from pathlib import Path

import zeroflow
from zeroflow.functions.trial import checkpoints
from zeroflow.functions.trial.manifests import ALTERNATIVES
from zeroflow.tuning.collectors import METRICS_DIRECTORY, Collector, parse_collector
from zeroflow.tuning.spec import EXPERIMENT_LABEL, TRIAL_LABEL, Object, Objective, parse_objective

VOLUME = "metrics-volume"
TRAIN_JOB, NODE = "TrainJob", "node"
ROOT = Path(zeroflow.__file__).parents[1]
BOOT = (
    f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
    "from zeroflow.functions.trial.collector.main import main; sys.exit(main())"
)


def injected(trial: Object, run: Object, manager: str | None) -> Object:
    """Return the object that runs a trial, marked and with its collector.

    `manager` is where metrics can be pushed to, as host:port.
    """
    labels = {EXPERIMENT_LABEL: trial["metadata"]["labels"][EXPERIMENT_LABEL], TRIAL_LABEL: trial["metadata"]["name"]}
    run = json.loads(json.dumps(run))
    for template in _pod_templates(run):
        metadata = template.get("metadata") or {}
        template["metadata"] = {**metadata, "labels": {**(metadata.get("labels") or {}), **labels}}
    name = trial["spec"].get("primaryContainerName")
    config = configuration(trial, manager)
    for pod, container in _containers(run):
        if container.get("name") == name:
            _name_trial(container, trial["metadata"]["name"])
            copied = checkpoints.mount(trial, pod, container)
            if (config is not None or copied) and container.get("command"):
                collector = parse_collector(trial["spec"]["metricsCollector"])
                _wrap(container, {**(config or _plain(trial)), **copied}, collector)
                _mount(pod, container, collector)
    if run.get("kind") == TRAIN_JOB and name == NODE:
        _inject_trainer(trial, run, config)
    return run


def _inject_trainer(trial: Object, train_job: Object, config: Object | None) -> None:
    """Put the collector into a TrainJob's nodes, which have no Pod template of their own."""
    trainer = train_job["spec"].setdefault("trainer", {})
    _name_trial(trainer, trial["metadata"]["name"])
    if config is not None and trainer.get("command"):
        collector = parse_collector(trial["spec"]["metricsCollector"])
        _wrap(trainer, config, collector)
        if folder := _folder(collector):
            metadata = train_job["metadata"]
            metadata["annotations"] = {**(metadata.get("annotations") or {}), METRICS_DIRECTORY: folder}


def configuration(trial: Object, manager: str | None) -> Object | None:
    """Return what the collector is told, None when the trial needs none."""
    collector = parse_collector(trial["spec"]["metricsCollector"])
    objective = parse_objective(trial["spec"]["objective"])
    rules = trial["spec"].get("earlyStoppingRules") or []
    if collector.kind == "StdOut" and not rules:
        return None
    config = _plain(trial)
    if rules:
        config |= _rules(trial, objective, rules)
    if collector.filters:
        config["filters"] = list(collector.filters)
    if collector.kind == "File":
        config["format"] = collector.format
    if collector.kind == "PrometheusMetric":
        config |= {"port": collector.port, "httpPath": collector.http_path}
    if collector.kind == "Custom":
        config["command"] = list(collector.command)
    if collector.kind in ("Push", "None", "Custom") and manager:
        config["push"] = {"namespace": trial["metadata"]["namespace"], "address": manager}
    return config


def _plain(trial: Object) -> Object:
    kind = parse_collector(trial["spec"]["metricsCollector"]).kind
    return {"kind": kind, "metrics": list(parse_objective(trial["spec"]["objective"]).metrics)}


def _rules(trial: Object, objective: Objective, rules: list[Object]) -> Object:
    alternatives = (trial["metadata"].get("annotations") or {}).get(ALTERNATIVES) == "true"
    return {"maximize": objective.maximize, "rules": rules, "needAll": not alternatives}


def _wrap(container: Object, config: Object, collector: Collector) -> None:
    """Start the collector in front of a command; an image's own is not known here, but its log is read all the same."""
    command = [*container["command"], *(container.get("args") or [])]
    container["command"] = [sys.executable, "-SEc", BOOT]
    container["args"] = [json.dumps(config), collector.path or "-", "--", *command]


def _folder(collector: Collector) -> str:
    """Return the directory that a collector reads; empty where it reads none, or the root."""
    return (collector.path if collector.kind == "TensorFlowEvent" else posixpath.dirname(collector.path)).rstrip("/")


def _mount(pod: Object, container: Object, collector: Collector) -> None:
    folder = _folder(collector)
    if folder and not _is_mounted(container, folder):
        container["volumeMounts"] = [*(container.get("volumeMounts") or []), {"name": VOLUME, "mountPath": folder}]
        pod["volumes"] = [*(pod.get("volumes") or []), {"name": VOLUME, "emptyDir": {}}]


def _is_mounted(container: Object, folder: str) -> bool:
    mounts = [str(each.get("mountPath", "")).rstrip("/") for each in container.get("volumeMounts") or ()]
    return any(folder == mount or folder.startswith(f"{mount}/") for mount in mounts)


def _name_trial(container: Object, name: str) -> None:
    env = container.get("env") or []
    if not any(each.get("name") == "KATIB_TRIAL_NAME" for each in env):
        container["env"] = [*env, {"name": "KATIB_TRIAL_NAME", "value": name}]


def _pod_templates(tree: object) -> Iterator[Object]:
    """Yield every Pod template of an object: what has a spec with containers."""
    if isinstance(tree, dict):
        spec = tree.get("spec")
        if isinstance(spec, dict) and isinstance(spec.get("containers"), list):
            yield tree
        for value in tree.values():
            yield from _pod_templates(value)
    elif isinstance(tree, list):
        for item in tree:
            yield from _pod_templates(item)


def _containers(tree: object) -> Iterator[tuple[Object, Object]]:
    """Yield every container of an object with the Pod spec that it is in."""
    for template in _pod_templates(tree):
        for container in template["spec"]["containers"]:
            if isinstance(container, dict):
                yield template["spec"], container
