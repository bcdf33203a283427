"""HTTP to places that a user named, without letting the user reach what only this machine can.

A host name is resolved once, every address it has must be a public one, and the connection goes to that very address:
a name that answers otherwise the second time (DNS rebinding) changes nothing. Redirects are followed by hand, each
target checked the same way, and never from https to http. Loopback, link-local (cloud metadata), private and other
special addresses are refused, unless the operator allows a host by name.

Source: OWASP Server-Side Request Forgery Prevention; IANA special-purpose address registries (ipaddress.is_global).
"""

import ipaddress
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

import urllib3

from zeroflow.errors import Forbidden, InvalidInput, NotFound, Unavailable

MAX_REDIRECTS = 5
CHUNK_BYTES = 1 << 20
TIMEOUT = urllib3.Timeout(connect=10.0, read=60.0)
_REDIRECTS = (301, 302, 303, 307, 308)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_LEADS_INSIDE = tuple(
    ipaddress.ip_network(network)
    for network in ("168.63.129.16/32", "192.0.0.0/24", "64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96", "fec0::/10")
)
"""Not public, though `ipaddress` takes them for global: clouds' own services (Azure, Oracle), and IPv6 addresses that
stand for others (NAT64 of a site, IPv4-compatible and -translated ones) or for a site."""
_METADATA = tuple(map(ipaddress.ip_address, ("168.63.129.16", "192.0.0.192", "100.100.100.200", "fd00:ec2::254")))


@dataclass(frozen=True)
class Guard:
    """Which hosts may be asked, and with which headers."""

    private_hosts: frozenset[str] = frozenset()
    """`host` or `host:port` that may have any address."""
    headers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Headers by host; they never go to another one."""

    @contextmanager
    def get(self, url: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> Iterator["Reply"]:
        """Ask a URL and follow redirects; raise Forbidden, NotFound, InvalidInput or Unavailable."""
        own_host = urlsplit(url).hostname
        for _ in range(MAX_REDIRECTS + 1):
            target = urlsplit(url)
            own = headers if target.hostname == own_host else None  # a redirect elsewhere gets no credentials
            pool, answer = self._ask(url, method, {**self.headers.get(str(target.hostname), {}), **(own or {})})
            try:
                location = answer.headers.get("Location")
                if answer.status in _REDIRECTS and location:
                    following = urljoin(url, location)
                    if target.scheme == "https" and urlsplit(following).scheme != "https":
                        raise Forbidden(f"{_shown(url)} leads from https to {_shown(following)}")
                    url = following
                    continue
                _check_status(url, answer.status)
                yield Reply(url, answer)
                return
            finally:
                answer.release_conn()
                pool.close()
        raise Unavailable(f"{_shown(url)} redirects more than {MAX_REDIRECTS} times")

    def address_of(self, host: str, port: int) -> str:
        """Return the address to connect to; raise Forbidden when the host has one that is not public."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise Unavailable(f"host {host!r} is not found: {error.strerror or error}") from error
        addresses = [str(entry[4][0]) for entry in found]
        if not {host.lower(), f"{host.lower()}:{port}"} & self.private_hosts:
            for address in addresses:
                if not is_public(address):
                    raise Forbidden(
                        f"host {host!r} has the address {address}, which is not public: models are not fetched from "
                        "loopback, link-local or private networks (the operator may allow a host by "
                        "ZEROFLOW_ALLOW_PRIVATE_HOSTS)"
                    )
        return addresses[0]

    def _ask(
        self, url: str, method: str, headers: Mapping[str, str]
    ) -> tuple[urllib3.HTTPConnectionPool, urllib3.BaseHTTPResponse]:
        target = urlsplit(url)
        if target.scheme not in ("http", "https") or not target.hostname:
            raise Forbidden(f"{_shown(url)} is neither http nor https")
        if target.username or target.password:
            raise InvalidInput(f"{_shown(url)} carries a password: give headers by the service account's Secret")
        try:
            port = target.port or (443 if target.scheme == "https" else 80)
        except ValueError as error:
            raise InvalidInput(f"{_shown(url)}: {error}") from error
        address = self.address_of(target.hostname, port)
        pool: urllib3.HTTPConnectionPool
        if target.scheme == "https":
            pool = urllib3.HTTPSConnectionPool(
                address, port, timeout=TIMEOUT, server_hostname=target.hostname, assert_hostname=target.hostname
            )
        else:
            pool = urllib3.HTTPConnectionPool(address, port, timeout=TIMEOUT)
        sent = {"Host": target.netloc, "User-Agent": "zeroflow", "Accept-Encoding": "identity", **headers}
        path = (target.path or "/") + (f"?{target.query}" if target.query else "")
        try:
            return pool, pool.request(
                method, path, headers=sent, redirect=False, retries=False, preload_content=False, assert_same_host=False
            )
        except urllib3.exceptions.HTTPError as error:
            pool.close()
            raise Unavailable(f"{_shown(url)} does not answer: {type(error).__name__}") from error


class Reply:
    """An answer of 200 whose body is still to be read."""

    def __init__(self, url: str, answer: urllib3.BaseHTTPResponse) -> None:
        self.url, self.headers = url, answer.headers
        self._answer = answer

    def chunks(self, max_bytes: int) -> Iterator[bytes]:
        """Yield the body; raise InvalidInput when it is larger than allowed, Unavailable when it breaks off."""
        length = self.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) > max_bytes:
            raise InvalidInput(f"{_shown(self.url)} has {length} bytes, {max_bytes} are allowed")
        total = 0
        try:
            for chunk in self._answer.stream(CHUNK_BYTES, decode_content=False):
                total += len(chunk)
                if total > max_bytes:
                    raise InvalidInput(f"{_shown(self.url)} has more than the {max_bytes} bytes that are allowed")
                yield chunk
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"{_shown(self.url)} broke off after {total} bytes") from error

    def read(self, max_bytes: int) -> bytes:
        """Return the whole body."""
        return b"".join(self.chunks(max_bytes))


def is_public(address: str) -> bool:
    """Say whether an address is one that anybody on the internet could reach."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return found.is_global and not found.is_multicast and not _within(found, _LEADS_INSIDE)


def gives_credentials(host: str) -> bool:
    """Say whether a host, however it is written, has an address where a cloud keeps its machines' credentials."""
    try:
        found = {str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):  # no such host: there is nothing to be had from it
        return False
    addresses = [ipaddress.ip_address(each) for each in found]
    plain = [getattr(each, "ipv4_mapped", None) or each for each in addresses]
    return any(each.is_link_local or each in _METADATA for each in plain)


def _within(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
    networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network],
) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _check_status(url: str, status: int) -> None:
    if status == 200:
        return
    if status in (404, 410):
        raise NotFound(f"there is nothing at {_shown(url)}: it answers {status}")
    if status in (401, 403):
        raise Forbidden(f"{_shown(url)} answers {status}: check the credentials of the service account")
    raise Unavailable(f"{_shown(url)} answers {status}")


def _shown(url: str) -> str:
    """Return a URL without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:200]
