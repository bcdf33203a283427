"""Request bodies: read within a limit, decoded, and checked for unknown and duplicate fields.

Guarantees: nothing is decoded before the whole body is there; a body that is cut, too large, too deep or no object
is refused with a reason. Source: Kubernetes API concepts, "Field validation" (Strict, Warn, Ignore).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from aiohttp import web

from zeroflow.knative.local.api.builtin_schemas import schema_of
from zeroflow.knative.local.api.errors import BadRequest, TooLarge, UnsupportedMediaType
from zeroflow.knative.local.api.kinds import Kind
from zeroflow.knative.local.api.objects import Object
from zeroflow.knative.local.api.rest import protobuf
from zeroflow.knative.local.api.schemas import pruning

MAX_BODY_BYTES: Final = 3 * 1024 * 1024
MAX_DEPTH: Final = 100
QUICK_BYTES: Final = 64 * 1024  # decoded where they arrive, without a thread
JSON_TYPES: Final = ("application/json", "", "application/octet-stream")
YAML_TYPES: Final = ("application/yaml", "text/yaml", "application/x-yaml")

METADATA_FIELDS: Final = frozenset(
    (
        *("name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp"),
        *("deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers"),
        *("managedFields", "clusterName"),
    )
)


@dataclass(slots=True)
class Decoded:
    """A decoded body and the duplicate fields that were seen in it."""

    value: Any
    duplicates: list[str] = field(default_factory=list)


async def read(request: web.Request) -> bytes:
    """Return the whole body; raise TooLarge beyond the limit and BadRequest when the sender stops half-way."""
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise TooLarge(f"Request entity too large: limit is {MAX_BODY_BYTES} bytes")
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise UnsupportedMediaType("compressed bodies are not accepted here: send the body without Content-Encoding")
    body = bytearray()
    try:
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise TooLarge(f"Request entity too large: limit is {MAX_BODY_BYTES} bytes")
    except (web.RequestPayloadError, ConnectionError) as error:
        raise BadRequest(f"the body ended before it was complete: {error}") from error
    return bytes(body)


async def receive(request: web.Request, track_duplicates: bool = True) -> Decoded:
    """Read and decode; what takes long to decode does not hold up other requests."""
    body = await read(request)
    if len(body) <= QUICK_BYTES:
        return decode(body, request.content_type, track_duplicates)
    return await asyncio.to_thread(decode, body, request.content_type, track_duplicates)


def decode(body: bytes, media_type: str, track_duplicates: bool = True) -> Decoded:
    """Decode JSON or YAML by media type."""
    if media_type == protobuf.MEDIA_TYPE:
        return _limited(Decoded(protobuf.decode(body)))
    if media_type in YAML_TYPES or media_type.endswith("+yaml"):
        return _limited(_yaml(body))
    if media_type not in JSON_TYPES and not media_type.endswith("+json"):
        raise UnsupportedMediaType(
            f"the body of the request was in an unknown format ({media_type}) - accepted media types include: "
            "application/json, application/yaml"
        )
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is no complete JSON document: {error}") from error
    decoded = _limited(Decoded(value))
    if track_duplicates and orjson.dumps(value) != body:  # the same bytes again: nothing in them was dropped
        decoded.duplicates = _duplicates(body)
    return decoded


def unknown_fields(kind: Kind, obj: Object) -> Iterator[str]:
    """Yield the unknown fields of metadata and, where the kind says which there are, of the top level."""
    metadata = obj.get("metadata")
    for name in metadata if isinstance(metadata, dict) else ():
        if name not in METADATA_FIELDS:
            yield f"metadata.{name}"
    if kind.fields is not None:
        for name in obj:
            if name not in kind.fields and name not in ("apiVersion", "kind", "metadata"):
                yield name
    schema = schema_of(kind)
    if schema is not None:
        looked_at = set(obj) - {"metadata"} if kind.fields is None else set(obj) & set(kind.fields)
        known = {name: part for name, part in obj.items() if name in looked_at}
        yield from pruning.unknown(schema, known)


def drop_unknown(kind: Kind, obj: Object) -> None:
    """Take unknown fields out, as a server does that has no place for them."""
    for name in set(obj.get("metadata") or ()) - METADATA_FIELDS:
        del obj["metadata"][name]
    if kind.fields is not None:
        for name in set(obj) - {"apiVersion", "kind", "metadata", *kind.fields}:
            del obj[name]
    schema = schema_of(kind)
    if schema is not None:
        pruning.prune(schema, obj)


def _yaml(body: bytes) -> Decoded:
    import yaml

    from zeroflow.safe_yaml import LOADER

    try:
        # The server-side apply of kubectl sends JSON, which is YAML too and is read much faster as what it is.
        return Decoded(orjson.loads(body))
    except orjson.JSONDecodeError:
        pass
    try:
        events = yaml.parse(body, LOADER)
        if any(isinstance(event, yaml.AliasEvent) for event in events):
            raise BadRequest("the YAML document uses aliases, which are not accepted here")
        value = yaml.load(body, LOADER)  # noqa: S506 - one of the two safe loaders
        return Decoded(orjson.loads(orjson.dumps(value)))
    except yaml.YAMLError as error:
        raise BadRequest(f"the body is no YAML document: {' '.join(str(error).split())}") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRequest(f"the YAML document holds what JSON cannot: {error}") from error


def _limited(decoded: Decoded) -> Decoded:
    level: list[Any] = [decoded.value]
    for _ in range(MAX_DEPTH):
        level = [
            part
            for value in level
            if isinstance(value, dict | list)
            for part in (value.values() if isinstance(value, dict) else value)
            if isinstance(part, dict | list)
        ]
        if not level:
            return decoded
    raise BadRequest(f"the body nests deeper than {MAX_DEPTH} levels")


def _duplicates(body: bytes) -> list[str]:
    found: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name, value in items:
            if name in result:
                found.append(name)
            result[name] = value
        return result

    hook: Callable[[list[tuple[str, Any]]], dict[str, Any]] = pairs
    json.loads(body, object_pairs_hook=hook)
    return found
