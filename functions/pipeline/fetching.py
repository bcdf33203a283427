"""Pipeline packages by URL: from our stores, or by HTTP from anywhere but this machine and its networks.

A URL is a client's word, so it may not become a way into what only this machine can reach: a host is asked at an
address that was checked before (no second look-up in between), redirects are checked the same way, and addresses that
are not global are refused unless the operator trusts the host (ZEROFLOW_TRUSTED_HOSTS).
"""

import ipaddress
import socket
import tempfile
from collections.abc import Collection
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import urllib3

from zeroflow.artifacts import Stores
from zeroflow.artifacts.uris import SCHEMES
from zeroflow.errors import InvalidInput, NotFound
from zeroflow.functions.pipeline.documents import MAX_BYTES

MAX_REDIRECTS = 3
TIMEOUT = urllib3.Timeout(connect=5.0, read=10.0)


def fetch(url: str, stores: Stores, trusted: Collection[str] = ()) -> bytes:
    """Return what lies at a URL, cut off one byte after the limit; raise InvalidInput or NotFound naming the fault."""
    if url.partition("://")[0] in SCHEMES:
        return _stored(url, stores)
    for _ in range(MAX_REDIRECTS + 1):
        answer = _ask(url, trusted)
        try:
            if answer.status in (301, 302, 303, 307, 308):
                url = urljoin(url, answer.headers.get("Location", ""))
                continue
            if answer.status != 200:
                raise NotFound(f"{url} answered {answer.status}")
            return answer.read(MAX_BYTES + 1, decode_content=True)
        except urllib3.exceptions.HTTPError as error:
            raise InvalidInput(f"{url} cannot be read: {error}") from error
        finally:
            answer.release_conn()
            answer.close()
    raise InvalidInput(f"{url}: more than {MAX_REDIRECTS} redirects")


def _stored(uri: str, stores: Stores) -> bytes:
    with tempfile.TemporaryDirectory(prefix="zeroflow-package-") as scratch:
        target = Path(scratch) / "package"
        stores.fetch(uri, target)
        if not target.is_file():
            raise InvalidInput(f"{uri} is a directory; expected a pipeline package")
        with target.open("rb") as file:
            return file.read(MAX_BYTES + 1)


def _ask(url: str, trusted: Collection[str]) -> urllib3.BaseHTTPResponse:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    except ValueError as error:
        raise InvalidInput(f"{url!r} is no URL: {error}") from error
    if not host or not port:
        raise InvalidInput(f"{url!r} cannot be fetched: expected https://, http://, store:// or s3://")
    address = _address(host, port, f"{host}:{port}" in trusted)
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    headers = {"Host": parts.netloc.rpartition("@")[2]}
    pool: urllib3.HTTPConnectionPool
    if parts.scheme == "https":
        pool = urllib3.HTTPSConnectionPool(address, port, server_hostname=host, assert_hostname=host)
    else:
        pool = urllib3.HTTPConnectionPool(address, port)
    try:
        return pool.request(
            "GET", path, headers=headers, timeout=TIMEOUT, retries=False, redirect=False, preload_content=False
        )
    except urllib3.exceptions.HTTPError as error:
        raise InvalidInput(f"{url} cannot be read: {error}") from error


def _address(host: str, port: int, trusted: bool) -> str:
    """Return an address of a host, all of whose addresses may be asked."""
    try:
        found = [str(item[4][0]) for item in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError) as error:
        raise InvalidInput(f"{host} cannot be reached: {error}") from error
    if not trusted and not all(ipaddress.ip_address(one.partition("%")[0]).is_global for one in found):
        raise InvalidInput(
            f"{host} is an address of this machine or of a private network, which is not fetched from unless"
            f" ZEROFLOW_TRUSTED_HOSTS names {host}:{port}; or POST the file to /pipelines/upload"
        )
    return found[0]
