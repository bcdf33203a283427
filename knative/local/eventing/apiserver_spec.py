"""An ApiServerSource's spec, and which objects it is about.

Source: Knative ApiServerSource (sources/v1): mode, resources with selectors, owner, namespaceSelector.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zeroflow.knative.local.api.objects import Object
from zeroflow.knative.local.eventing import destinations, label_selector, overrides
from zeroflow.knative.local.eventing.errors import InvalidSpec

MODES = ("Reference", "Resource")


def check_apiserver_source(new: Object, old: Object | None) -> Object:
    """Default and check an ApiServerSource."""
    spec = new["spec"] = new.get("spec") or {}
    spec["mode"] = spec.get("mode") or "Reference"
    spec["serviceAccountName"] = spec.get("serviceAccountName") or "default"
    if spec["mode"] not in MODES:
        raise InvalidSpec("spec.mode", f"must be Reference or Resource, not {spec['mode']!r}")
    resources = spec.get("resources")
    if not isinstance(resources, list) or not resources:
        raise InvalidSpec("spec.resources", "missing: at least one apiVersion and kind")
    for index, resource in enumerate(resources):
        path = f"spec.resources[{index}]"
        if not isinstance(resource, dict):
            raise InvalidSpec(path, "must be an object with apiVersion and kind")
        for field in ("apiVersion", "kind"):
            if not isinstance(resource.get(field), str) or not resource[field]:
                raise InvalidSpec(f"{path}.{field}", "missing")
        if resource["apiVersion"].count("/") > 1:
            raise InvalidSpec(
                f"{path}.apiVersion", f"must be <version> or <group>/<version>, not {resource['apiVersion']!r}"
            )
        label_selector.check(resource.get("selector"), f"{path}.selector")
    owner = spec.get("owner")
    if owner is not None and not (isinstance(owner, dict) and owner.get("apiVersion") and owner.get("kind")):
        raise InvalidSpec("spec.owner", "must have apiVersion and kind")
    if spec.get("filters"):
        raise InvalidSpec("spec.filters", "must not be set: new-apiserversource-filters is disabled")
    label_selector.check(spec.get("namespaceSelector"), "spec.namespaceSelector")
    destinations.validate(spec.get("sink"), "spec.sink")
    spec["sink"] = destinations.with_namespace(spec["sink"], new["metadata"].get("namespace", ""))
    overrides.extensions(spec)
    return new


def kind_key(resource: Mapping[str, Any]) -> str:
    """Return the key under which the store knows a resource's kind."""
    group = str(resource["apiVersion"]).rpartition("/")[0]
    return f"{resource['kind']}.{group}" if group else str(resource["kind"])


def concerns(spec: Mapping[str, Any], obj: Object, kind: str) -> bool:
    """Tell whether an object is selected by kind, labels and owner; namespaces are judged elsewhere."""
    labels = obj["metadata"].get("labels") or {}
    selected = any(
        kind_key(resource) == kind and label_selector.matches(resource.get("selector"), labels)
        for resource in spec["resources"]
    )
    owner = spec.get("owner")
    return selected and (owner is None or _owned(obj, owner))


def controller_of(obj: Object) -> Mapping[str, Any] | None:
    """Return the owner reference that is marked as the controller."""
    references = obj["metadata"].get("ownerReferences") or ()
    return next((reference for reference in references if reference.get("controller")), None)


def _owned(obj: Object, owner: Mapping[str, Any]) -> bool:
    controller = controller_of(obj)
    return controller is not None and all(controller.get(field) == owner[field] for field in ("apiVersion", "kind"))
