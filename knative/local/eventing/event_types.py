"""EventTypes: the registry of what events there are, kept for people and tools; no delivery asks it.

Guarantees: an object serves v1beta3 (`attributes`) and the versions before it (`type`, `source`, `schema`) at once,
since each form is filled in from the other. The spec of an EventType never changes. EventTypes are made by hand: making
them from what passes is a feature that Knative has off.
Source: knative.dev/eventing EventType v1beta1 to v1beta3 (validation, conversion, condition set).
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from zeroflow.knative.local.api.objects import Object
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.eventing.conditions import Conditions
from zeroflow.knative.local.eventing.destinations import BROKER, Reference, references
from zeroflow.knative.local.eventing.errors import InvalidSpec
from zeroflow.knative.local.eventing.status import StatusWriter

EVENT_TYPE: Final = "EventType.eventing.knative.dev"
_FIELDS: Final = {"type": "type", "source": "source", "dataschema": "schema"}
"""Attributes that have a field of their own in versions before v1beta3."""
_REQUIRED: Final = ("type", "source", "specversion", "id")


def check_event_type(new: Object, old: Object | None) -> Object:
    """Fill in either form from the other and refuse what is missing or changed."""
    given = new.get("spec") or {}
    spec = new["spec"] = {**given}
    if given.get("attributes"):
        _check_attributes(given["attributes"])
        values = {each["name"]: each.get("value") for each in given["attributes"]}
        spec |= {field: values[name] for name, field in _FIELDS.items() if values.get(name)}
    elif given.get("type"):
        spec["attributes"] = _attributes(given)
    else:
        raise InvalidSpec("spec.attributes.type, spec.type", "missing: expected one of them")
    for field in ("source", "schema"):
        if spec.get(field) and not _is_uri(spec[field]):
            raise InvalidSpec(f"spec.{field}", f"invalid value: {spec[field]}")
    if spec.get("broker") and not spec.get("reference"):  # deprecated since v1beta2
        api_version = f"{BROKER.partition('.')[2]}/v1"
        spec["reference"] = {"apiVersion": api_version, "kind": "Broker", "name": spec["broker"]}
    if spec.get("reference"):
        spec["reference"] = {"namespace": new["metadata"].get("namespace", ""), **spec["reference"]}
    before = spec if old is None else old.get("spec") or {}
    if spec != before or any(value != spec[field] for field, value in given.items() if field in _FIELDS.values()):
        raise InvalidSpec("spec", "Immutable fields changed (-old +new)")
    return new


def _check_attributes(given: list[Any]) -> None:
    names = {each.get("name") for each in given if isinstance(each, dict)}
    if missing := sorted(set(_REQUIRED) - names):
        raise InvalidSpec(", ".join(f"spec.attributes.{name}" for name in missing), "missing")


def _attributes(spec: Object) -> list[Object]:
    names = [name for name in (*_FIELDS, *_REQUIRED) if name in _REQUIRED or spec.get(_FIELDS[name])]
    return [
        {"name": name, "required": name in _REQUIRED, "value": spec.get(_FIELDS.get(name, ""), "")}
        for name in dict.fromkeys(names)
    ]


def _is_uri(text: str) -> bool:
    try:
        urlsplit(text.replace("{", "").replace("}", ""))  # parts may be variables
    except ValueError:
        return False
    return not any(character.isspace() for character in text)


class EventTypeReconciler:
    """Says of each EventType whether what it refers to is there."""

    def __init__(self, store: Store, status: StatusWriter) -> None:
        self._store, self._status = store, status

    async def changed(self, event_type: Object) -> None:
        """Write the status."""
        conditions = Conditions(("ReferenceExists",))
        found = self.references(event_type)
        if not found:
            conditions.true("ReferenceExists", "ReferenceNotSet", "spec.reference is not set")
        elif all(self._exists(reference) for reference in found):
            conditions.true("ReferenceExists")
        else:
            conditions.false("ReferenceExists", "ResourceDoesNotExist", "Resource in spec.reference does not exist")
        await self._status.write(conditions.written(event_type, {}))

    async def deleted(self, event_type: Object) -> None:
        """Nothing is kept elsewhere."""

    def references(self, event_type: Object) -> set[Reference]:
        """Return what the EventType refers to."""
        reference = event_type["spec"].get("reference")
        return references(event_type["metadata"]["namespace"], {"ref": reference} if reference else None)

    def _exists(self, reference: Reference) -> bool:
        return self._store.find(*reference) is not None
