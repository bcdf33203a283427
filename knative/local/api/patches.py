"""Patches: JSON patch (RFC 6902), merge patch (RFC 7386) and strategic merge patch for the built-in kinds.

Each function returns a new object and leaves its argument alone; a patch that cannot be applied raises BadRequest or
Invalid. Source: the RFCs; Kubernetes "strategic merge patch" (`$patch`, `$retainKeys`, `$deleteFromPrimitiveList`,
`$setElementOrder`).
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from zeroflow.knative.local.api.errors import BadRequest, Invalid, UnsupportedMediaType
from zeroflow.knative.local.api.kinds import Kind
from zeroflow.knative.local.api.lists import MERGE_KEYS, SETS
from zeroflow.knative.local.api.objects import Object, copy

JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"
STRATEGIC_PATCH: Final = "application/strategic-merge-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"
MAX_OPERATIONS: Final = 10_000
MAX_COPIES: Final = 50  # each can double the object
MAX_OBJECT_BYTES: Final = 3 * 1024 * 1024

# Strategic merge patch identifies an item by one key alone.
STRATEGIC_KEYS: Final = {field: keys[0] for field, keys in MERGE_KEYS.items()} | {"secrets": "name"}


def patched(kind: Kind, obj: Object, patch: Any, media_type: str) -> Object:
    """Apply a patch of this media type."""
    if media_type == JSON_PATCH:
        result = json_patch(obj, patch)
    elif media_type == MERGE_PATCH:
        result = merge_patch(obj, _object(patch))
    elif media_type == STRATEGIC_PATCH and not kind.custom:
        result = strategic_patch(obj, _object(patch))
    else:
        accepted = [JSON_PATCH, MERGE_PATCH, APPLY_PATCH] + ([] if kind.custom else [STRATEGIC_PATCH])
        raise UnsupportedMediaType(
            f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
        )
    if not isinstance(result, dict) or not isinstance(result.get("metadata"), dict):
        raise Invalid("the patched object is no object with metadata")
    return result


def json_patch(obj: Object, operations: Any) -> Any:
    """Apply a list of RFC 6902 operations, all or none."""
    import jsonpatch
    import jsonpointer

    if not isinstance(operations, list):
        raise BadRequest("a JSON patch is a list of operations")
    if len(operations) > MAX_OPERATIONS:
        raise BadRequest(f"a JSON patch holds at most {MAX_OPERATIONS} operations, this one {len(operations)}")
    copies = 0
    try:
        result: Any = copy(obj)
        for operation in operations:
            result = jsonpatch.apply_patch(result, [operation], in_place=True)
            if operation["op"] == "copy":
                copies += 1
                if copies > MAX_COPIES or len(orjson.dumps(result)) > MAX_OBJECT_BYTES:
                    raise BadRequest("the copy operations of the JSON patch make the object too large")
        return result
    except (jsonpatch.JsonPatchConflict, jsonpatch.JsonPatchTestFailed, jsonpointer.JsonPointerException) as error:
        raise Invalid(f"the server rejected our request due to an error in our request: {error}") from error
    except (jsonpatch.InvalidJsonPatch, TypeError, ValueError, KeyError, AttributeError) as error:
        raise BadRequest(f"the JSON patch cannot be read: {error}") from error


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386: null removes, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value)
    return result


def strategic_patch(target: Any, patch: dict[str, Any]) -> Any:
    """Like a merge patch, but the lists that core kinds key by name merge item by item."""
    if patch.get("$patch") == "replace":
        return {name: value for name, value in patch.items() if name != "$patch"}
    if patch.get("$patch") == "delete":
        return {}
    result = dict(target) if isinstance(target, dict) else {}
    if isinstance(retained := patch.get("$retainKeys"), list):
        result = {name: value for name, value in result.items() if name in retained}
    for name, value in patch.items():
        if name in ("$patch", "$retainKeys") or name.startswith("$setElementOrder/"):
            continue
        if name.startswith("$deleteFromPrimitiveList/"):
            field = name.partition("/")[2]
            result[field] = [word for word in result.get(field) or [] if word not in value]
        elif value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = strategic_patch(result.get(name), value)
        elif isinstance(value, list):
            order = patch.get(f"$setElementOrder/{name}")
            result[name] = _strategic_list(name, result.get(name), value, order)
        else:
            result[name] = value
    return result


def _strategic_list(field: str, live: Any, patch: list[Any], order: Any) -> list[Any]:
    current: list[Any] = list(live) if isinstance(live, list) else []
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if not (isinstance(item, dict) and "$patch" in item)]
    if field in SETS:
        return current + [word for word in patch if word not in current]
    key = STRATEGIC_KEYS.get(field)
    if key is None or not all(isinstance(item, dict) and key in item for item in patch):
        return patch
    for item in patch:
        same = [index for index, other in enumerate(current) if isinstance(other, dict) and other.get(key) == item[key]]
        if item.get("$patch") == "delete":
            current = [other for index, other in enumerate(current) if index not in same]
        elif same:
            current[same[0]] = strategic_patch(current[same[0]], item)
        else:
            current.append(strategic_patch({}, item))
    if isinstance(order, list):
        places = {item.get(key): place for place, item in enumerate(order) if isinstance(item, dict)}
        current.sort(key=lambda item: places.get(item.get(key), len(places)))
    return current


def _object(patch: Any) -> dict[str, Any]:
    if not isinstance(patch, dict):
        raise BadRequest("the patch is no JSON object")
    return patch
