"""An entity's JSON document: read, checked against its type, and written again.

Guarantees for reading: a field that no schema of the entity knows, a wrong type and a value outside an enumeration are
refused, each naming the field; null means "not given"; what a client cannot change (id, times, and at an update the
fixed fields) is ignored where the schema has it.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.functions.register import properties
from zeroflow.functions.register.bodies import json_type
from zeroflow.functions.register.entities import AS_TEXT, METRIC, PARAMETER, EntityType, Field, Shape
from zeroflow.functions.register.errors import MissingField, UnknownField
from zeroflow.functions.register.properties import INT64, MAX_NAME, MAX_TEXT, WireProperties
from zeroflow.functions.register.reading import Shown
from zeroflow.metadata.registry import RegistryArtifact, RegistryContext, RegistryExecution, RegistryMetricPoint

Row = RegistryContext | RegistryArtifact | RegistryExecution | RegistryMetricPoint
"""An entity to be changed; `Shown` is one that is only shown."""

MAX_ID = 2**31 - 1
MAX_URI_BYTES = 2_000
"""A location is indexed as a whole, and an index entry of PostgreSQL holds 2,704 bytes."""

_SERVER_OWNED = ("id", "createTimeSinceEpoch", "lastUpdateTimeSinceEpoch")
_SHORT = ("name", "externalId")
OF_A_RUN = ("experimentId", "experimentRunId")
"""What v1alpha3 says of an artifact under an experiment run; the server fills it in, v1 does not know it."""
_PCHAR = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})"
_AUTHORITY = rf"(?:(?:(?!@){_PCHAR})*@)?(?:\[[0-9A-Fa-f:.]+\]|(?:(?![:@]){_PCHAR})*)(?::[0-9]{{0,5}})?"
_URI = re.compile(
    rf"[A-Za-z][A-Za-z0-9+.-]*:(?://{_AUTHORITY}(?:/{_PCHAR}*)*|/?(?:{_PCHAR}+(?:/{_PCHAR}*)*)?)"
    rf"(?:\?(?:{_PCHAR}|[/?])*)?(?:#(?:{_PCHAR}|[/?])*)?\Z"
)
_INTEGER = re.compile(r"-?[0-9]{1,19}\Z")


@dataclass
class Document:
    """What a client said about an entity; a field that it did not give is absent."""

    values: dict[str, Any] = field(default_factory=dict)
    """Typed fields and `externalId`, `description`, by wire name; ids are ints."""
    custom_properties: WireProperties | None = None
    id: int | None = None
    """The id in the body, where the schema has one."""


def read_new(entity: EntityType, body: dict[str, Any], *, full: bool = False) -> Document:
    """Read a document that creates; `full` when the operation takes the full schema, with the server's own fields."""
    owned = _SERVER_OWNED + (OF_A_RUN if entity.is_artifact else ())
    return _read(entity, body, ignored=owned if full else (), check_required=True)


def read_change(entity: EntityType, body: dict[str, Any]) -> Document:
    """Read a document that changes an entity: fixed fields are checked for nothing and left out."""
    fixed = tuple(field.name for field in entity.fields if field.fixed)
    of_a_run = OF_A_RUN if entity.is_artifact else ()
    return _read(entity, body, ignored=(*_SERVER_OWNED, *fixed, *of_a_run), check_required=False)


def read_id(value: str, title: str) -> int:
    """Parse a decimal id; raise InvalidInput in the words that clients know."""
    if not value.isascii() or not value.isdigit() or len(value) > 10 or int(value) > MAX_ID:
        raise InvalidInput(f"invalid {title} ID: {value[:40]!r} is not a decimal number up to {MAX_ID}")
    return int(value)


def write(entity: EntityType, row: Row | Shown, *, v1: bool = False) -> dict[str, Any]:
    """Return the entity as clients of v1alpha3, or of `v1`, read it."""
    document: dict[str, Any] = {
        "id": str(row.id),
        "name": row.name,
        "createTimeSinceEpoch": str(row.created_ms),
        "lastUpdateTimeSinceEpoch": str(row.updated_ms),
        "customProperties": row.custom_properties,
        **row.fields,
    }
    for known in entity.fields:
        if known.name in document and document[known.name] is None:
            del document[known.name]
        elif known.shape in AS_TEXT and known.name in document:
            document[known.name] = str(document[known.name])
    for name, value in (("state", row.state), ("externalId", row.external_id), ("description", row.description)):
        if value is not None:
            document[name] = value
    if entity.is_artifact:
        _write_artifact(entity, row, document, v1=v1)
    if entity.parent_field is not None:
        document[entity.parent_field] = str(row.parent_id)
    return document


def _write_artifact(entity: EntityType, row: Row | Shown, document: dict[str, Any], *, v1: bool) -> None:
    """Write what artifacts have; a metric's step and a parameter's type always, since official clients cannot do
    without, whoever wrote the artifact.
    """
    document["artifactType"] = entity.artifact_type
    if isinstance(row, RegistryArtifact | Shown) and row.uri is not None:
        document["uri"] = row.uri
    if entity.artifact_type == METRIC.artifact_type:
        step = document.get("step", 0)
        document["step"] = str(step) if v1 else step
    elif entity is PARAMETER:
        document.setdefault("parameterType", "string")
    for name in OF_A_RUN:
        if name in document:
            number = document.pop(name)
            document |= {} if v1 else {name: str(number)}


def _read(entity: EntityType, body: dict[str, Any], *, ignored: tuple[str, ...], check_required: bool) -> Document:
    document = Document()
    for name, value in body.items():
        known = entity.field(name)
        if name in ignored:
            if name == "id" and value:
                document.id = read_id(value if isinstance(value, str) else repr(value), entity.title)
        elif value is None and (known or name in ("customProperties", "externalId", "description", "artifactType")):
            continue
        elif name == "customProperties":
            document.custom_properties = properties.parse(value)
        elif name in ("externalId", "description"):
            document.values[name] = _text(name, value)
        elif name == "artifactType" and entity.is_artifact:
            _check_artifact_type(entity, value)
        elif known is not None:
            document.values[name] = _field(known, value)
        else:
            raise UnknownField(name)
    if document.values.get("externalId") == "":
        del document.values["externalId"]
    if check_required:
        for required in entity.fields:
            if required.required and document.values.get(required.name) in (None, ""):
                raise MissingField(required.name)
    return document


def _check_artifact_type(entity: EntityType, value: Any) -> None:
    if value != entity.kind:
        asked = value if isinstance(value, str) else json_type(value)
        raise InvalidInput(f"cannot change artifact type from '{entity.kind}' to '{asked}'")


def _field(declared: Field, value: Any) -> Any:
    name = declared.name
    match declared.shape:
        case Shape.TEXT:
            checked = _text(name, value)
            if declared.choices and checked not in declared.choices:
                raise InvalidInput(f"field '{name}' must be one of {', '.join(declared.choices)}, got {checked[:40]!r}")
            return checked
        case Shape.URI:
            return _uri(name, _text(name, value))
        case Shape.TEXTS:
            if not isinstance(value, list):
                raise InvalidInput(f"field '{name}' must be {declared.shape.value}, got {json_type(value)}")
            return [_text(f"{name}[{index}]", item) for index, item in enumerate(value)]
        case Shape.NUMBER:
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise InvalidInput(f"field '{name}' must be a number, got {json_type(value)}")
            return properties.as_double(f"field '{name}'", value)
        case Shape.INTEGER:
            return _integer(name, value)
        case Shape.TIME:
            return _time(name, value)
        case Shape.ID:
            if value == "":
                return None
            if not isinstance(value, str):
                raise InvalidInput(f"field '{name}' must be {declared.shape.value}, got {json_type(value)}")
            return read_id(value, name.removesuffix("Id"))


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"field '{name}' must be a string, got {json_type(value)}")
    limit = MAX_NAME if name in _SHORT else MAX_TEXT
    if len(value) > limit:
        raise InvalidInput(f"field '{name}' has {len(value)} characters; at most {limit} are kept")
    if name == "uri" and len(value.encode()) > MAX_URI_BYTES:
        raise InvalidInput(f"field 'uri' has {len(value.encode())} bytes; at most {MAX_URI_BYTES} are kept")
    return value


def _uri(name: str, value: str) -> str | None:
    """Check a URI (RFC 3986, section 3); an empty one clears the field."""
    if not value:
        return None
    if _URI.match(value) is None:
        raise InvalidInput(f"field '{name}' must be {Shape.URI.value}, got {value[:80]!r}")
    return value


def _time(name: str, value: Any) -> int:
    if not isinstance(value, str) or not _INTEGER.match(value) or not 0 <= int(value) < INT64:
        shown = repr(value)[:40] if isinstance(value, str) else json_type(value)
        raise InvalidInput(f"field '{name}' must be {Shape.TIME.value}, got {shown}")
    return int(value)


def _integer(name: str, value: Any) -> int:
    """Take an integer as v1alpha3 writes it (a number) or as v1 does (a string)."""
    number = value
    if isinstance(value, str) and _INTEGER.match(value):
        number = int(value)
    if isinstance(number, bool) or not isinstance(number, int) or not -INT64 <= number < INT64:
        shown = repr(value)[:40] if isinstance(value, str) else json_type(value)
        raise InvalidInput(f"field '{name}' must be an integer, got {shown}")
    return number
