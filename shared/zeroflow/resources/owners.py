"""Owner references: the object that goes takes what it owns with it.

Source: Kubernetes, "Owners and Dependents".
"""

from typing import Any


def owned_by(owner: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the `metadata.ownerReferences` of an object that `owner` controls."""
    return [
        {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]


def is_controlled_by(obj: dict[str, Any], owner: dict[str, Any]) -> bool:
    """Say whether `owner`, and no object of the same name before it, controls `obj`."""
    references = obj["metadata"].get("ownerReferences") or []
    return any(found.get("controller") and found.get("uid") == owner["metadata"]["uid"] for found in references)
