"""Object stores behind one interface, and the choice between them by URI.

Duties of a `Store`: a key names a file or, as a prefix, a directory of files. `put` is atomic for a file - a reader
sees the old bytes, the new bytes or nothing - and leaves nothing behind when it fails. `fetch` of a missing key raises
NotFound. All methods may be called from several threads.
"""

from pathlib import Path
from typing import Protocol

from zeroflow.artifacts import content
from zeroflow.artifacts.uris import URI, parse
from zeroflow.errors import InvalidInput, NotFound
from zeroflow.settings import Settings


class Store(Protocol):
    """Bytes by URI."""

    def exists(self, uri: URI) -> bool:
        """Say whether a file or a directory with at least one file lies there."""

    def put(self, source: Path, uri: URI) -> None:
        """Copy a file or a whole directory to the location, replacing what was there."""

    def fetch(self, uri: URI, target: Path) -> None:
        """Copy a file or a directory from the location to the path `target`, which must not exist."""

    def local_path(self, uri: URI) -> Path | None:
        """Return where the bytes can be read without copying, or None when they are elsewhere."""

    def delete(self, uri: URI) -> None:
        """Remove a file or a directory; nothing happens when there is none."""


class Stores:
    """All stores of this installation; opens each when it is first used."""

    def __init__(self, root: Path, s3_endpoint: str | None = None) -> None:
        from zeroflow.artifacts.local import LocalStore

        self.local = LocalStore(root)
        self._s3_endpoint = s3_endpoint
        self._s3: Store | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> "Stores":
        """Open the stores that the settings name."""
        return cls(settings.store, settings.s3_endpoint)

    def of(self, uri: str) -> tuple[Store, URI]:
        """Return the store that holds a location, and the location; raise InvalidInput for a URI of no store."""
        parsed = parse(uri)
        if parsed.scheme == "file":
            return self.local, self.local.inside(parsed)
        if parsed.scheme == "store":
            return self.local, parsed
        if self._s3 is None:
            try:
                from zeroflow.artifacts.s3 import S3Store
            except ImportError as error:
                raise InvalidInput(f"{uri} needs boto3: pip install 'zeroflow[s3]'") from error
            self._s3 = S3Store(self._s3_endpoint)
        return self._s3, parsed

    def exists(self, uri: str) -> bool:
        """Say whether there are bytes at the location."""
        store, parsed = self.of(uri)
        return store.exists(parsed)

    def put(self, source: Path, uri: str) -> content.Content:
        """Copy a file or directory to the location; return what it is."""
        described = content.of(source)
        store, parsed = self.of(uri)
        store.put(source, parsed)
        return described

    def fetch(self, uri: str, target: Path) -> None:
        """Copy what lies at the location to `target`; raise NotFound when there is nothing."""
        store, parsed = self.of(uri)
        store.fetch(parsed, target)

    def delete(self, uri: str) -> None:
        """Remove what lies at the location."""
        store, parsed = self.of(uri)
        store.delete(parsed)

    def local_path(self, uri: str) -> Path | None:
        """Return the path of bytes that lie on this machine; NotFound when they should but do not."""
        store, parsed = self.of(uri)
        path = store.local_path(parsed)
        if path is not None and not path.exists():
            raise NotFound(f"there is nothing at {uri}")
        return path
