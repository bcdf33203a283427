"""What every Kubernetes object has in common: metadata, names, owners, copies.

Objects are plain JSON dictionaries. Guarantees: `copy` shares nothing with its argument.
Source: Kubernetes API conventions; names follow RFC 1123.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias, cast

import orjson

Object: TypeAlias = dict[str, Any]

SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
QUALIFIED: Final = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)")
# Kubernetes leaves out vowels and look-alikes, so that no generated name spells a word.
NAME_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
SUFFIX_LENGTH: Final = 5
MAX_GENERATED_BASE: Final = 63 - SUFFIX_LENGTH


def copy(obj: Object) -> Object:
    """Return a deep copy of a JSON object."""
    return cast(Object, orjson.loads(orjson.dumps(obj)))


def now() -> str:
    """Return the time in the form of metav1.Time: RFC 3339, UTC, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def generated_name(prefix: str) -> str:
    """Return the prefix with a random suffix, within 63 characters."""
    return prefix[:MAX_GENERATED_BASE] + "".join(secrets.choice(NAME_ALPHABET) for _ in range(SUFFIX_LENGTH))


def meta(obj: Object) -> dict[str, Any]:
    """Return the object's metadata, adding an empty one when there is none."""
    found = obj.get("metadata")
    if not isinstance(found, dict):
        found = obj["metadata"] = {}
    return found


def labels(obj: Object) -> dict[str, str]:
    """Return the object's labels; never None."""
    return cast("dict[str, str]", meta(obj).get("labels") or {})


def owner_uids(obj: Object) -> tuple[str, ...]:
    """Return the uids of the object's owners."""
    return tuple(str(owner.get("uid", "")) for owner in meta(obj).get("ownerReferences") or ())


def controller_of(obj: Object) -> str:
    """Return the uid of what controls an object, "" for nothing."""
    owners = obj["metadata"].get("ownerReferences") or ()
    return next((str(each["uid"]) for each in owners if each.get("controller")), "")


def declared(obj: Object) -> Object:
    """Return what generation counts: everything but metadata and status (a view, not a copy)."""
    return {key: value for key, value in obj.items() if key not in ("metadata", "status", "apiVersion", "kind")}


def without(obj: Object, names: Iterable[str]) -> Object:
    """Return a shallow copy without these top-level fields."""
    dropped = set(names)
    return {key: value for key, value in obj.items() if key not in dropped}
