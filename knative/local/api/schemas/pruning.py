"""Unknown fields and defaults: what a schema takes out of an object and puts in.

A part with `x-kubernetes-preserve-unknown-fields` keeps what it does not know; an embedded resource keeps its
apiVersion, kind and metadata.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from zeroflow.knative.local.api.objects import copy
from zeroflow.knative.local.api.schemas.schema import Schema

OF_EVERY_OBJECT: Final = ("apiVersion", "kind", "metadata")


def unknown(schema: Schema, value: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of fields that the schema does not know; below an unknown one nothing more."""
    if isinstance(value, dict):
        for name, part in value.items():
            here = f"{path}.{name}" if path else name
            below = schema.below(name)
            if below is not None:
                yield from unknown(below, part, here)
            elif not _keeps(schema, name):
                yield here
    elif isinstance(value, list) and schema.items is not None:
        for number, part in enumerate(value):
            yield from unknown(schema.items, part, f"{path}[{number}]")


def prune(schema: Schema, value: Any) -> None:
    """Take out, in place, what the schema does not know."""
    if isinstance(value, dict):
        for name in list(value):
            below = schema.below(name)
            if below is not None:
                prune(below, value[name])
            elif not _keeps(schema, name):
                del value[name]
    elif isinstance(value, list) and schema.items is not None:
        for part in value:
            prune(schema.items, part)


def default(schema: Schema, value: Any) -> None:
    """Fill in, in place, what is missing and has a default; a null that may not be one counts as missing."""
    if isinstance(value, dict):
        for name, part in schema.properties.items():
            if value.get(name) is None and name in value and not part.nullable and not part.open:
                del value[name]
            if name not in value and part.default is not None:
                value[name] = copy({"value": part.default})["value"]
            if name in value:
                default(part, value[name])
        if schema.values is not None:
            for name in set(value) - set(schema.properties):
                default(schema.values, value[name])
    elif isinstance(value, list) and schema.items is not None:
        for part in value:
            default(schema.items, part)


def _keeps(schema: Schema, name: str) -> bool:
    return schema.open or (schema.embedded and name in OF_EVERY_OBJECT)
