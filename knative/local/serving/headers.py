"""Which headers pass through the proxy, and what it says about itself.

The hop-by-hop ones stay behind (RFC 9110 section 7.6.1), the function sees Forwarded (RFC 7239), X-Forwarded-For,
X-Forwarded-Proto and a traceparent, and never Knative's internal headers. Everything else is unchanged, in order and
in case.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

RawHeaders = Iterable[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection"}
    | {b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
# `expect` was answered by this host's server already.
_TO_POD = HOP_BY_HOP | {
    b"expect",
    b"knative-serving-namespace",
    b"knative-serving-revision",
    b"k-proxy-request",
    b"k-network-probe",
    b"forwarded",
    b"x-forwarded-for",
    b"x-forwarded-proto",
}


def request_head(
    method: str,
    target: str,
    given: RawHeaders,
    *,
    client: str,
    scheme: str,
    length: int | None,
) -> bytes:
    """Return the request head for a pod; `length` of the body, None for a chunked one, 0 with a GET for none at all."""
    named = _named_by_connection(given)
    lines = [f"{method} {target} HTTP/1.1".encode()]
    forwarded = forwarded_for = host = b""
    proto = scheme.encode()
    traced = False
    for name, value in given:
        lower = name.lower()
        if lower in _TO_POD:
            if lower == b"forwarded":
                forwarded = value
            elif lower == b"x-forwarded-for":
                forwarded_for = value
            elif lower == b"x-forwarded-proto":
                proto = value
            continue
        if lower in named or lower == b"content-length":
            continue
        if lower == b"host":
            host = value
        elif lower == b"traceparent":
            traced = True
        lines.append(name + b": " + value)
    address = client.encode()
    node = b'for="[' + address + b']"' if b":" in address else b"for=" + address
    mine = node + b";host=" + _quoted(host) + b";proto=" + proto
    lines.append(b"Forwarded: " + (forwarded + b", " + mine if forwarded else mine))
    lines.append(b"X-Forwarded-For: " + (forwarded_for + b", " + address if forwarded_for else address))
    lines.append(b"X-Forwarded-Proto: " + proto)
    if not traced:
        lines.append(b"traceparent: " + traceparent())
    if length is None:
        lines.append(b"Transfer-Encoding: chunked")
    elif length or method not in ("GET", "HEAD", "DELETE", "OPTIONS", "TRACE"):
        lines.append(b"Content-Length: %d" % length)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def response_headers(given: RawHeaders) -> list[tuple[str, str]]:
    """Return the headers of an answer that go on to the client, without those of its framing."""
    named = _named_by_connection(given)
    return [
        (name.decode("latin-1"), value.decode("utf-8", "replace"))
        for name, value in given
        if (lower := name.lower()) not in HOP_BY_HOP and lower not in named
    ]


def traceparent() -> bytes:
    """Return a new W3C trace context that nobody records."""
    return b"00-%032x-%016x-00" % (random.getrandbits(128) or 1, random.getrandbits(64) or 1)


def _named_by_connection(given: RawHeaders) -> frozenset[bytes]:
    for name, value in given:
        if len(name) == 10 and name.lower() == b"connection" and value.lower() not in (b"keep-alive", b"close"):
            return frozenset(word.strip().lower() for word in value.split(b","))
    return frozenset()


def _quoted(host: bytes) -> bytes:
    """Quote what RFC 7239 does not allow in a token: the colon before a port."""
    return b'"' + host.replace(b"\\", b"").replace(b'"', b"") + b'"' if b":" in host else host
