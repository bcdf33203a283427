"""The kubeconfig that points kubectl and the Kubernetes clients at this host."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final, Protocol

NAME: Final = "zeroflow"


class Root(Protocol):
    """The host's home folder."""

    @property
    def root(self) -> Path: ...


def write_kubeconfig(home: Root, url: str, token: str | None = None) -> Path:
    """Write `<home>/kubeconfig` whole or not at all, readable by its owner only, and return its path.

    JSON is YAML: no client minds, and the host need not load a YAML library to write five lines.
    """
    user: dict[str, Any] = {"token": token} if token else {}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": NAME, "cluster": {"server": url}}],
        "users": [{"name": NAME, "user": user}],
        "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME, "namespace": "default"}}],
        "current-context": NAME,
    }
    path = home.root / "kubeconfig"
    scratch = home.root / "kubeconfig.new"
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(config, file, indent=2)
        file.write("\n")
    scratch.replace(path)
    return path
