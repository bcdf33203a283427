"""A trial template: its placeholders, and the object that one assignment makes of it.

Values are put into the strings of the template's tree, never into its text: a value cannot add fields or end a
string, and a placeholder inside a value stays as it is.
Source: Katib v1beta1 trial template (`${trialParameters.NAME}`, `${trialSpec.Name}` and its fellows).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from zeroflow.tuning.spec import Object

PARAMETER = re.compile(r"\$\{trialParameters\.([^}]+)\}")
METADATA = re.compile(r"\$\{trialSpec\.(Name|Namespace|Kind|APIVersion|(Annotations|Labels)\[([^\]]+)\])\}")


def strings(tree: Any) -> Iterator[str]:
    """Yield every string of a tree, keys included."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield str(key)
            yield from strings(value)
    elif isinstance(tree, list):
        for item in tree:
            yield from strings(item)


def placeholders(tree: Any) -> set[str]:
    """Return the names of trial parameters that a template uses."""
    return {match[1] for text in strings(tree) for match in PARAMETER.finditer(text)}


def metadata_value(reference: str, name: str, namespace: str, trial_spec: Object) -> str | None:
    """Return what `${trialSpec...}` stands for in a trial of this name; None for anything else."""
    match = METADATA.fullmatch(reference)
    if match is None:
        return None
    if match[2]:
        fields = (trial_spec.get("metadata") or {}).get(match[2].lower()) or {}
        return str(fields[match[3]]) if match[3] in fields else None
    known = {
        "Name": name,
        "Namespace": namespace,
        "Kind": trial_spec.get("kind"),
        "APIVersion": trial_spec.get("apiVersion"),
    }
    return str(known[match[1]])


def rendered(template: Object, trial_spec: Object, name: str, namespace: str, assigned: Mapping[str, str]) -> Object:
    """Return the object of one trial: every placeholder replaced, name and namespace set."""
    values: dict[str, str] = {}
    for parameter in template.get("trialParameters") or ():
        reference = str(parameter["reference"])
        value = metadata_value(reference, name, namespace, trial_spec)
        values[parameter["name"]] = assigned[reference] if value is None else value
    made: Object = _mapped(trial_spec, lambda text: PARAMETER.sub(lambda found: values.get(found[1], found[0]), text))
    made["metadata"] = {**(made.get("metadata") or {}), "name": name, "namespace": namespace}
    return made


def _mapped(tree: Any, change: Callable[[str], str]) -> Any:
    if isinstance(tree, str):
        return change(tree)
    if isinstance(tree, dict):
        return {change(str(key)): _mapped(value, change) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_mapped(item, change) for item in tree]
    return tree
