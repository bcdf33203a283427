"""The head of a request as it came, and whether it is of the plain kind: small, whole, and to be answered once.

What is not plain - an upgrade, a large body or one of unknown length, HTTP/1.0, a target that is no path, anything
odd - is no error here: aiohttp's server reads the same bytes and says what is to be said. Source: RFC 9112.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

import httptools
from multidict import CIMultiDict

from zeroflow.knative.local.serving.headers import NO_PASSPORT

SMALL_BODY_BYTES = 64 << 10
MOST_HEAD_BYTES = 64 << 10
"""What a request line and its fields may be together, as the clients' long filters need it."""
END = b"\r\n\r\n"
_PATH = re.compile(rb"/(?!/)[!\"$-~]*")  # what is printable, without a fragment
_LENGTH = re.compile(rb"[0-9]{1,9}")
_NOT_PLAIN = frozenset({b"upgrade", b"expect", b"transfer-encoding", b"http2-settings"})


class Head:
    """One request's head."""

    def __init__(self, method: str, target: str, fields: list[tuple[bytes, bytes]], client: str, scheme: str) -> None:
        self.method, self.target, self.fields, self.client, self.scheme = method, target, fields, client, scheme
        self.host = ""
        self.passport = NO_PASSPORT
        """What a Service is told of who asks."""
        self.length = 0
        """Of the body in bytes."""
        self.keep = True
        """Whether another request may follow on the connection."""
        self.trailers = False
        """Whether the client takes trailers."""

    @cached_property
    def headers(self) -> CIMultiDict[str]:
        """The headers as text."""
        return CIMultiDict(
            (name.decode("latin-1"), value.decode("utf-8", "surrogateescape")) for name, value in self.fields
        )


class HeadReader:
    """Reads the heads of one connection, one after another."""

    def __init__(self, client: str, scheme: str) -> None:
        self._client, self._scheme = client, scheme
        self._url = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._done = self._keep = False
        self._parser: Any = None

    def read(self, data: bytes) -> Head | None:
        """Return the head that `data` is, up to and with its empty line; None when it is not of the plain kind."""
        self._url, self._fields, self._done = b"", [], False
        parser = self._parser = self._parser or httptools.HttpRequestParser(self)
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return None
        finally:
            self._parser = None
        if not self._done or parser.get_http_version() != "1.1" or not _PATH.fullmatch(self._url):
            return None
        method = parser.get_method().decode()
        head = Head(method, self._url.decode(), self._fields, self._client, self._scheme)
        head.keep = self._keep
        if method == "CONNECT" or not self._is_plain(head):
            return None
        if not head.length:
            self._parser = parser  # it has seen a whole request: the next one may follow
        return head

    def _is_plain(self, head: Head) -> bool:
        hosts = 0
        for name, value in head.fields:
            lower = name.lower()
            if lower in _NOT_PLAIN:
                return False
            if lower == b"host":
                hosts += 1
                head.host = value.decode("latin-1")
            elif lower == b"content-length":
                if not _LENGTH.fullmatch(value) or int(value) > SMALL_BODY_BYTES:
                    return False
                head.length = int(value)
            elif lower == b"te":
                head.trailers = b"trailers" in value
        return hosts == 1

    # what the parser calls

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        self._done = True
        self._keep = bool(self._parser.should_keep_alive())  # the parser forgets it
