"""What is wrong with a trial template.

Source: Katib v1beta1 experiment validation (trialTemplate, trialParameters, trialSpec, configMap).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from zeroflow import safe_yaml
from zeroflow.tuning.gjson import is_path
from zeroflow.tuning.services import FindConfigMap
from zeroflow.tuning.spec import Object
from zeroflow.tuning.template import METADATA, placeholders

Fault = tuple[str, str]
WHERE = "spec.trialTemplate"


def template_faults(
    template: Any, references: Sequence[Any], config_map: FindConfigMap | None = None
) -> Iterator[Fault]:
    """Yield every fault of a template whose parameters may refer to these names."""
    if not isinstance(template, dict):
        yield WHERE, "Required value: must be specified: what a trial runs"
        return
    if not template.get("primaryContainerName"):
        yield f"{WHERE}.primaryContainerName", "Required value: the container whose output holds the metrics"
    trial_spec, source = template.get("trialSpec"), template.get("configMap")
    if not isinstance(template.get("trialParameters"), list) or not template["trialParameters"]:
        yield f"{WHERE}.trialParameters", "Required value: must be specified: which parameters the trialSpec uses"
        return
    if trial_spec and source:
        yield WHERE, "Required value: only one of spec.trialTemplate.trialSpec or spec.trialTemplate.configMap"
        return
    if source:
        found, fault = _from_config_map(source, config_map)
        if fault is not None:
            yield fault
        trial_spec = found
        if found is None:  # it is looked at when the Experiment starts
            yield from _conditions(template)
            return
    if not isinstance(trial_spec, dict):
        yield f"{WHERE}.trialSpec", "Required value: spec.trialTemplate.trialSpec or spec.trialTemplate.configMap"
        return
    yield from _trial_spec(trial_spec, template)
    yield from _trial_parameters(template["trialParameters"], trial_spec, set(references))


def _from_config_map(source: Any, find: FindConfigMap | None) -> tuple[Object | None, Fault | None]:
    where = f"{WHERE}.configMap"
    names = ("configMapName", "configMapNamespace", "templatePath")
    if not isinstance(source, dict) or not all(source.get(name) for name in names):
        return None, (where, f"Required value: {', '.join(names)} must be specified")
    if find is None:
        return None, None
    named = f"{source['configMapNamespace']}/{source['configMapName']}"
    found = find(str(source["configMapNamespace"]), str(source["configMapName"]))
    if found is None:
        return None, (where, f"Invalid value: there is no ConfigMap {named}")
    text = (found.get("data") or {}).get(source["templatePath"])
    try:
        template = safe_yaml.load(text) if isinstance(text, str) else None
    except yaml.YAMLError as error:
        return None, (where, f"Invalid value: {source['templatePath']} is not YAML: {' '.join(str(error).split())}")
    if not isinstance(template, dict):
        return None, (where, f"Invalid value: ConfigMap {named} has no object under {source['templatePath']!r}")
    return template, None


def _trial_spec(trial_spec: Object, template: Object) -> Iterator[Fault]:
    where = f"{WHERE}.trialSpec"
    metadata = trial_spec.get("metadata") or {}
    for field in ("name", "namespace"):
        if metadata.get(field):
            yield f"{where}.metadata.{field}", "Forbidden: must be omitted; a trial gets its own"
    kind, version = trial_spec.get("kind"), trial_spec.get("apiVersion")
    if not kind or not version:
        yield where, "Required value: APIVersion and Kind in spec.trialTemplate must be specified"
        return
    if (kind, version) == ("Job", "batch/v1"):
        yield from _job(trial_spec, template)
    yield from _conditions(template)


def _conditions(template: Object) -> Iterator[Fault]:
    for field in ("successCondition", "failureCondition"):
        condition = template.get(field)
        if not condition and not template.get("configMap"):
            yield f"{WHERE}.{field}", "Required value: successCondition and failureCondition must be specified"
        elif condition and (not isinstance(condition, str) or not is_path(condition)):
            yield f"{WHERE}.{field}", f"Invalid value: {condition!r}: not a GJSON path"


def _job(trial_spec: Object, template: Object) -> Iterator[Fault]:
    where = f"{WHERE}.trialSpec.spec"
    spec = trial_spec.get("spec")
    if not isinstance(spec, dict) or not isinstance(spec.get("template"), dict):
        yield f"{where}.template", "Required value: the Pod of the Job"
        return
    pod = spec["template"].get("spec")
    containers = pod.get("containers") if isinstance(pod, dict) else None
    if not isinstance(containers, list) or not all(isinstance(each, dict) for each in containers) or not containers:
        yield f"{where}.template.spec.containers", "Required value"
        return
    for index, container in enumerate(containers):
        for field in ("command", "args"):
            words = container.get(field)
            if words is not None and not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
                yield (
                    f"{where}.template.spec.containers[{index}].{field}",
                    "Invalid value: unable to convert to Job: must be a list of strings",
                )
    names, primary = [str(each.get("name")) for each in containers], template.get("primaryContainerName")
    if primary and primary not in names:
        yield f"{WHERE}.primaryContainerName", f'Invalid value: "{primary}": the trialSpec has: {", ".join(names)}'
    if isinstance(pod, dict) and pod.get("restartPolicy") not in ("Never", "OnFailure"):
        yield f"{where}.template.spec.restartPolicy", 'Required value: valid values: "OnFailure", "Never"'


def _trial_parameters(given: list[Any], trial_spec: Object, names: set[Any]) -> Iterator[Fault]:
    where = f"{WHERE}.trialParameters"
    used, seen, referred = placeholders(trial_spec), set(), set()
    for index, each in enumerate(given):
        name = each.get("name") if isinstance(each, dict) else None
        reference = each.get("reference") if isinstance(each, dict) else None
        if not name or not reference or set("{}") & set(str(name)):
            yield (
                f"{where}[{index}]",
                "Invalid value: name and reference must be specified and name must not contain '{' or '}'",
            )
            continue
        if name in seen:
            yield f"{where}[{index}].name", f'Duplicate value: "{name}": parameter name can\'t be duplicated'
            continue
        if reference in referred:
            yield (
                f"{where}[{index}].reference",
                f'Duplicate value: "{reference}": parameter reference can\'t be duplicated',
            )
            continue
        seen.add(name)
        referred.add(reference)
        if reference not in names and METADATA.fullmatch(str(reference)) is None:
            yield (
                f"{where}[{index}].reference",
                f'Invalid value: "{reference}": parameter reference does not exist in spec.parameters',
            )
        if name not in used:
            yield (
                f"{where}[{index}].name",
                f'Invalid value: "{name}": not found in spec.trialTemplate: ${{trialParameters.{name}}} is not used',
            )
    for name in sorted(used - seen):
        yield f"{WHERE}.trialSpec", f"Invalid value: uses ${{trialParameters.{name}}}, which trialParameters lacks"
