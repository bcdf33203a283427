"""Where deliveries go: what `ref` and `uri` of a Destination lead to on this host.

A Service is posted to through the activator; a Broker, JobSink, channel or EventTransform is inside this process (a
Sequence or Parallel is its first channel), everything else is reached over HTTP.
URI rules (the security stance of the host): http and https only; names of this host and of a cluster's own services
(`<service>.<namespace>.svc.cluster.local`, broker-ingress, job-sink, `<channel>-kn-channel`) are taken to their rooms
without an HTTP hop;
loopback and link-local addresses are refused, as names and after resolution (`http`).
Source: Knative's Destination (duck/v1): `uri` is resolved against `ref` as a relative reference (RFC 3986).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from zeroflow.errors import InvalidInput
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.eventing.errors import InvalidSpec, Unresolved
from zeroflow.knative.local.urls import Urls, target_of

SERVICE = "Service.serving.knative.dev"
BROKER = "Broker.eventing.knative.dev"
JOB_SINK = "JobSink.sinks.knative.dev"
CHANNEL = "Channel.messaging.knative.dev"
IN_MEMORY_CHANNEL = "InMemoryChannel.messaging.knative.dev"
SEQUENCE = "Sequence.flows.knative.dev"
PARALLEL = "Parallel.flows.knative.dev"
EVENT_TRANSFORM = "EventTransform.eventing.knative.dev"
CHANNEL_SUFFIX = "-kn-channel"
"""A channel's address on a cluster is the Service `<channel>-kn-channel` of its namespace."""
_CLUSTER = ".svc.cluster.local"
_REFERENCE_FIELDS = ("apiVersion", "kind", "name")


Reference = tuple[str, str, str]
"""Kind key, namespace and name of an object."""


@dataclass(frozen=True, slots=True)
class ToService:
    """A Knative Service of this host; `path` starts with a slash and may carry a query."""

    namespace: str
    name: str
    path: str = "/"


@dataclass(frozen=True, slots=True)
class ToBroker:
    """The ingress of a Broker of this host."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class ToJobSink:
    """A JobSink of this host."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class ToChannel:
    """A channel of this host."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class ToTransform:
    """An EventTransform of this host."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class ToUri:
    """Any HTTP receiver outside."""

    uri: str


Target = ToService | ToBroker | ToJobSink | ToChannel | ToTransform | ToUri
FIRST_CHANNEL = {
    CHANNEL: "{}",
    IN_MEMORY_CHANNEL: "{}",
    SEQUENCE: "{}-kn-sequence-0",
    PARALLEL: "{}-kn-parallel",
}
"""The name of the channel that receives for each kind."""
_ROOMS: dict[str, Callable[[str, str], Target]] = {
    "eventing": ToBroker,
    "jobsinks": ToJobSink,
    "channels": ToChannel,
    "transforms": ToTransform,
}
"""What the paths of this host lead to."""
RECEIVERS = frozenset({SERVICE, BROKER, JOB_SINK, EVENT_TRANSFORM, *FIRST_CHANNEL})


@dataclass(frozen=True, slots=True)
class Destination:
    """A resolved destination and the URI that its resource's status shows."""

    target: Target
    uri: str


def validate(destination: Any, path: str, *, required: bool = True) -> None:
    """Check the form of a Destination; raise InvalidSpec."""
    if not destination:
        if required:
            raise InvalidSpec(f"{path}.ref, {path}.uri", "expected at least one, got none")
        return
    if not isinstance(destination, dict):
        raise InvalidSpec(path, "must be an object with ref, uri or both")
    reference, uri = destination.get("ref"), destination.get("uri")
    if not reference and not uri:
        raise InvalidSpec(f"{path}.ref, {path}.uri", "expected at least one, got none")
    if uri is not None and not isinstance(uri, str):
        raise InvalidSpec(f"{path}.uri", "must be a string")
    if reference:
        if not isinstance(reference, dict):
            raise InvalidSpec(f"{path}.ref", "must be an object with apiVersion, kind and name")
        for field in _REFERENCE_FIELDS:
            if not isinstance(reference.get(field), str) or not reference[field]:
                raise InvalidSpec(f"{path}.ref.{field}", "missing")
        if uri and (urlsplit(uri).scheme or uri.startswith("//")):
            raise InvalidSpec(f"{path}.uri", f"beside ref a URI is relative, such as /path?a=1, not {uri!r}")
    elif uri:
        check_uri(uri, f"{path}.uri")


def check_uri(uri: str, path: str) -> None:
    """Refuse what is no absolute http(s) URI; addresses are judged when the destination is resolved."""
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidSpec(path, f"{uri!r} is not a URI: {error}") from error
    if parts.scheme not in {"http", "https"} or not host:
        raise InvalidSpec(path, f"{uri!r} must be an absolute http or https URI when there is no ref")
    if parts.username or parts.password:
        raise InvalidSpec(path, "must not carry a user name or password")


def with_namespace(destination: Any, namespace: str) -> Any:
    """Return the destination with the namespace of its owner where the reference names none."""
    if not isinstance(destination, dict) or not isinstance(destination.get("ref"), dict):
        return destination
    return {**destination, "ref": {"namespace": namespace, **destination["ref"]}}


def reference_key(destination: Mapping[str, Any] | None, namespace: str) -> Reference | None:
    """Return (kind key, namespace, name) of what the destination refers to."""
    reference = (destination or {}).get("ref")
    if not reference:
        return None
    group = str(reference["apiVersion"]).rpartition("/")[0]
    return f"{reference['kind']}.{group}", reference.get("namespace") or namespace, reference["name"]


def references(namespace: str, *given: Mapping[str, Any] | None) -> set[Reference]:
    """Return the objects that destinations refer to; `namespace` is that of their owner."""
    return {key for each in given if (key := reference_key(each, namespace)) is not None}


def is_loopback_or_link_local(address: str) -> bool:
    """Tell whether a literal address must not be reached from a URI that a user gave."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None) or parsed
    return bool(mapped.is_loopback or mapped.is_link_local or mapped.is_unspecified or mapped.is_multicast)


class Resolver:
    """Turns Destinations into targets, by what the store holds now."""

    def __init__(self, store: Store, urls: Urls, *, allow_loopback: bool) -> None:
        self._store, self._urls, self._allow_loopback = store, urls, allow_loopback
        self._rooms: dict[str, tuple[Callable[[str, str], Target], Callable[[str, str], str]]] = {
            BROKER: (ToBroker, urls.broker),
            JOB_SINK: (ToJobSink, urls.jobsink),
            EVENT_TRANSFORM: (ToTransform, urls.transform),
        }

    def resolve(self, destination: Mapping[str, Any], namespace: str) -> Destination:
        """Return where it leads; raise Unresolved with a reason and the missing thing."""
        uri = destination.get("uri")
        key = reference_key(destination, namespace)
        if key is None:
            return self._of_uri(str(uri))
        kind, where, name = key
        if kind not in RECEIVERS:
            raise Unresolved(
                "UnsupportedReference",
                f"{kind} cannot receive events here: refer to one of {', '.join(sorted(RECEIVERS))}, or give a uri",
            )
        found = self._store.find(kind, where, name)
        if found is None:
            raise Unresolved("NotFound", f'{kind.partition(".")[0].lower()} "{name}" not found in namespace "{where}"')
        if kind in FIRST_CHANNEL:
            channel = FIRST_CHANNEL[kind].format(name)
            return Destination(ToChannel(where, channel), self._urls.channel(where, channel))
        if kind in self._rooms:
            room, url_of = self._rooms[kind]
            return Destination(room(where, name), url_of(where, name))
        path = urljoin("/", uri) if uri else "/"
        return Destination(ToService(where, name, path), self._urls.service(where, name) + (path if uri else ""))

    def _of_uri(self, uri: str) -> Destination:
        parts = urlsplit(uri)
        host = (parts.hostname or "").lower()
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        segments = [segment for segment in parts.path.split("/") if segment]
        if host.endswith(_CLUSTER):
            name, _, namespace = host.removesuffix(_CLUSTER).partition(".")
            return Destination(self._in_cluster(name, namespace, segments, path, uri), uri)
        if (
            parts.port == self._urls.port
            and parts.scheme == "http"
            and (target := self._own(parts.netloc, segments, path))
        ):
            return Destination(target, uri)
        if not self._allow_loopback and (
            host == "localhost" or host.endswith(".localhost") or is_loopback_or_link_local(host)
        ):
            raise Unresolved(
                "AddressNotAllowed",
                f"{uri}: loopback and link-local addresses are not delivered to; for a Service of this host use ref",
            )
        return Destination(ToUri(uri), uri)

    def _in_cluster(self, name: str, namespace: str, segments: list[str], path: str, uri: str) -> Target:
        if namespace == "knative-eventing" and name in {"broker-ingress", "job-sink"}:
            if len(segments) != 2:
                raise Unresolved("InvalidURI", f"{uri}: the path must be /<namespace>/<name>")
            return (ToBroker if name == "broker-ingress" else ToJobSink)(*segments)
        if not namespace or "." in namespace:
            raise Unresolved("InvalidURI", f"{uri}: expected <service>.<namespace>{_CLUSTER}")
        if name.endswith(CHANNEL_SUFFIX):
            return ToChannel(namespace, name.removesuffix(CHANNEL_SUFFIX))
        return ToService(namespace, name, path)

    def _own(self, netloc: str, segments: list[str], path: str) -> Target | None:
        """Take a URI with this host's port to its room."""
        try:
            service = target_of(netloc)
        except InvalidInput:
            return None
        if service is not None and service.name.endswith(CHANNEL_SUFFIX):
            return ToChannel(service.namespace, service.name.removesuffix(CHANNEL_SUFFIX))
        if service is not None:
            return ToService(service.namespace, service.name, path)
        if len(segments) >= 3 and segments[0] == "serving":
            rest = "/" + path.lstrip("/").split("/", 3)[3] if len(segments) > 3 else "/"
            query = path.partition("?")[2]
            return ToService(segments[1], segments[2], rest if "?" in rest or not query else f"{rest}?{query}")
        if len(segments) == 3 and (room := _ROOMS.get(segments[0])):
            return room(segments[1], segments[2])
        return None
