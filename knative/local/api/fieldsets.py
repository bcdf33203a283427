"""Sets of fields, as managedFields record them, and the leaf values that they name.

A path is a tuple of FieldsV1 elements: `f:name` (field), `k:{"name":"x"}` (item of an associative list), `v:"x"`
(word of a set). Leaves are scalars, atomic lists and empty objects; an associative item has a path of its own
besides those of its fields. Source: Kubernetes "Server-Side Apply", FieldsV1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

import orjson

from zeroflow.knative.local.api.lists import Shape
from zeroflow.knative.local.api.objects import Object

Path: TypeAlias = tuple[str, ...]
Leaves: TypeAlias = dict[Path, Any]

PRESENT: Final = object()  # the value of an associative item itself
UNMANAGED_METADATA: Final = frozenset(
    (
        *("name", "namespace", "generateName", "uid", "resourceVersion", "generation", "creationTimestamp"),
        *("deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "selfLink"),
    )
)


def leaves(
    obj: Object, shape: Shape, only: frozenset[str] | None = None, never: frozenset[str] = frozenset()
) -> Leaves:
    """Return the managed leaves of an object of this shape, of all top-level fields, `only` some, `never` others."""
    found: Leaves = {}
    for name, value in obj.items():
        if name in ("apiVersion", "kind") or name in never or (only is not None and name not in only):
            continue
        if name == "metadata":
            for field, part in (value or {}).items():
                if field not in UNMANAGED_METADATA:
                    found.update(_walk(("f:metadata", f"f:{field}"), Shape(field), part))
        else:
            found.update(_walk((f"f:{name}",), shape.field(name), value))
    return found


def element_of(pairs: Iterable[tuple[str, Any]]) -> str:
    """Return the path element of an associative item."""
    return "k:" + orjson.dumps(dict(pairs), option=orjson.OPT_SORT_KEYS).decode()


def _walk(path: Path, shape: Shape, value: Any) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value and not shape.is_atomic:
        for name, part in value.items():
            yield from _walk((*path, f"f:{name}"), shape.field(name), part)
    elif isinstance(value, list) and value and shape.is_map(value):
        for item in value:
            here = (*path, element_of(shape.key_of(item) or ()))
            yield here, PRESENT
            for name, part in item.items():
                yield from _walk((*here, f"f:{name}"), shape.item.field(name), part)
    elif isinstance(value, list) and value and shape.is_set:
        for word in value:
            yield (*path, "v:" + orjson.dumps(word).decode()), word
    else:
        yield path, value


def to_fields(paths: Iterable[Path]) -> dict[str, Any]:
    """Write a set of paths as FieldsV1."""
    fields: dict[str, Any] = {}
    for path in sorted(paths):
        here = fields
        for element in path:
            here = here.setdefault(element, {})
        if path[-1][:2] == "k:":
            here["."] = {}
    return fields


def from_fields(fields: Any, path: Path = ()) -> set[Path]:
    """Read FieldsV1; anything unreadable in it is ignored."""
    if not isinstance(fields, dict):
        return set()
    found: set[Path] = set()
    for element, below in fields.items():
        if element == ".":
            found.add(path)
        elif _is_element(element):
            deeper = from_fields(below, (*path, element))
            found |= deeper or {(*path, element)}
    return found


def _is_element(element: str) -> bool:
    if element.startswith("f:"):
        return True
    try:
        value = orjson.loads(element[2:])
    except orjson.JSONDecodeError:
        return False
    return element.startswith("v:") or (element.startswith("k:") and isinstance(value, dict))


def find(obj: Any, path: Path) -> Any:
    """Return the value of the field at a path of plain fields; None when it is not there."""
    for element in path:
        if not element.startswith("f:") or not isinstance(obj, dict):
            return None
        obj = obj.get(element[2:])
    return obj


def remove(obj: Any, path: Path) -> None:
    """Take the field at a path out of an object, in place, with the containers that this empties."""
    if not path:
        return
    element, rest = path[0], path[1:]
    if element.startswith("f:") and isinstance(obj, dict):
        name = element[2:]
        if name not in obj:
            return
        if rest:
            remove(obj[name], rest)
            if obj[name] in ({}, []):
                del obj[name]
        else:
            del obj[name]
    elif element.startswith("k:") and isinstance(obj, list):
        wanted = orjson.loads(element[2:])
        for item in list(obj):
            if isinstance(item, dict) and all(item.get(key, _default(key)) == value for key, value in wanted.items()):
                if rest:
                    remove(item, rest)
                else:
                    obj.remove(item)
    elif element.startswith("v:") and isinstance(obj, list):
        word = orjson.loads(element[2:])
        if word in obj:
            obj.remove(word)


def _default(key: str) -> str | None:
    return "TCP" if key == "protocol" else None


def readable(path: Path) -> str:
    """Return the path as conflict messages show it: `.spec.containers[name="x"].image`."""
    text = ""
    for element in path:
        if element.startswith("f:"):
            text += f".{element[2:]}"
        elif element.startswith("k:"):
            pairs = ",".join(
                f"{key}={orjson.dumps(value).decode()}" for key, value in orjson.loads(element[2:]).items()
            )
            text += f"[{pairs}]"
        else:
            text += f"[{element[2:]}]"
    return text
