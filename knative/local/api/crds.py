"""CustomResourceDefinitions: from the object to the Kind it declares, and the definitions that ship with Zeroflow.

Source: apiextensions.k8s.io/v1. Schemas are kept for `kubectl explain` and not enforced; each room validates its own
kinds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zeroflow.knative.local.api.errors import Cause, Invalid
from zeroflow.knative.local.api.kinds import Column, Kind, Version
from zeroflow.knative.local.api.objects import Object, meta, now


def kind_of(crd: Object) -> Kind:
    """Return the kind that a definition declares; raise Invalid naming the field that is missing or wrong."""
    name = str(meta(crd).get("name", ""))
    spec = _mapping(crd.get("spec"), "spec", name)
    names = _mapping(spec.get("names"), "spec.names", name)
    group, plural, kind = (
        _text(spec.get("group"), "spec.group", name),
        _text(names.get("plural"), "spec.names.plural", name),
        _text(names.get("kind"), "spec.names.kind", name),
    )
    if name != f"{plural}.{group}":
        raise _invalid(name, "metadata.name", f'Invalid value: "{name}": must be spec.names.plural+"."+spec.group')
    if spec.get("scope") not in ("Namespaced", "Cluster"):
        raise _invalid(name, "spec.scope", 'Unsupported value: supported values: "Cluster", "Namespaced"')
    versions = spec.get("versions")
    if not isinstance(versions, list) or not all(isinstance(v, dict) and v.get("name") for v in versions):
        raise _invalid(name, "spec.versions", "Required value: a list of versions with names")
    stored = [str(version["name"]) for version in versions if version.get("storage")]
    if len(stored) != 1:
        raise _invalid(name, "spec.versions", "Invalid value: must have exactly one version marked as storage version")
    return Kind(
        group=group,
        kind=kind,
        plural=plural,
        versions=tuple(_version(version) for version in versions if version.get("served", True)),
        storage_version=stored[0],
        namespaced=spec["scope"] == "Namespaced",
        singular=names.get("singular") or kind.lower(),
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        custom=True,
        fields=_fields(next(version for version in versions if version["name"] == stored[0])),
    )


def established(crd: Object) -> Object:
    """Set the status that clients wait for: the definition is served at once."""
    spec = crd["spec"]
    since = meta(crd).get("creationTimestamp") or now()
    crd["status"] = {
        "acceptedNames": spec["names"],
        "storedVersions": [version["name"] for version in spec["versions"] if version.get("storage")],
        "conditions": [
            _condition("NamesAccepted", "NoConflicts", "no conflicts found", since),
            _condition("Established", "InitialNamesAccepted", "the initial names have been accepted", since),
        ],
    }
    return crd


def bundled() -> list[Object]:
    """Return the definitions in `knative/manifests/crds`, parsed."""
    import yaml

    folder = Path(__file__).resolve().parents[2] / "manifests" / "crds"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [
        document
        for path in sorted(folder.glob("*.yaml"))
        for document in yaml.load_all(path.read_text(), loader)
        if document
    ]


def _fields(version: dict[str, Any]) -> tuple[str, ...] | None:
    """Return the top-level fields that a schema allows; None when it leaves them open."""
    schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
    properties = schema.get("properties")
    if not isinstance(properties, dict) or schema.get("x-kubernetes-preserve-unknown-fields"):
        return None
    return tuple(properties)


def _version(version: dict[str, Any]) -> Version:
    columns = tuple(
        Column(
            name=str(column.get("name", "")),
            path=str(column.get("jsonPath", "")),
            type=str(column.get("type", "string")),
            format=str(column.get("format", "")),
            description=str(column.get("description", "")),
            priority=int(column.get("priority", 0)),
        )
        for column in version.get("additionalPrinterColumns") or ()
    )
    return Version(str(version["name"]), columns, status="status" in (version.get("subresources") or {}))


def _condition(kind: str, reason: str, message: str, since: str) -> dict[str, str]:
    return {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": since}


def _mapping(value: Any, field: str, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _invalid(name, field, "Required value")
    return value


def _text(value: Any, field: str, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise _invalid(name, field, "Required value")
    return value


def _invalid(name: str, field: str, message: str) -> Invalid:
    return Invalid.fields("CustomResourceDefinition", "apiextensions.k8s.io", name, Cause(field, message))
