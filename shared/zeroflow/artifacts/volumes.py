"""Models on volumes: `pvc://<claim>/<path>`, read where the claim is mounted (ZEROFLOW_CLAIM)."""

from pathlib import Path

from zeroflow.artifacts import content
from zeroflow.artifacts.uris import URI
from zeroflow.errors import InvalidInput, NotFound


class MountedVolume:
    """The one claim that is mounted beside this process."""

    def __init__(self, mounted: Path | None) -> None:
        self._mounted = mounted

    def exists(self, uri: URI) -> bool:
        return self._path(uri).exists()

    def version(self, uri: URI) -> str | None:
        return None

    def local_path(self, uri: URI) -> Path | None:
        return self._path(uri)

    def fetch(self, uri: URI, target: Path) -> None:
        content.copy(self._path(uri), target, uri)

    def _path(self, uri: URI) -> Path:
        if self._mounted is None:
            raise NotFound(f"{uri}: no claim is mounted here (ZEROFLOW_CLAIM)")
        path = (self._mounted / uri.key).resolve()
        if not path.is_relative_to(self._mounted.resolve()):
            raise InvalidInput(f"{uri} lies outside the volume")
        return path
