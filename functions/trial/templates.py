"""A trial template with its object, wherever that is written: in the Experiment, or in a ConfigMap.

Source: Katib v1beta1 trial template (configMap: configMapName, configMapNamespace, templatePath).
"""

from __future__ import annotations

import yaml

from zeroflow import safe_yaml
from zeroflow.errors import Forbidden, NotFound, ZeroflowError
from zeroflow.resources.client import Resources
from zeroflow.tuning.defaults import default_template
from zeroflow.tuning.spec import Object


class TemplateMissing(ZeroflowError):
    """The ConfigMap that a trial template names is not there, or has no object under that path."""

    reason = "InvalidInput"


def template_of(experiment: Object, resources: Resources) -> Object:
    """Return the trialTemplate with its trialSpec; raise TemplateMissing."""
    template: Object = experiment["spec"].get("trialTemplate") or {}
    source = template.get("configMap")
    if not isinstance(source, dict) or template.get("trialSpec"):
        return template
    name, namespace = str(source.get("configMapName") or ""), str(source.get("configMapNamespace") or "")
    path = str(source.get("templatePath") or "")
    try:
        found = resources.find("v1", "ConfigMap", namespace, name)
    except (NotFound, Forbidden) as error:
        raise TemplateMissing(str(error)) from error
    if found is None:
        raise TemplateMissing(f"there is no ConfigMap {namespace}/{name}")
    return default_template({**template, "trialSpec": parsed(found, path)})


def parsed(config_map: Object, path: str) -> Object:
    """Return the object that a ConfigMap has under a path; raise TemplateMissing."""
    metadata, data = config_map["metadata"], config_map.get("data") or {}
    where = f"ConfigMap {metadata['namespace']}/{metadata['name']}"
    if path not in data:
        raise TemplateMissing(f"{where} has no {path!r}; it has: {', '.join(sorted(data)) or 'nothing'}")
    try:
        found = safe_yaml.load(data[path])
    except yaml.YAMLError as error:
        raise TemplateMissing(f"{path!r} of {where} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise TemplateMissing(f"{path!r} of {where} is not an object")
    return found
