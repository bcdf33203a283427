"""What happens to each kind of serving.knative.dev before it is stored: defaults, then all faults at once.

Source: knative.dev/serving pkg/apis/serving/v1, DomainMapping of v1beta1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.serving import labels
from zeroflow.knative.local.serving.admission import metadata
from zeroflow.knative.local.serving.admission.defaults import template_defaults, traffic_defaults
from zeroflow.knative.local.serving.admission.faults import Fault, invalid, missing, refuse
from zeroflow.knative.local.serving.admission.features import Features
from zeroflow.knative.local.serving.admission.pods import pod_faults
from zeroflow.knative.local.serving.admission.traffic import DNS_1035, traffic_faults
from zeroflow.knative.local.serving.configuration.maps import ConfigMaps

Object = dict[str, Any]


def register(store: Store, maps: ConfigMaps) -> Features:
    """Have `store` ask here about every write; return which features are allowed."""
    features = Features(store)
    admission = Admission(features, maps)
    store.admit(labels.SERVICE_KIND, admission.service)
    store.admit(labels.CONFIGURATION_KIND, admission.configuration)
    store.admit(labels.ROUTE_KIND, admission.route)
    store.admit(labels.REVISION_KIND, revision)
    store.admit(labels.MAPPING_KIND, mapping)
    return features


class Admission:
    """What is admitted with the features and the defaults of this host."""

    def __init__(self, features: Features, maps: ConfigMaps) -> None:
        self._features, self._maps = features, maps

    def service(self, new: Object, old: Object | None) -> Object:
        """Return a Service with defaults; raise BadRequest for what Knative refuses."""
        spec = new.setdefault("spec", {})
        template_defaults(spec, self._maps.revisions(), new["metadata"])
        traffic_defaults(spec, in_service=True)
        metadata.sign(new, old)
        refuse(
            [
                *_name_faults(new),
                *metadata.own_faults(new, old),
                *self._template_faults(new),
                *traffic_faults(spec["traffic"], in_service=True),
            ]
        )
        return new

    def configuration(self, new: Object, old: Object | None) -> Object:
        """Return a Configuration with defaults; raise BadRequest for what Knative refuses."""
        template_defaults(new.setdefault("spec", {}), self._maps.revisions(), new["metadata"])
        if not _owned(new):
            metadata.sign(new, old)
        refuse([*_name_faults(new), *self._template_faults(new)])
        return new

    def route(self, new: Object, old: Object | None) -> Object:
        """Return a Route with defaults; raise BadRequest for what Knative refuses."""
        spec = new.setdefault("spec", {})
        traffic_defaults(spec, in_service=False)
        if not _owned(new):
            metadata.sign(new, old)
        refuse([*_name_faults(new), *traffic_faults(spec.get("traffic") or [], in_service=False)])
        return new

    def _template_faults(self, new: Object) -> Iterator[Fault]:
        where = "spec.template"
        template = new["spec"]["template"]
        given = template.get("metadata") or {}
        name, prefix = given.get("name"), f"{new['metadata'].get('name', '')}-"
        if name and not DNS_1035.fullmatch(name):
            yield invalid(f"not a DNS 1035 label: {name}", f"{where}.metadata.name")
        if name and not name.startswith(prefix):
            yield Fault(f'"{name}" must have "{prefix}" prefix', f"{where}.metadata.name")
        yield from metadata.template_faults(template, where, self._maps.scaling())
        bounds = self._maps.revisions()
        yield from pod_faults(template["spec"], f"{where}.spec", self._features.of_template(template), bounds)


def revision(new: Object, old: Object | None) -> Object:
    """Refuse to change what a revision runs."""
    if old is not None and new.get("spec") != old.get("spec"):
        refuse([Fault("Immutable fields changed (-old +new)", "spec")])
    return new


def mapping(new: Object, old: Object | None) -> Object:
    """Return a DomainMapping with the kind and namespace of its target; it must be a Service of its namespace."""
    ref = new.setdefault("spec", {}).setdefault("ref", {})
    ref.setdefault("namespace", new["metadata"].get("namespace"))
    ref.setdefault("apiVersion", labels.API_VERSION)
    if ref.get("kind") == "KService":
        ref["kind"] = "Service"
    faults = []
    if not ref.get("name"):
        faults.append(missing("spec.ref.name"))
    if ref.setdefault("kind", "Service") != "Service":
        faults.append(invalid(ref["kind"], "spec.ref.kind", "this host maps domains to Services"))
    if ref["namespace"] != new["metadata"].get("namespace"):
        said = f"Ref namespace must be empty or equal to the domain mapping namespace {new['metadata']['namespace']!r}"
        faults.append(Fault(said, "spec.ref.namespace"))
    refuse(faults)
    return new


def _owned(obj: Object) -> bool:
    """Return whether a Service has made it."""
    return any(owner.get("kind") == "Service" for owner in obj["metadata"].get("ownerReferences") or ())


def _name_faults(new: Object) -> Iterator[Fault]:
    name = new["metadata"].get("name", "")
    if not DNS_1035.fullmatch(name):
        yield invalid(f"not a DNS 1035 label: {name}", "metadata.name")
