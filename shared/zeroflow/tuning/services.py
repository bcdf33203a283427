"""Algorithms of the administrator's own, by Katib's gRPC Suggestion service: KatibConfig says who answers for which.

    runtime:
      suggestions:
        - algorithmName: mine
          image: example/suggestion:v1    # what Katib runs on a cluster
          address: localhost:6789         # who answers here

Source: Katib v1beta1 KatibConfig (ConfigMap katib-config, runtime.suggestions); `address` is ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import yaml

from zeroflow import safe_yaml
from zeroflow.tuning.spec import Object

FindConfigMap = Callable[[str, str], Object | None]
"""(namespace, name) -> the ConfigMap."""
NAMESPACE, NAME, KEY = "kubeflow", "katib-config", "katib-config.yaml"
ADDRESS = re.compile(r"[^\s/:]+:[0-9]{1,5}")


def address_of(algorithm: str, find: FindConfigMap) -> str | None:
    """Return host:port of the service that suggests by an algorithm, None when KatibConfig names none."""
    text = ((find(NAMESPACE, NAME) or {}).get("data") or {}).get(KEY)
    try:
        runtime = safe_yaml.load(text or "")["runtime"]
        named = [each["address"] for each in runtime["suggestions"] if each["algorithmName"] == algorithm]
    except (yaml.YAMLError, LookupError, TypeError, AttributeError):
        return None
    address: Any = named[0] if named else None
    return address if isinstance(address, str) and ADDRESS.fullmatch(address) else None
