"""The types by which rules are checked when a definition is stored: protobuf messages that mirror a schema.

What protobuf has no field for - lists of lists, maps of maps - is left open inside an object, and so are numbers,
which compare with whole ones. Source: Kubernetes "CustomResourceDefinition validation rules" (type mapping).
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from cel_expr_python import cel
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, struct_pb2, timestamp_pb2

from zeroflow.knative.local.api.schemas.cel_values import fields_of, names_of
from zeroflow.knative.local.api.schemas.schema import Schema

_FIELD: Final = descriptor_pb2.FieldDescriptorProto
_OPTIONAL, _REPEATED = _FIELD.LABEL_OPTIONAL, _FIELD.LABEL_REPEATED
_ANYTHING: Final = (_FIELD.TYPE_MESSAGE, ".google.protobuf.Value")
_TIME: Final = (_FIELD.TYPE_MESSAGE, ".google.protobuf.Timestamp")
_FORMATTED: Final = {
    "date": _TIME,
    "datetime": _TIME,
    "duration": (_FIELD.TYPE_MESSAGE, ".google.protobuf.Duration"),
    "byte": (_FIELD.TYPE_BYTES, None),
}
_SCALARS: Final = {
    "string": (_FIELD.TYPE_STRING, None),
    "integer": (_FIELD.TYPE_INT64, None),
    "boolean": (_FIELD.TYPE_BOOL, None),
}
_VARIABLES: Final = {
    _FIELD.TYPE_STRING: cel.Type.STRING,
    _FIELD.TYPE_INT64: cel.Type.INT,
    _FIELD.TYPE_BOOL: cel.Type.BOOL,
    _FIELD.TYPE_BYTES: cel.Type.BYTES,
}

_Message: TypeAlias = Any  # descriptor_pb2.DescriptorProto, which has no types


class Types:
    """Collects the messages of one schema; `variable` gives a type, `pool` closes the collection."""

    def __init__(self) -> None:
        self._file = descriptor_pb2.FileDescriptorProto(name="schema.proto", package="schema", syntax="proto2")
        self._file.dependency.extend(f"google/protobuf/{name}.proto" for name in ("struct", "timestamp", "duration"))

    def variable(self, schema: Schema, *, root: bool = False) -> cel.Type:
        """Return the type of a variable that holds what the schema describes."""
        if schema.type == "array" and schema.items is not None:
            return cel.Type.List(self.variable(schema.items))
        if schema.type == "object" and schema.values is not None:
            return cel.Type.Map(cel.Type.STRING, self.variable(schema.values))
        kind, message = self._type(schema, root=root)
        if (kind, message) == _ANYTHING:
            return cel.Type.DYN
        return _VARIABLES[kind] if message is None else cel.Type(message.removeprefix("."))

    def pool(self) -> descriptor_pool.DescriptorPool:
        """Return a pool with all the messages in it."""
        pool = descriptor_pool.DescriptorPool()
        for known in (struct_pb2, timestamp_pb2, duration_pb2):
            pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
        pool.AddSerializedFile(self._file.SerializeToString())
        return pool

    def _type(self, schema: Schema, *, root: bool = False) -> tuple[Any, str | None]:
        if schema.type == "object" and schema.values is None:
            message = self._file.message_type.add(name=f"M{len(self._file.message_type)}")
            for name, part in fields_of(schema, root).items():
                for known in names_of(name):
                    self._add_field(message, known, part)
            return _FIELD.TYPE_MESSAGE, f".schema.{message.name}"
        if schema.type == "string" and (formatted := _FORMATTED.get(schema.format.replace("-", ""))):
            return formatted
        return _SCALARS.get(schema.type, _ANYTHING)

    def _add_field(self, message: _Message, name: str, schema: Schema) -> None:
        number, type_name = len(message.field) + 1, None
        inner = schema.items if schema.type == "array" else schema.values if schema.type == "object" else None
        if inner is not None and (inner.type == "array" or inner.values is not None):
            label, (kind, type_name) = _OPTIONAL, _ANYTHING
        elif inner is None:
            label, (kind, type_name) = _OPTIONAL, self._type(schema)
        elif schema.type == "array":
            label, (kind, type_name) = _REPEATED, self._type(inner)
        else:
            label, kind, type_name = _REPEATED, _FIELD.TYPE_MESSAGE, self._entry(message, name, inner)
        message.field.add(name=name, number=number, label=label, type=kind, type_name=type_name)

    def _entry(self, message: _Message, name: str, values: Schema) -> str:
        """Add the message of a map's entries and return its name, which protobuf prescribes."""
        kind, type_name = self._type(values)
        title = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
        entry = message.nested_type.add(name=f"{title}Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=_OPTIONAL, type=_FIELD.TYPE_STRING)
        entry.field.add(name="value", number=2, label=_OPTIONAL, type=kind, type_name=type_name)
        return f".schema.{message.name}.{entry.name}"
