"""What is declared at start: the YAML of `knative/manifests/`, and the configuration that it refers to.

On a cluster an administrator applies ConfigMap and Secret `zeroflow` (infra/cluster); here the host writes them, since
it knows where its home, its port and its token are.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from zeroflow.knative.local.home import Home
from zeroflow.knative.local.urls import DOMAIN, Urls
from zeroflow.safe_yaml import LOADER

MANIFESTS = Path(__file__).parent.parent / "manifests"
ORDER = ("crds", "config", "eventing", "functions")
MODELS = (
    "STORAGE_EMULATOR_HOST",
    "HF_HOME",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "ZEROFLOW_HF_MIRROR",
    "ZEROFLOW_OCI_MIRROR",
    "ZEROFLOW_ALLOW_PRIVATE_HOSTS",
    "ZEROFLOW_TRUSTED_MODELS",
)
"""Where models may come from, as the operator of this host says it."""
OWN = ("AWS_", "PIP_", "UV_", "SSL_CERT_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "OTEL_", *MODELS)
"""Variables of the host that functions have as well: how stores, package indexes and collectors are reached."""
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
PLATFORM = {"namespace": "zeroflow", "name": "zeroflow"}


def folders() -> Iterator[list[dict[str, Any]]]:
    """Yield what is declared in each folder; one may need what those before it have declared."""
    for folder in ORDER:
        found: list[dict[str, Any]] = []
        for path in sorted((MANIFESTS / folder).glob("*.yaml")):
            with path.open() as file:
                found += [document for document in yaml.load_all(file, LOADER) if document]
        yield found


def configuration(home: Home, urls: Urls, database_url: str) -> list[dict[str, Any]]:
    """Return ConfigMap and Secret `zeroflow`: the environment of every platform function."""
    own = {name: value for name, value in os.environ.items() if name.startswith(OWN) or name.lower() in PROXIES}
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": PLATFORM,
            "data": {
                "ZEROFLOW_HOME": str(home.root),
                "ZEROFLOW_STORE": str(home.store),
                "ZEROFLOW_SCRATCH": str(home.run / "scratch"),
                "ZEROFLOW_NAMESPACE": "zeroflow",
                "ZEROFLOW_DOMAIN": DOMAIN,
                "KUBECONFIG": str(home.kubeconfig),
                "K_SINK": urls.broker("zeroflow", "default"),
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": PLATFORM,
            "stringData": {
                "ZEROFLOW_DATABASE_URL": database_url,
                "ZEROFLOW_TOKEN": home.platform_token(),
                **own,
            },
        },
    ]
