"""The URLs that the embedded host prints, decided in one place.

Knative's own form is `http://<service>.<namespace>.<domain>`. Names below `localhost` are loopback by RFC 6761, and
browsers and curl know it, but many C libraries (and so Python) do not resolve them. The host asks once, at start, and
prints the form that works from every client of this machine; it answers both.
"""

import socket
from dataclasses import dataclass

from zeroflow.errors import InvalidInput

DOMAIN = "localhost"


@dataclass(frozen=True)
class Urls:
    """URLs of the one port of this host."""

    port: int
    host: str = "localhost"
    names_resolve: bool = False
    """Whether this machine resolves `<anything>.localhost`."""

    @property
    def base(self) -> str:
        """The bare host: the platform's own APIs."""
        return f"http://{self.host}:{self.port}"

    def service(self, namespace: str, name: str, tag: str | None = None) -> str:
        """Return the URL of a Service, or of one tag of its Route."""
        label = f"{tag}-{name}" if tag else name
        if self.names_resolve:
            return f"http://{label}.{namespace}.{DOMAIN}:{self.port}"
        return self.inside(namespace, label)

    def inside(self, namespace: str, label: str) -> str:
        """Return the URL of a Service by path, which a Service that is local to the cluster has as well."""
        return f"{self.base}/serving/{namespace}/{label}"

    def broker(self, namespace: str, name: str) -> str:
        """Return the ingress URL of a Broker."""
        return f"{self.base}/eventing/{namespace}/{name}"

    def channel(self, namespace: str, name: str) -> str:
        """Return the ingress URL of a channel."""
        return f"{self.base}/channels/{namespace}/{name}"

    def transform(self, namespace: str, name: str) -> str:
        """Return the URL of an EventTransform."""
        return f"{self.base}/transforms/{namespace}/{name}"

    def request_reply(self, namespace: str, name: str) -> str:
        """Return the URL of a RequestReply."""
        return f"{self.base}/requestreplies/{namespace}/{name}"

    def jobsink(self, namespace: str, name: str) -> str:
        """Return the URL of a JobSink."""
        return f"{self.base}/jobsinks/{namespace}/{name}"


def local_names_resolve() -> bool:
    """Ask the C library whether it resolves names below `localhost`."""
    try:
        return bool(socket.getaddrinfo(f"zeroflow.{DOMAIN}", 80, type=socket.SOCK_STREAM))
    except OSError:
        return False


@dataclass(frozen=True)
class Target:
    """A Service named by a Host header; `name` may carry a tag (`<tag>-<service>`)."""

    namespace: str
    name: str


def target_of(host: str) -> Target | None:
    """Read the Service that a Host header names; None for the bare host.

    Raises InvalidInput for a host that is not this machine: a page in a browser must not reach the platform through a
    name of its own that it points at loopback (DNS rebinding).
    """
    name = (host.rsplit(":", 1)[0] if not host.endswith("]") else host).lower().rstrip(".")
    if name in (DOMAIN, "127.0.0.1", "[::1]"):
        return None
    labels = name.split(".")
    if labels[-1] == DOMAIN and len(labels) == 3:
        return Target(labels[1], labels[0])
    if labels[-1] == DOMAIN and len(labels) == 2:
        return Target("default", labels[0])
    if labels[-3:] == ["svc", "cluster", "local"] and len(labels) == 5:
        return Target(labels[1], labels[0])
    raise InvalidInput(
        f"host {host!r} is not served here; use localhost, <service>.<namespace>.localhost or 127.0.0.1 "
        "(more names: zeroflow up --allow-host NAME)"
    )
