"""What is wrong with a trial template.

Source: Katib v1beta1 experiment validation (trialTemplate, trialParameters, trialSpec).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zeroflow.tuning.defaults import CONDITIONS
from zeroflow.tuning.spec import Object
from zeroflow.tuning.template import METADATA, placeholders

Fault = tuple[str, str]
WHERE = "spec.trialTemplate"


def template_faults(template: Any, parameters: list[Any]) -> Iterator[Fault]:
    """Yield every fault of a template for these parameters of the search space."""
    if not isinstance(template, dict):
        yield WHERE, "Required value: what a trial runs"
        return
    if template.get("configMap"):
        yield f"{WHERE}.configMap", "Forbidden: Zeroflow takes the template in trialSpec"
        return
    trial_spec = template.get("trialSpec")
    if not isinstance(trial_spec, dict):
        yield f"{WHERE}.trialSpec", "Required value: the object that runs a trial"
        return
    yield from _trial_spec(trial_spec, template)
    names = {each.get("name") for each in parameters if isinstance(each, dict)}
    yield from _trial_parameters(template, trial_spec, names)


def _trial_spec(trial_spec: Object, template: Object) -> Iterator[Fault]:
    where = f"{WHERE}.trialSpec"
    metadata = trial_spec.get("metadata") or {}
    for field in ("name", "namespace"):
        if metadata.get(field):
            yield f"{where}.metadata.{field}", "Forbidden: a trial gets its own"
    kind, version = trial_spec.get("kind"), trial_spec.get("apiVersion")
    if kind not in CONDITIONS or version != "batch/v1":
        yield (
            f"{where}.kind",
            f'Unsupported value: "{version or ""} {kind or ""}": Zeroflow runs trials of batch/v1 Job',
        )
        return
    for field, condition in zip(("successCondition", "failureCondition"), CONDITIONS[kind], strict=True):
        if template.get(field) != f'status.conditions.#(type=="{condition}")#|#(status=="True")#':
            yield f"{WHERE}.{field}", f"Forbidden: of a Job it is the condition {condition}; leave the field out"
    pod = ((trial_spec.get("spec") or {}).get("template") or {}).get("spec") or {}
    containers = [each.get("name") for each in pod.get("containers") or () if isinstance(each, dict)]
    if not containers:
        yield f"{where}.spec.template.spec.containers", "Required value"
    primary = template.get("primaryContainerName")
    if not primary:
        yield f"{WHERE}.primaryContainerName", "Required value: the container whose output holds the metrics"
    elif containers and primary not in containers:
        yield (
            f"{WHERE}.primaryContainerName",
            f'Invalid value: "{primary}": the trialSpec has: {", ".join(map(str, containers))}',
        )
    if pod.get("restartPolicy") not in ("Never", "OnFailure"):
        yield f"{where}.spec.template.spec.restartPolicy", 'Required value: valid values: "OnFailure", "Never"'


def _trial_parameters(template: Object, trial_spec: Object, names: set[Any]) -> Iterator[Fault]:
    where = f"{WHERE}.trialParameters"
    given = template.get("trialParameters")
    if not isinstance(given, list) or not given:
        yield where, "Required value: which parameters the trialSpec uses"
        return
    used, seen, referred = placeholders(trial_spec), set(), set()
    for index, each in enumerate(given):
        name = each.get("name") if isinstance(each, dict) else None
        reference = each.get("reference") if isinstance(each, dict) else None
        if not name or not reference:
            yield f"{where}[{index}]", "Required value: name and reference"
            continue
        if name in seen:
            yield f"{where}[{index}].name", f'Duplicate value: "{name}"'
        if reference in referred:
            yield f"{where}[{index}].reference", f'Duplicate value: "{reference}"'
        seen.add(name)
        referred.add(reference)
        if reference not in names and METADATA.fullmatch(str(reference)) is None:
            yield f"{where}[{index}].reference", f'Invalid value: "{reference}": spec.parameters has no such name'
        if name not in used:
            yield (
                f"{where}[{index}].name",
                f'Invalid value: "{name}": the trialSpec does not use ${{trialParameters.{name}}}',
            )
    for name in sorted(used - seen):
        yield f"{WHERE}.trialSpec", f"Invalid value: uses ${{trialParameters.{name}}}, which trialParameters lacks"
