"""Which headers pass through the proxy, and what it says about itself.

The hop-by-hop ones stay behind (RFC 9110 section 7.6.1), the function sees Forwarded (RFC 7239), X-Forwarded-For,
X-Forwarded-Proto and a traceparent, and never Knative's internal headers. Everything else is unchanged, in order and
in case.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from dataclasses import dataclass

from zeroflow import callers

RawHeaders = Iterable[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection"}
    | {b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
COLLECTORS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_FLAGS = b"01" if any(os.environ.get(name) for name in COLLECTORS) else b"00"
_CALLER = {name.encode() for name in (callers.HEADER, callers.GROUPS, callers.PROOF)}
"""Who asks, as the host knows it; nobody can say it of themselves."""
# `expect` was answered by this host's server already; the length is that of what this host sends.
_TO_POD = HOP_BY_HOP | {
    b"content-length",
    b"http2-settings",
    b"expect",
    b"knative-serving-namespace",
    b"knative-serving-revision",
    b"k-proxy-request",
    b"k-network-probe",
    *_CALLER,
    b"forwarded",
    b"x-forwarded-for",
    b"x-forwarded-proto",
}


@dataclass(frozen=True)
class Passport:
    """What the host knows of who asks, as it tells it to a pod."""

    said: tuple[tuple[bytes, bytes], ...] = ()
    """Headers to add; what the client sent under these names stays behind."""
    hidden: frozenset[bytes] = frozenset()
    """Headers that the pod does not see: a token of this host is no business of a user's function."""


NO_PASSPORT = Passport()


def to_pod(
    given: RawHeaders, *, client: str, scheme: str, passport: Passport = NO_PASSPORT
) -> list[tuple[bytes, bytes]]:
    """Return the headers that a pod is given, Host among them, without those of the framing."""
    named = _named_by_connection(given)
    if passport is not NO_PASSPORT:
        named |= passport.hidden | {name for name, _ in passport.said}
    passed: list[tuple[bytes, bytes]] = []
    forwarded = forwarded_for = host = b""
    proto = scheme.encode()
    traced = False
    for pair in given:
        name, value = pair
        lower = name.lower()
        if lower in _TO_POD:
            if lower == b"forwarded":
                forwarded = value
            elif lower == b"x-forwarded-for":
                forwarded_for = value
            elif lower == b"x-forwarded-proto":
                proto = value
            continue
        if lower in named:
            continue
        if lower == b"host":
            host = value
        elif lower == b"traceparent":
            traced = True
        passed.append(pair)
    address = client.encode()
    node = b'for="[' + address + b']"' if b":" in address else b"for=" + address
    mine = node + b";host=" + _quoted(host) + b";proto=" + proto
    passed.append((b"Forwarded", forwarded + b", " + mine if forwarded else mine))
    passed.append((b"X-Forwarded-For", forwarded_for + b", " + address if forwarded_for else address))
    passed.append((b"X-Forwarded-Proto", proto))
    passed += passport.said
    if not traced:
        passed.append((b"traceparent", traceparent()))
    return passed


def http1_head(method: str, target: str, headers: RawHeaders, length: int | None) -> bytes:
    """Return a request head; `length` of the body, None for a chunked one, 0 with a GET for none at all."""
    lines = [f"{method} {target} HTTP/1.1".encode(), *[name + b": " + value for name, value in headers]]
    if length is None:
        lines.append(b"Transfer-Encoding: chunked")
    elif length or method not in ("GET", "HEAD", "DELETE", "OPTIONS", "TRACE"):
        lines.append(b"Content-Length: %d" % length)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def http2_head(
    method: str, target: str, headers: RawHeaders, length: int | None, *, trailers: bool
) -> list[tuple[bytes, bytes]]:
    """Return a request head as HTTP/2 has it (RFC 9113 section 8.3.1); `trailers`: the client takes them."""
    authority = b""
    fields = []
    for name, value in headers:
        lower = name.lower()
        if lower == b"host":
            authority = value
        else:
            fields.append((lower, value))
    if trailers:
        fields.append((b"te", b"trailers"))
    if length:
        fields.append((b"content-length", b"%d" % length))
    pseudo = [(b":method", method.encode()), (b":scheme", b"http"), (b":path", target.encode())]
    return [*pseudo, (b":authority", authority), *fields]


def from_pod(given: RawHeaders) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer that go on to the client, without those of its framing."""
    named = _named_by_connection(given)
    return [pair for pair in given if (lower := pair[0].lower()) not in HOP_BY_HOP and lower not in named]


def decoded(given: RawHeaders) -> list[tuple[str, str]]:
    """Return headers as text."""
    return [(name.decode("latin-1"), value.decode("utf-8", "replace")) for name, value in given]


def traceparent() -> bytes:
    """Return a new W3C trace context, to be recorded where this host's functions have a collector to send spans to."""
    return b"00-%032x-%016x-%s" % (random.getrandbits(128) or 1, random.getrandbits(64) or 1, _FLAGS)


def _named_by_connection(given: RawHeaders) -> frozenset[bytes]:
    for name, value in given:
        if len(name) == 10 and name.lower() == b"connection" and value.lower() not in (b"keep-alive", b"close"):
            return frozenset(word.strip().lower() for word in value.split(b","))
    return frozenset()


def _quoted(host: bytes) -> bytes:
    """Quote what RFC 7239 does not allow in a token: the colon before a port."""
    return b'"' + host.replace(b"\\", b"").replace(b'"', b"") + b'"' if b":" in host else host
