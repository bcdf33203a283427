"""JSON values as CEL sees them by a schema.

Fields of objects carry CEL's names for them (`foo-bar` is `foo__dash__bar`); times, durations and bytes are such;
numbers are doubles; what a schema does not name is not there. Source: Kubernetes "CustomResourceDefinition validation
rules" (type mapping, escaping).
"""

from __future__ import annotations

import base64
import re
from typing import Any, Final

from zeroflow.knative.local.api.schemas import formats
from zeroflow.knative.local.api.schemas.schema import Schema

IDENTIFIER: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_./-]*")
RESERVED: Final = frozenset(
    (
        *("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if"),
        *("import", "let", "loop", "package", "namespace", "return", "var", "void", "while"),
    )
)
ESCAPES: Final = (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__"))
TEXT: Final = Schema(type="string")
EVERY_OBJECT: Final = {
    "apiVersion": TEXT,
    "kind": TEXT,
    "metadata": Schema(type="object", properties={"name": TEXT, "generateName": TEXT}),
}


def fields_of(schema: Schema, root: bool) -> dict[str, Schema]:
    """Return the fields of an object that rules may speak of."""
    return {**schema.properties, **EVERY_OBJECT} if root or schema.embedded else dict(schema.properties)


def names_of(name: str) -> tuple[str, ...]:
    """Return CEL's names of a field: none, so that rules cannot speak of it, or one; a reserved word also as it is.

    Kubernetes documents `__namespace__` alone; definitions in use (Kubeflow Trainer's) say `self.namespace`.
    """
    if IDENTIFIER.fullmatch(name) is None:
        return ()
    if name in RESERVED:
        return (f"__{name}__", name)
    for text, replacement in ESCAPES:
        name = name.replace(text, replacement)
    return (name,)


def cel_value(schema: Schema, value: Any, *, root: bool = False) -> Any:
    """Return a valid JSON value as CEL sees it."""
    if isinstance(value, dict):
        if schema.values is not None:
            return {name: cel_value(schema.values, part) for name, part in value.items()}
        fields = fields_of(schema, root)
        return {
            known: cel_value(fields[name], part)
            for name, part in value.items()
            if name in fields
            for known in names_of(name)
        }
    if isinstance(value, list):
        return [cel_value(schema.items, part) for part in value] if schema.items is not None else value
    if isinstance(value, str) and schema.format:
        return _formatted(schema.format.replace("-", ""), value)
    if schema.type == "number" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if schema.type == "integer" and isinstance(value, float):
        return int(value)
    return value


def _formatted(format_: str, value: str) -> Any:
    """Return a time, duration or bytes; the library takes them as protobuf's well-known messages."""
    from google.protobuf import duration_pb2, timestamp_pb2

    try:
        if format_ in ("date", "datetime"):
            time = timestamp_pb2.Timestamp()
            time.FromDatetime(formats.moment(value))
            return time
        if format_ == "duration":
            span = duration_pb2.Duration()
            span.FromTimedelta(formats.span(value))
            return span
        if format_ == "byte":
            return base64.b64decode(value, validate=True)
    except ValueError:
        return value  # said by the validation of formats
    return value
