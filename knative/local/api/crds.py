"""CustomResourceDefinitions: from the object to the Kind it declares, and the definitions that ship with Zeroflow.

Source: apiextensions.k8s.io/v1. Schemas are enforced (`schemas/`) and shown by `kubectl explain`; what a
schema cannot say each room validates for its own kinds.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from zeroflow.knative.local.api.errors import Cause, Invalid
from zeroflow.knative.local.api.kinds import Column, Kind, Scale, Version
from zeroflow.knative.local.api.objects import LABEL, SUBDOMAIN, Object, meta, now
from zeroflow.knative.local.api.schemas import rules
from zeroflow.knative.local.api.schemas.schema import BadSchema, compile_schema

KIND: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*")


def kind_of(crd: Object) -> Kind:
    """Return the kind that a definition declares; raise Invalid naming the field that is missing or wrong."""
    read = Reader(str(meta(crd).get("name", "")))
    spec = read.mapping(crd.get("spec"), "spec")
    names = read.mapping(spec.get("names"), "spec.names")
    group = read.text(spec.get("group"), "spec.group", SUBDOMAIN)
    plural = read.text(names.get("plural"), "spec.names.plural", LABEL)
    kind = read.text(names.get("kind"), "spec.names.kind", KIND)
    if read.name != f"{plural}.{group}":
        raise read.invalid("metadata.name", f'Invalid value: "{read.name}": must be spec.names.plural+"."+spec.group')
    if spec.get("scope") not in ("Namespaced", "Cluster"):
        raise read.invalid("spec.scope", 'Unsupported value: supported values: "Cluster", "Namespaced"')
    versions = [
        read.mapping(version, f"spec.versions[{index}]")
        for index, version in enumerate(read.items(spec.get("versions"), "spec.versions"))
    ]
    served = tuple(_version(read, version, f"spec.versions[{index}]") for index, version in enumerate(versions))
    stored = [version for version in versions if version.get("storage") is True]
    if len(stored) != 1:
        raise read.invalid("spec.versions", "Invalid value: must have exactly one version marked as storage version")
    return Kind(
        group=group,
        kind=kind,
        plural=plural,
        versions=tuple(each for each, version in zip(served, versions, strict=True) if version.get("served", True)),
        storage_version=stored[0]["name"],
        namespaced=spec["scope"] == "Namespaced",
        singular=read.text(names.get("singular") or kind.lower(), "spec.names.singular", LABEL),
        short_names=read.words(names.get("shortNames"), "spec.names.shortNames"),
        categories=read.words(names.get("categories"), "spec.names.categories"),
        custom=True,
        fields=_fields(stored[0]),
    )


def check_versions(crd: Object, old: Object | None) -> None:
    """Refuse what this host cannot do with several versions, and the loss of one in which objects may be stored."""
    read, spec = Reader(str(meta(crd)["name"])), crd["spec"]
    strategy = read.mapping(spec.get("conversion") or {}, "spec.conversion").get("strategy", "None")
    if strategy not in ("None", "Webhook"):
        raise read.invalid(
            "spec.conversion.strategy",
            f'Unsupported value: "{strategy}": supported values: "None", "Webhook"',
        )
    if strategy == "Webhook" and sum(1 for version in spec["versions"] if version.get("served", True)) > 1:
        raise read.invalid(
            "spec.conversion.strategy",
            "Forbidden: this host calls no conversion webhooks: serve one version, or convert by None",
        )
    present = {version["name"] for version in spec["versions"]}
    for index, name in enumerate(_stored(old)):
        if name not in present:
            raise read.invalid(
                f"status.storedVersions[{index}]", f'Invalid value: "{name}": must appear in spec.versions'
            )


def _stored(crd: Object | None) -> list[str]:
    return list(((crd or {}).get("status") or {}).get("storedVersions") or ())


def established(crd: Object, old: Object | None = None) -> Object:
    """Set the status that clients wait for: the definition is served at once."""
    spec = crd["spec"]
    since = meta(crd).get("creationTimestamp") or now()
    stored = [*_stored(old), *(version["name"] for version in spec["versions"] if version.get("storage"))]
    crd["status"] = {
        "acceptedNames": spec["names"],
        "storedVersions": list(dict.fromkeys(stored)),
        "conditions": [
            _condition("NamesAccepted", "NoConflicts", "no conflicts found", since),
            _condition("Established", "InitialNamesAccepted", "the initial names have been accepted", since),
        ],
    }
    return crd


def check_rules(kind: Kind, crd: Object) -> None:
    """Compile the CEL rules of a definition that is new or has changed; raise Invalid for one that cannot be."""
    read = Reader(str(meta(crd)["name"]))
    for index, version in enumerate(crd["spec"]["versions"]):
        served = kind.version(version["name"])
        if served is not None and served.schema is not None:
            try:
                rules.check_rules(served.schema, f"spec.versions[{index}].schema.openAPIV3Schema")
            except BadSchema as error:
                where, why = error.args
                raise read.invalid(where, why) from error


def bundled() -> list[Object]:
    """Return the definitions in `knative/manifests/crds`, parsed."""
    import yaml

    from zeroflow.safe_yaml import LOADER

    folder = Path(__file__).resolve().parents[2] / "manifests" / "crds"
    return [
        document
        for path in sorted(folder.glob("*.yaml"))
        for document in yaml.load_all(path.read_text(), LOADER)
        if document
    ]


class Reader:
    """Reads the fields of one definition; a wrong one raises Invalid with its path."""

    def __init__(self, name: str) -> None:
        self.name = name

    def mapping(self, value: Any, field: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.invalid(field, "Required value: must be an object")
        return value

    def items(self, value: Any, field: str) -> list[Any]:
        if value is not None and not isinstance(value, list):
            raise self.invalid(field, "Invalid value: must be a list")
        return value or []

    def text(self, value: Any, field: str, form: re.Pattern[str] | None = None) -> str:
        if not isinstance(value, str) or not value:
            raise self.invalid(field, "Required value: must be a string")
        if form is not None and form.fullmatch(value) is None:
            raise self.invalid(field, f'Invalid value: "{value}"')
        return value

    def words(self, value: Any, field: str) -> tuple[str, ...]:
        items = self.items(value, field)
        return tuple(self.text(word, f"{field}[{index}]", LABEL) for index, word in enumerate(items))

    def invalid(self, field: str, message: str) -> Invalid:
        return Invalid.fields("CustomResourceDefinition", "apiextensions.k8s.io", self.name, Cause(field, message))


def _version(read: Reader, version: dict[str, Any], path: str) -> Version:
    name = read.text(version.get("name"), f"{path}.name", LABEL)
    columns = []
    for index, item in enumerate(
        read.items(version.get("additionalPrinterColumns"), f"{path}.additionalPrinterColumns")
    ):
        here = f"{path}.additionalPrinterColumns[{index}]"
        column = read.mapping(item, here)
        priority = column.get("priority", 0)
        if not isinstance(priority, int):
            raise read.invalid(f"{here}.priority", "Invalid value: must be an integer")
        columns.append(
            Column(
                name=read.text(column.get("name"), f"{here}.name"),
                path=read.text(column.get("jsonPath"), f"{here}.jsonPath"),
                type=read.text(column.get("type", "string"), f"{here}.type"),
                format=read.text(column.get("format") or " ", f"{here}.format").strip(),
                description=read.text(column.get("description") or " ", f"{here}.description").strip(),
                priority=priority,
            )
        )
    schema = read.mapping(version.get("schema") or {}, f"{path}.schema").get("openAPIV3Schema") or {}
    properties = read.mapping(schema, f"{path}.schema.openAPIV3Schema").get("properties")
    read.mapping(properties or {}, f"{path}.schema.openAPIV3Schema.properties")
    subresources = read.mapping(version.get("subresources") or {}, f"{path}.subresources")
    try:
        compiled = compile_schema(_without_metadata(schema), f"{path}.schema.openAPIV3Schema") if schema else None
    except BadSchema as error:
        where, why = error.args
        raise read.invalid(where, why) from error
    scale = _scale(read, subresources["scale"], f"{path}.subresources.scale") if subresources.get("scale") else None
    return Version(name, tuple(columns), "status" in subresources, scale, compiled)


def _scale(read: Reader, given: Any, path: str) -> Scale:
    given = read.mapping(given, path)

    def steps(name: str, root: str) -> tuple[str, ...]:
        text = read.text(given.get(name), f"{path}.{name}")
        if not text.startswith(f".{root}.") or "[" in text:
            raise read.invalid(f"{path}.{name}", f'Invalid value: "{text}": should be a json path under .{root}')
        return tuple(text[1:].split("."))

    selector = steps("labelSelectorPath", "status") if given.get("labelSelectorPath") else None
    return Scale(steps("specReplicasPath", "spec"), steps("statusReplicasPath", "status"), selector)


def _without_metadata(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without what every object has: that is checked elsewhere."""
    open_part = {"x-kubernetes-preserve-unknown-fields": True}
    properties = {**(schema.get("properties") or {}), **dict.fromkeys(("apiVersion", "kind", "metadata"), open_part)}
    bare = not schema.get("properties")
    return {**schema, "properties": properties, **(open_part if bare else {})}


def _fields(version: dict[str, Any]) -> tuple[str, ...] | None:
    """Return the top-level fields that a schema allows; None when it leaves them open."""
    schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
    if not schema.get("properties") or schema.get("x-kubernetes-preserve-unknown-fields"):
        return None
    return tuple(schema["properties"])


def _condition(kind: str, reason: str, message: str, since: str) -> dict[str, str]:
    return {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": since}
