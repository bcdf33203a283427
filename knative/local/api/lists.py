"""Which lists of Kubernetes objects are maps in disguise: merged item by item, by these keys.

Everything else is atomic: replaced as a whole. Source: the patchMergeKey and list-map-keys of core/v1 and batch/v1,
by field name, because custom kinds that hold pod templates and conditions use the same names for the same things.
"""

from __future__ import annotations

from typing import Any, Final

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


def item_key(field: str, item: Any) -> ItemKey | None:
    """Return what identifies an item of an associative list; None when it lacks a key."""
    if not isinstance(item, dict):
        return None
    pairs = tuple((name, item.get(name, KEY_DEFAULTS.get(name))) for name in MERGE_KEYS[field])
    return None if any(value is None or isinstance(value, dict | list) for _, value in pairs) else pairs


def is_associative(field: str, items: Any) -> bool:
    """Say whether a list under this field is merged by key: all items have distinct keys."""
    if field not in MERGE_KEYS or not isinstance(items, list):
        return False
    keys = [item_key(field, item) for item in items]
    return None not in keys and len(set(keys)) == len(keys)
