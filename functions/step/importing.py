"""Importers: an artifact that is already somewhere becomes one of the run, by reference.

Bytes in our stores are hashed, so that what is read later is known to be the same; those of other schemes (gs://,
https://, oci://, ...) are not fetched, and have no hash. Nothing is copied.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zeroflow.artifacts import Content, Stores, content
from zeroflow.artifacts.uris import SCHEMES
from zeroflow.errors import InvalidInput, NotFound
from zeroflow.functions.step.log import Log
from zeroflow.functions.step.outputs import Outputs


def imported(importer: Mapping[str, Any], component: Mapping[str, Any], stores: Stores, log: Log) -> Outputs:
    """Return the artifact; raise NotFound when our stores should hold it and do not."""
    uri, metadata = importer.get("uri"), importer.get("metadata") or {}
    if not isinstance(uri, str) or "://" not in uri:
        raise InvalidInput(f"the importer needs a URI such as store://bucket/key, found {str(uri)[:200]!r}")
    ((name, definition),) = ((component.get("outputDefinitions") or {}).get("artifacts") or {}).items()
    found = None
    if uri.partition("://")[0] in SCHEMES:
        uri = str(stores.of(uri)[1])
        found = described(uri, stores)
        log.note(f"imported {uri}: sha256 {found.sha256}, {found.size_bytes} bytes")
    else:
        log.note(f"imported {uri} by reference; its bytes were not read")
    return Outputs(
        artifacts={
            name: [
                {
                    "name": name,
                    "uri": uri,
                    "type": str((definition.get("artifactType") or {}).get("schemaTitle") or "system.Artifact"),
                    "metadata": metadata,
                    "sha256": found.sha256 if found else None,
                    "size_bytes": found.size_bytes if found else None,
                }
            ]
        }
    )


def described(uri: str, stores: Stores) -> Content:
    """Hash what lies at a location of our stores."""
    try:
        path = stores.local_path(uri)
        if path is not None:
            return content.of(path)
        with tempfile.TemporaryDirectory(prefix="zeroflow-import-") as folder:
            target = Path(folder) / "artifact"
            stores.fetch(uri, target)
            return content.of(target)
    except NotFound as error:
        raise NotFound(f"the importer found nothing at {uri}") from error
