"""Which lists of Kubernetes objects are maps or sets in disguise: merged item by item, by these keys.

A custom kind's schema says it (x-kubernetes-list-type; atomic unless it does). Built-in kinds, and what a schema
leaves open, go by field name, because whatever holds pod templates and conditions uses the same names for the same
things. Everything else is atomic: replaced as a whole. Source: the patchMergeKey and list-map-keys of core/v1 and
batch/v1; Kubernetes "Server-Side Apply", merge strategy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from zeroflow.knative.local.api.schemas.schema import Schema

MERGE_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "ports": ("containerPort", "protocol"),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "conditions": ("type",),
    "ownerReferences": ("uid",),
}
KEY_DEFAULTS: Final = {"protocol": "TCP"}
SETS: Final = frozenset({"finalizers"})  # lists of words, merged as sets

ItemKey = tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """How a value merges: by the schema of its place, or by the name of its field where there is none."""

    name: str = ""
    schema: Schema | None = None

    def field(self, name: str) -> Shape:
        """Return the shape of a field of an object."""
        return Shape(name, self.schema.below(name) if self.schema is not None else None)

    @property
    def item(self) -> Shape:
        """Return the shape of a list's items."""
        return Shape("", self.schema.items if self.schema is not None else None)

    @property
    def is_set(self) -> bool:
        """Whether a list at this place is a set of words."""
        return self.schema.list_type == "set" if self.schema is not None else self.name in SETS

    @property
    def is_atomic(self) -> bool:
        """Whether an object at this place is replaced as a whole."""
        return self.schema is not None and self.schema.atomic

    def is_map(self, items: Any) -> bool:
        """Say whether a list at this place is merged by key: all items have distinct keys."""
        if not isinstance(items, list) or not self._keys:
            return False
        keys = [self.key_of(item) for item in items]
        return None not in keys and len(set(keys)) == len(keys)

    def key_of(self, item: Any) -> ItemKey | None:
        """Return what identifies an item of a list that is a map; None when it lacks a key."""
        if not isinstance(item, dict):
            return None
        pairs = tuple((name, item.get(name, self._default(name))) for name in self._keys)
        return None if any(value is None or isinstance(value, dict | list) for _, value in pairs) else pairs

    @property
    def _keys(self) -> tuple[str, ...]:
        if self.schema is None:
            return MERGE_KEYS.get(self.name, ())
        return self.schema.map_keys if self.schema.list_type == "map" else ()

    def _default(self, key: str) -> Any:
        if self.schema is None or self.schema.items is None:
            return KEY_DEFAULTS.get(key)
        known = self.schema.items.properties.get(key)
        return known.default if known is not None else None
