"""The kubeconfig that points kubectl and the Kubernetes clients at this host."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

NAME: Final = "zeroflow"


class Root(Protocol):
    """The host's home folder."""

    @property
    def root(self) -> Path: ...


def write_kubeconfig(
    home: Root, servers: Mapping[str, str], token: str | None = None, authority: bytes | None = None
) -> Path:
    """Write `<home>/kubeconfig` whole or not at all, readable by its owner only, and return its path.

    `servers` are URLs by context name, the first of which is current; `authority` is the PEM certificate that vouches
    for them. JSON is YAML: no client minds, and the host need not load a YAML library to write five lines.
    """
    user: dict[str, Any] = {"token": token} if token else {}
    trust = {"certificate-authority-data": b64encode(authority).decode()} if authority else {}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": url, **trust}} for name, url in servers.items()],
        "users": [{"name": NAME, "user": user}],
        "contexts": [
            {"name": name, "context": {"cluster": name, "user": NAME, "namespace": "default"}} for name in servers
        ],
        "current-context": next(iter(servers)),
    }
    path = home.root / "kubeconfig"
    scratch = home.root / "kubeconfig.new"
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(config, file, indent=2)
        file.write("\n")
    scratch.replace(path)
    return path
